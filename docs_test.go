package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

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

// The configurations in these pages are good as they stand.
func TestConfigurationsInDocsAreGood(t *testing.T) {
	text := readFile(t, "docs/security.md") + readFile(t, "docs/cookbook.md")
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(text, -1) {
		file := filepath.Join(t.TempDir(), "pushpod.yaml")
		if err := os.WriteFile(file, []byte(m[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(config.LoadOptions{File: file, Environ: []string{"PUSHPOD_POD_ADDRESS=10.0.0.1:8443", "PUSHPOD_REDIS_PASSWORD=x"}}); err != nil {
			t.Errorf("%v in\n%s", err, m[1])
		}
	}
}

// Links between pages lead to files and headings that exist.
func TestLinksInDocsLeadSomewhere(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "clients/*/README.md", "deploy/README.md", "examples/README.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	links := 0
	for _, page := range pages {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(withoutCode(readFile(t, page)), -1) {
			target, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			links++
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), filepath.FromSlash(target))
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %s leads nowhere", page, m[1])
				continue
			}
			if heading != "" && !slices.Contains(headingsOf(readFile(t, path)), heading) {
				t.Errorf("%s: %s: there is no such heading", page, m[1])
			}
		}
	}
	if links < 50 {
		t.Errorf("%d links were found: are the pages read?", links)
	}
}

// docs/README.md leads to each page.
func TestEveryPageIsInTheIndex(t *testing.T) {
	index := readFile(t, "docs/README.md")
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if name := filepath.Base(page); name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
}

// withoutCode leaves out fenced blocks and code in a line.
func withoutCode(text string) string {
	text = regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(text, "")
}

// headingsOf returns the names by which a page's headings are linked: lower case, a dash for
// each blank, no punctuation.
func headingsOf(text string) []string {
	var all []string
	text = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		all = append(all, name)
	}
	return all
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
