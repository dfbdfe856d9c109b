package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pushpod/config"
)

// docs/security.md names the test that shows each of its lines.
func TestDocsNameTestsThatExist(t *testing.T) {
	text := readFile(t, "docs/security.md")
	exist := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`).FindAllStringSubmatch(readFile(t, path), -1) {
			exist[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(text, -1)
	if len(named) < 30 {
		t.Fatalf("%d tests are named", len(named))
	}
	for _, m := range named {
		if !exist[m[1]] {
			t.Errorf("docs/security.md names %s, which does not exist", m[1])
		}
	}
}

// The configurations in docs/security.md are good as they stand.
func TestConfigurationsInDocsAreGood(t *testing.T) {
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readFile(t, "docs/security.md"), -1) {
		file := filepath.Join(t.TempDir(), "pushpod.yaml")
		if err := os.WriteFile(file, []byte(m[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(config.LoadOptions{File: file, Environ: []string{"PUSHPOD_POD_ADDRESS=10.0.0.1:8443", "PUSHPOD_REDIS_PASSWORD=x"}}); err != nil {
			t.Errorf("%v in\n%s", err, m[1])
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
