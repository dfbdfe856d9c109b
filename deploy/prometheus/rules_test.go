// Package prometheus_test checks the rules beside it.
package prometheus_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// promtool returns Prometheus's tool; make tools fetches it. Without it the test is left
// out.
func promtool(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("promtool"); err == nil {
		return path
	}
	path, err := filepath.Abs("../../bin/promtool")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Skip("there is no promtool: make tools")
	}
	return path
}

func TestPromtoolTakesTheRules(t *testing.T) {
	tool := promtool(t)
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "rules_test.yaml", "rules_hours_test.yaml"}} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func all(text, pattern string) (found []string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// Each alert says how urgent it is and where to read on, is tested, and stands in the
// runbook; the runbook has no others.
func TestEachAlertIsInTheRunbook(t *testing.T) {
	rules, tests, runbook := read(t, "rules.yaml"), read(t, "rules_test.yaml")+read(t, "rules_hours_test.yaml"), read(t, "../../docs/runbook.md")
	alerts := all(rules, `(?m)^ +- alert: (\w+)$`)
	if len(alerts) < 10 {
		t.Fatalf("%d alerts", len(alerts))
	}
	chapters := all(runbook, `(?m)^## (Pushpod\w+)$`)
	for _, rule := range strings.Split(rules, "- alert: ")[1:] {
		name, _, _ := strings.Cut(rule, "\n")
		if s := all(rule, `severity: (\w+)`); len(s) != 1 || s[0] != "page" && s[0] != "ticket" {
			t.Errorf("%s: severity %v, want page or ticket", name, s)
		}
		if want := "docs/runbook.md#" + strings.ToLower(name); !strings.Contains(rule, "runbook_url: "+want+"\n") {
			t.Errorf("%s has no runbook_url: %s", name, want)
		}
		if !strings.Contains(tests, `alertname="`+name+`"`) {
			t.Errorf("%s fires in no test of rules_test.yaml", name)
		}
		if !slices.Contains(chapters, name) {
			t.Errorf("docs/runbook.md says nothing of %s", name)
		}
	}
	for _, chapter := range chapters {
		if !slices.Contains(alerts, chapter) {
			t.Errorf("docs/runbook.md has %s, which is no alert", chapter)
		}
	}
}
