package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad gives Load any file: it ends, without a panic, with a configuration
// or with problems that each fit on a line.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"", "listen: 127.0.0.1:1\n", Reference(), "redis: {addresses: [a:1, b:2]}\n", "conn:\n\tping: 5s\n", "a: &a [*a]\n",
		"x: &x {a: 1}\ny: {<<: *x}\n", "? [a, b]\n: c\n", "redis: {? {a: b} : c}\n", "---\n---\n", "- a\n", "listen: !!binary /w==\n",
		"conn: {max_age: .nan, ping: 0x10}\n", "redis: {db: 1e400}\n", "listen: 2001-12-14t21:59:43.10-05:00\n", "\xff\xfe", "{{{{[[[[", "'': ''\n", "~: ~\n",
	} {
		f.Add([]byte(seed))
	}
	for _, values := range wrong {
		f.Add([]byte("conn: {ping: " + values[0] + "}\n"))
	}
	file := filepath.Join(f.TempDir(), "pushpod.yaml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(LoadOptions{File: file})
		if err == nil {
			return
		}
		var problems *Problems
		if !errors.As(err, &problems) || len(problems.List) != strings.Count(err.Error(), "\n")+1 {
			t.Errorf("%T with %q", err, err)
		}
	})
}
