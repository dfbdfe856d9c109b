package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestImports holds the borders between the packages. Tests are exempt.
func TestImports(t *testing.T) {
	const (
		redis     = "github.com/redis/go-redis"
		gobwas    = "github.com/gobwas"
		viper     = "github.com/spf13/viper"
		yaml      = "go.yaml.in/yaml"
		miniredis = "github.com/alicebob/miniredis"
		zerolog   = "github.com/rs/zerolog"
	)
	rules := []struct {
		imported string
		only     []string // folders that may import it
		why      string
	}{
		{redis, []string{".", "presence", "hub", "cli", "scripts", "internal/redistest"}, "Redis is known to presence, to the hub's subscriber and uplink, and to tools"},
		{gobwas, []string{"conn", "clients/go"}, "WebSocket frames are known to both ends of a connection only"},
		{viper, []string{"config"}, "the configuration is plain structs to everyone else"},
		{yaml, []string{"config"}, "only the configuration is YAML"},
		{miniredis, []string{"embedded"}, "the embedded Redis is for trying out"},
		{"pushpod/config", []string{".", "cli"}, "packages get their own options, not the configuration"},
		{"pushpod/conn", []string{".", "hub", "admin"}, "presence knows no WebSocket"},
		{"pushpod/presence", []string{".", "hub", "admin", "cli"}, "conn knows no Redis"},
		{"pushpod/hub", []string{".", "admin"}, "the hub ties the others, who do not know it"},
		{zerolog, []string{".", "hub", "presence"}, "what runs in a pod logs; tools print"},
	}
	used := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		for _, i := range f.Imports {
			name := strings.Trim(i.Path.Value, `"`)
			for _, r := range rules {
				if name != r.imported && !strings.HasPrefix(name, r.imported+"/") {
					continue
				}
				used[r.imported] = true
				allowed := false
				for _, only := range r.only {
					allowed = allowed || dir == only
				}
				if !allowed {
					t.Errorf("%s imports %s: %s", path, name, r.why)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if !used[r.imported] {
			t.Errorf("nothing imports %s: is the rule still true?", r.imported)
		}
	}
}

// TestImportsOfOurOwn holds which of our packages each of them may know. Tests
// are exempt.
func TestImportsOfOurOwn(t *testing.T) {
	rules := map[string]struct {
		may []string
		why string
	}{
		".":                  {[]string{"admin", "cli", "config", "conn", "embedded", "hub", "internal/backoff", "presence", "scripts"}, "main ties all of them together"},
		"admin":              {[]string{"conn", "hub", "presence"}, "metrics are read from the three that count"},
		"cli":                {[]string{"clients/go", "config", "presence", "scripts"}, "the commands beside serve need no pod"},
		"clients/go":         {nil, "others copy it into their own programs"},
		"config":             {nil, "it is plain structs that main copies"},
		"conn":               {[]string{"internal/rawio"}, "connections know neither Redis nor users' rules"},
		"e2e":                {nil, "it sees pods from outside only"},
		"embedded":           {nil, "it stands in for a Redis, which knows nothing of us"},
		"hub":                {[]string{"conn", "internal/backoff", "internal/json", "internal/rawio", "presence"}, "it ties these two, and main copies its options"},
		"internal/backoff":   {nil, "it is time alone"},
		"internal/json":      {nil, "it is a grammar alone"},
		"internal/rawio":     {nil, "it is system calls alone"},
		"internal/redistest": {nil, "every package's tests may use it"},
		"presence":           {[]string{"internal/backoff", "internal/rawio"}, "presence knows no WebSocket and no configuration"},
		"scripts":            {nil, "producers' scripts stand alone"},
		"scripts/bench":      {[]string{"internal/json"}, "it measures from outside"},
	}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		rule, known := rules[dir]
		if !known {
			t.Errorf("%s: say here which of our packages %s may import", path, dir)
		}
		for _, i := range f.Imports {
			ours, is := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), "pushpod/")
			if is && !slices.Contains(rule.may, ours) {
				t.Errorf("%s imports pushpod/%s: %s", path, ours, rule.why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
