// Package grafana_test checks the dashboard beside it.
package grafana_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

type panel struct {
	Title, Type, Description string
	GridPos                  struct{ H, W, X, Y int }
	Datasource               struct{ UID string }
	Targets                  []struct {
		Expr       string
		Datasource struct{ UID string }
	}
}

type dashboard struct {
	Panels     []panel
	Templating struct{ List []struct{ Name string } }
}

func load(t *testing.T) dashboard {
	t.Helper()
	b, err := os.ReadFile("pushpod.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEachPanelSaysWhatItShows(t *testing.T) {
	d := load(t)
	names := ""
	for _, v := range d.Templating.List {
		names += v.Name + " "
	}
	if names != "datasource job instance " {
		t.Errorf("variables: %s", names)
	}
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s lies over %s, or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Description) < 20 || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s: description %q, data source %q, %d queries", p.Title, p.Description, p.Datasource.UID, len(p.Targets))
		}
		for _, q := range p.Targets {
			if q.Datasource.UID != "${datasource}" {
				t.Errorf("%s: a query of data source %q", p.Title, q.Datasource.UID)
			}
			if !strings.Contains(q.Expr, `job=~"$job",instance=~"$instance"`) {
				t.Errorf("%s: %s does not follow the variables", p.Title, q.Expr)
			}
		}
	}
}

// promtool takes each query as a rule.
func TestQueriesAreGood(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		tool, _ = filepath.Abs("../../bin/promtool")
		if _, err := os.Stat(tool); err != nil {
			t.Skip("there is no promtool: make tools")
		}
	}
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	n := 0
	for _, p := range load(t).Panels {
		for _, q := range p.Targets {
			n++
			fmt.Fprintf(&rules, "      - record: query_%d\n        expr: %q\n", n, strings.ReplaceAll(q.Expr, "$__rate_interval", "1m"))
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
