package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// pages writes the pages and returns their directory.
func pages(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "new", "man1")
	run(t, nil, "man", "--dir", dir).want(t, "man", 0, "", "")
	return dir
}

func TestEachCommandHasItsPage(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := pages(t)
	names := []string{"pushpod", "pushpod-completion-bash", "pushpod-config", "pushpod-functions-load"}
	for _, c := range (deps{environ: os.Environ}).commands() {
		if c.IsAvailableCommand() {
			names = append(names, "pushpod-"+c.Name())
		}
		for _, below := range c.Commands() {
			names = append(names, "pushpod-"+c.Name()+"-"+below.Name())
		}
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", "pushpod 1.2.3", "Nov 2023"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s.1 lacks %q", name, want)
			}
		}
		if strings.Contains(string(text), "Auto generated") {
			t.Errorf("%s.1 tells how it was made", name)
		}
	}
	for _, hidden := range []string{"pushpod-man.1", "pushpod-help.1"} {
		if _, err := os.Stat(filepath.Join(dir, hidden)); err == nil {
			t.Errorf("%s is there", hidden)
		}
	}
}

// A page says what --help says: nothing is lost to Markdown or to roff.
func TestPagesAreReadAsTheyAreMeant(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("no groff, by which man shows pages")
	}
	dir := pages(t)
	paths, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(paths) < 15 {
		t.Fatalf("%d pages: %v", len(paths), err)
	}
	show := func(program string, args ...string) string {
		t.Helper()
		c := exec.Command(program, args...)
		c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANPAGER=cat")
		var stdout, stderr bytes.Buffer
		c.Stdout, c.Stderr = &stdout, &stderr
		if err := c.Run(); err != nil || stderr.Len() > 0 {
			t.Errorf("%s %q: %v %s", program, args, err, &stderr)
		}
		return stdout.String()
	}
	groff := []string{"-t", "-man", "-ww", "-K", "utf8", "-T", "utf8", "-P", "-cbou", "-rLL=110n"}
	show("groff", append(append(groff, "-z"), paths...)...)
	for page, want := range map[string][]string{
		"pushpod-push": {
			"pushpod push USER JSON [NAME VALUE]...\n", "pushpod push --to UUID [USER] JSON [NAME VALUE]...\n",
			"    pushpod push -- -x -1\n", "--collapse",
		},
		"pushpod-pods":        {"alive     its heartbeat comes\n", "draining  it leaves\n"},
		"pushpod-kick":        {"DEL 'push:block:{USER}'", "on push:ctl:ADDRESS"},
		"pushpod-token":       {"auth.hmac_secret", "    pushpod token alice --claim jti=7f3a"},
		"pushpod-connect":     {`{"type":"ping","id":"1"}    an object with a type: as a frame`},
		"pushpod-conformance": {"pushpod conformance [flags] [-- COMMAND [ARG]...]\n"},
		"pushpod-completion":  {"pushpod-completion-bash(1)"},
	} {
		text := show("groff", append(groff, filepath.Join(dir, page+".1"))...)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s lacks %q:\n%s", page, w, text)
			}
		}
	}
	for _, reader := range [][]string{{"man", "-l"}, {"mandoc", "-T", "lint", "-W", "error"}} {
		if _, err := exec.LookPath(reader[0]); err == nil {
			show(reader[0], append(reader[1:], filepath.Join(dir, "pushpod-push.1"))...)
		}
	}
}

func TestHelpTextsAreNoMarkup(t *testing.T) {
	t.Parallel()
	text := "a *b* _c_ <d> [e](f) `g` &lt; h"
	cmd := &cobra.Command{Use: "x", Short: text, Long: text + "\n\n" + text}
	toMarkdown(cmd)
	var page bytes.Buffer
	if err := doc.GenMan(cmd, nil, &page); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(page.String(), text); n != 3 {
		t.Errorf("%d times %q in\n%s", n, text, &page)
	}
}

func TestManSaysWhatItNeeds(t *testing.T) {
	run(t, nil, "man").want(t, "no directory", 2, "", "man: --dir is missing")
	run(t, nil, "man", "--dir", "x", "y").want(t, "an argument", 2, "", "unexpected argument")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, nil, "man", "--dir", file).want(t, "a file", 1, "", "man: mkdir")
}
