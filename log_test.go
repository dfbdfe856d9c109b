package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// fieldMethods are zerolog's that take a field's name, for events and contexts.
var fieldMethods = map[string]bool{
	"Str": true, "Strs": true, "Stringer": true, "Stringers": true, "Int": true, "Ints": true, "Int64": true, "Uint64": true, "Float64": true,
	"Bool": true, "Dur": true, "Time": true, "AnErr": true, "Any": true, "Interface": true, "Bytes": true, "Hex": true, "RawJSON": true,
}

// docs/operations.md lists each field of the log, and no other; durations and sizes
// say by their names what they are in.
func TestFieldsOfTheLogAreListed(t *testing.T) {
	used := map[string]string{} // where
	parts := []string{".", "admin", "auth", "certs", "conn", "embedded", "hub", "presence", "redisconn"}
	eachFile(t, parser.SkipObjectResolution, func(path, dir string, f *ast.File) {
		if strings.HasSuffix(path, "_test.go") || !slices.Contains(parts, dir) && !strings.HasPrefix(dir, "internal/") && !strings.HasPrefix(dir, "conn/") {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			name, isText := call.Args[0].(*ast.BasicLit)
			if !ok || !isText || name.Kind != token.STRING || !fieldMethods[method.Sel.Name] {
				return true
			}
			field, _ := strconv.Unquote(name.Value)
			used[field] = path
			switch isDuration := method.Sel.Name == "Dur"; {
			case isDuration != strings.HasSuffix(field, "_ms"):
				t.Errorf("%s: %s(%q): durations, and nothing else, end with _ms", path, method.Sel.Name, field)
			case !regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`).MatchString(field):
				t.Errorf("%s: %q", path, field)
			}
			return true
		})
	})
	_, logs, _ := strings.Cut(readFile(t, "docs/operations.md"), "\n## Logs\n")
	_, table, found := strings.Cut(logs, "| field | is |\n")
	if !found {
		t.Fatal("docs/operations.md has no table of fields")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| .+ \\|$").FindAllStringSubmatch(table, -1) {
		listed = append(listed, m[1])
	}
	if !slices.IsSorted(listed) {
		t.Error("the table is not in order")
	}
	for _, field := range listed {
		if used[field] == "" {
			t.Errorf("docs/operations.md lists %s, which nothing logs", field)
		}
	}
	for field, path := range used {
		if !slices.Contains(listed, field) {
			t.Errorf("docs/operations.md does not list %s, which %s logs", field, path)
		}
	}
}

// Where the log is JSON so is why a pod does not begin: a line for each problem.
func TestWhyAPodEndsIsJSONWhereItsLogIs(t *testing.T) {
	fails := []string{"serve", "--conn.ping", "never", "--presence.ttl", "banana"}
	for _, c := range []struct {
		args []string
		json bool
	}{
		{fails, true}, // auto, and a buffer is no terminal
		{append(fails, "--log.format", "json"), true},
		{append(fails, "--log.format", "console"), false},
		{append(fails, "--log.format", "nonsense"), true},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(c.args, strings.NewReader(""), &stdout, &stderr); status != 2 {
			t.Errorf("%q: exit %d", c.args, status)
		}
		n := 0
		for line := range strings.Lines(stderr.String()) {
			n++
			var said struct{ Level, Message, Time string }
			err := json.Unmarshal([]byte(line), &said)
			if c.json && (err != nil || said.Level != "fatal" || said.Message == "" || said.Time == "") || !c.json && err == nil {
				t.Errorf("%q: %s", c.args, line)
			}
		}
		if n < 2 || !strings.Contains(stderr.String(), "conn.ping") || !strings.Contains(stderr.String(), "banana") {
			t.Errorf("%q: %s", c.args, &stderr)
		}
	}
	// Commands are for people.
	var stdout, stderr bytes.Buffer
	if run([]string{"nope"}, strings.NewReader(""), &stdout, &stderr); strings.HasPrefix(stderr.String(), "{") {
		t.Errorf("an unknown command: %s", &stderr)
	}
}
