package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The pages whose shell blocks are run (TestCommandsInPages), in the order in which a page
// shows them. What a page says:
//
//	```sh                   a script: it must succeed
//	```console              commands behind "$ ", and what they print: "…" stands for any text,
//	                        a line of "…" for any lines
//	```console NAME         a terminal of its own, whose last command goes on; a block without "$ "
//	                        says what it prints later
//	<!-- test: pod K=V -->  a new pod with these keys; each page begins with one
//	<!-- test: no pod -->   a page that starts pods itself; it comes before all blocks
//	<!-- test: connected alice bob -->   clients, in this order
//
// In the commands 127.0.0.1:8080, 127.0.0.1:9090 and 127.0.0.1:6379 are the pod's and Redis's
// addresses, as is 10.0.3.7:8080, and 018f… is a connection of alice. pushpod, make run,
// go run ., and redis-cli are the program under test and the test's Redis.
//
// Where a page says "no pod", pods have the embedded Redis; else there is a redis-server with
// the users of configs/redis-acl.conf, and commands are an administrator's.
func pages(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"README.md", "docs/*.md", "clients/*/README.md", "deploy/README.md", "examples/README.md"} {
		found, err := filepath.Glob(filepath.Join(moduleRoot(), filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			name, err := filepath.Rel(moduleRoot(), path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, filepath.ToSlash(name))
		}
	}
	return all
}

// notRun are the shell blocks that no test runs, each by its page and first line, and why not.
func notRun() map[string]string {
	return map[string]string{
		"docs/performance.md: go run ./scripts/bench                          # a pod and a Redis of its own, 10,000 connections, 3 minutes":                  "minutes of measuring; scripts/bench has tests of its own",
		"docs/protocol.md: pushpod conformance --query 'ping=app&goaway=1&refuse=close' -- node my-client.js {url}":                                           "the client is the reader's; e2e/conformance_test.go runs the command",
		"examples/README.md: export REDIS_URL=redis://127.0.0.1:6379    # with an account: redis://producer:PASSWORD@HOST:6379, the password percent-encoded": "producer stands for each of the programs; e2e/examples_test.go runs these lines with all of them",
	}
}

// A step is a fenced block or a direction in a page.
type step struct {
	page     string
	line     int      // where the text begins
	test     []string // the words of <!-- test: … -->; nil for a block
	language string
	terminal string
	text     string
}

// steps reads a page.
func steps(page, text string) []step {
	var all []step
	var open *step
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case open != nil && trimmed == "```":
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += strings.TrimPrefix(line, "  ") + "\n"
		case strings.HasPrefix(trimmed, "```"):
			open = &step{page: page, line: i + 2}
			if info := strings.Fields(strings.Trim(trimmed, "`")); len(info) > 0 {
				open.language, open.terminal = info[0], strings.Join(info[1:], " ")
			}
		case strings.HasPrefix(trimmed, "<!-- test: "):
			words := strings.TrimSuffix(strings.TrimPrefix(trimmed, "<!-- test: "), "-->")
			all = append(all, step{page: page, line: i + 1, test: strings.Fields(words)})
		}
	}
	return all
}

func (s step) isShell() bool {
	switch s.language {
	case "sh", "console", "bash", "shell":
		return true
	}
	return false
}

// name is how notRun names a block.
func (s step) name() string { return s.page + ": " + strings.SplitN(s.text, "\n", 2)[0] }

// looksLikeShell finds commands in a block that does not say what it is.
var looksLikeShell = regexp.MustCompile(`(?m)^\s*(\$ |sudo |pushpod |bin/pushpod|redis-cli |curl |go (run|test|build|generate) |make |docker |kubectl |npm |node |scripts/|git )`)

// Whoever adds a block of commands to a page says what it is: then it is run, or named in
// notRun with the reason.
func TestShellBlocksInPagesAreMarked(t *testing.T) {
	t.Parallel()
	exist, named, ran := map[string]bool{}, map[string]bool{}, 0
	for _, page := range pages(t) {
		exist[page] = true
		for _, s := range steps(page, readPage(t, page)) {
			switch {
			case s.test != nil:
			case s.isShell() && s.language != "sh" && s.language != "console":
				t.Errorf("%s:%d: %s: write sh, or console where output is shown", page, s.line, s.language)
			case !s.isShell() && s.language == "" && looksLikeShell.MatchString(s.text):
				t.Errorf("%s:%d: commands in a block that does not say what it is: write sh, console, or text", page, s.line)
			case s.isShell() && notRun()[s.name()] != "":
				named[s.name()] = true
			case s.isShell() && s.reachesOut():
				t.Errorf("%s:%d: a test can't run this, since it changes the machine: name it in notRun", page, s.line)
			case s.isShell():
				ran++
			}
		}
	}
	for name, why := range notRun() {
		if page, _, _ := strings.Cut(name, ": "); exist[page] && !named[name] {
			t.Errorf("notRun names a block that is not there any more (%s): %s", why, name)
		}
	}
	if ran < 10 {
		t.Errorf("%d blocks are run: are the pages read?", ran)
	}
}

// Every command in the pages works, and prints what the page shows.
func TestCommandsInPages(t *testing.T) {
	t.Parallel()
	for _, page := range pages(t) {
		all := steps(page, readPage(t, page))
		if !anyRuns(all) {
			continue
		}
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			r := newReader(t, all)
			for _, s := range all {
				r.follow(s)
			}
		})
	}
}

func (s step) runs() bool {
	return s.test == nil && s.isShell() && notRun()[s.name()] == "" && !s.reachesOut()
}

// reachesOut finds what would change the machine of who runs the tests.
func (s step) reachesOut() bool {
	return outside.MatchString(strings.ReplaceAll(s.text, "/dev/null", ""))
}

var outside = regexp.MustCompile(`\bsudo\b|>\s*"?[/~$]|\b(apt|apt-get|brew|systemctl|sysctl|docker|kubectl)\b`)

func anyRuns(all []step) bool {
	for _, s := range all {
		if s.runs() {
			return true
		}
	}
	return false
}

func readPage(t testing.TB, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot(), filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))
}
