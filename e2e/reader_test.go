package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// A reader does what a page says, in a directory that looks like the project's.
type reader struct {
	t     *testing.T
	dir   string
	redis *redistest.Server // nil: pods of the page have an embedded one
	pod   *pod              // nil: the page starts pods itself

	listen, admin, redisAddr string
	ports                    map[string]string // of the page and here, of what it starts beside

	terminals map[string]*terminal // by name; "" is the one of all blocks without a name
}

func newReader(t *testing.T, all []step) *reader {
	t.Helper()
	r := &reader{t: t, dir: t.TempDir(), ports: map[string]string{}, terminals: map[string]*terminal{}}
	switch first := firstDirection(all); {
	case strings.Join(first, " ") == "no pod":
		r.listen, r.admin, r.redisAddr = freeAddr(t), freeAddr(t), freeAddr(t)
	default:
		r.redis = startRedis(t)
		r.redisAddr = r.redis.Addr()
		if len(first) == 0 || first[0] != "pod" {
			r.startPod(nil)
		}
	}
	r.fillDir()
	return r
}

// firstDirection is what the page says before all others.
func firstDirection(all []step) []string {
	for _, s := range all {
		if s.test != nil {
			return s.test
		}
	}
	return nil
}

// startPod starts the pod that the page speaks of, in the place of the one before.
func (r *reader) startPod(pairs []string) {
	r.t.Helper()
	s := patient()
	for _, pair := range pairs {
		k, v, _ := strings.Cut(pair, "=")
		s = s.with(k, v)
	}
	if r.pod != nil {
		r.pod.sigkill()
	}
	r.pod = startPod(r.t, r.redis, s)
	r.listen, r.admin = r.pod.listen, r.pod.admin
}

// fillDir gives the directory the project's files, and programs in bin that commands find
// before the system's.
func (r *reader) fillDir() {
	r.t.Helper()
	entries, err := os.ReadDir(moduleRoot())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "bin" || e.Name() == ".git" {
			continue
		}
		if err := os.Symlink(filepath.Join(moduleRoot(), e.Name()), filepath.Join(r.dir, e.Name())); err != nil {
			r.t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		// Only what says where things are is added; it stands where nothing else is given.
		"pushpod": `case "$1 $* " in
connect*" --url "*) ;;
connect*) set -- "$@" --url "ws://$PAGE_LISTEN/ws" ;;
esac
exec "$PAGE_PROGRAM" "$@"
`,
		"redis-cli": `if [ -n "$PAGE_USER" ]; then set -- --user "$PAGE_USER" "$@"; fi
exec "$PAGE_REDIS_CLI" -e -h "${PAGE_REDIS%:*}" -p "${PAGE_REDIS##*:}" "$@"
`,
		"go": `case "$1 $2" in
'run .') shift 2 && exec pushpod "$@" ;;
esac
echo "the pages' tests know no: go $*" >&2
exit 1
`,
		"redis-server": `exec "${REDIS_SERVER:-/usr/bin/redis-server}" "$@"
`,
		"make": `case "$*" in
run) exec pushpod serve ;;
build) exit 0 ;;
esac
echo "the pages' tests know no: make $*" >&2
exit 1
`,
	} {
		path := filepath.Join(r.dir, "bin", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *reader) env() []string {
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		r.t.Fatal("no redis-cli in PATH: run scripts/install-test-tools.sh")
	}
	host, port, _ := net.SplitHostPort(r.redisAddr)
	env := []string{
		"PATH=" + filepath.Join(r.dir, "bin") + string(os.PathListSeparator) + os.Getenv("PATH"),
		"PAGE_PROGRAM=" + program.get(r.t), "PAGE_REDIS_CLI=" + cli,
		"PAGE_LISTEN=" + r.listen, "PAGE_REDIS=" + r.redisAddr,
		"REDIS_HOST=" + host, "REDIS_PORT=" + port, "REDIS_CLI=" + cli, // for push.sh
		"PUSHPOD_LISTEN=" + r.listen, "PUSHPOD_ADMIN_LISTEN=" + r.admin, "PUSHPOD_LOG_FORMAT=json",
	}
	if r.redis == nil {
		env = append(env, "PUSHPOD_REDIS_EMBEDDED_LISTEN="+r.redisAddr)
	} else {
		env = append(env, envOf(r.redis, admin)...)
		env = append(env, "PAGE_USER="+admin, "REDISCLI_AUTH="+passwordOf(admin), "REDIS_ARGS=--user "+admin)
	}
	return cleanEnv(env...)
}

// fit puts what is there into the place of what the page writes.
func (r *reader) fit(text string) string {
	pairs := []string{
		"127.0.0.1:8080", r.listen, "10.0.3.7:8080", r.listen, "127.0.0.1:9090", r.admin, "127.0.0.1:6379", r.redisAddr,
	}
	if strings.Contains(text, "018f…") {
		uuid := ""
		for u := range entriesOf(r.t, r.redis.Client(), "alice") {
			uuid = u
		}
		if uuid == "" {
			r.t.Fatal("the page names a connection of alice, and there is none")
		}
		pairs = append(pairs, "018f…", uuid)
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	return otherPorts.ReplaceAllStringFunc(text, func(found string) string {
		at := strings.LastIndexAny(found, ": ")
		if r.ports[found[at+1:]] == "" {
			_, r.ports[found[at+1:]], _ = strings.Cut(freeAddr(r.t), ":")
		}
		return found[:at+1] + r.ports[found[at+1:]]
	})
}

// otherPorts are those of servers that a page starts beside its pod.
var otherPorts = regexp.MustCompile(`(127\.0\.0\.1:|--port )(6380|808[12]|909[12])\b`)

func (r *reader) follow(s step) {
	t := r.t
	t.Helper()
	switch {
	case len(s.test) > 0 && s.test[0] == "pod":
		r.startPod(s.test[1:])
	case len(s.test) > 0 && s.test[0] == "connected":
		for _, user := range s.test[1:] {
			dial(t, r.pod, user)
		}
	case strings.Join(s.test, " ") == "no pod":
	case s.test != nil:
		t.Fatalf("%s:%d: %q is no direction", s.page, s.line, s.test)
	case !s.runs():
	case s.language == "sh":
		tt := r.terminal(s.terminal)
		if got, ok := tt.run("set -e\n" + r.fit(s.text) + "set +e"); !ok {
			t.Fatalf("%s:%d: the block failed:\n%s", s.page, s.line, got)
		}
	default:
		r.followConsole(s)
	}
}

func (r *reader) followConsole(s step) {
	t := r.t
	t.Helper()
	commands := commandsOf(r.fit(s.text))
	tt := r.terminal(s.terminal)
	for i, c := range commands {
		if s.terminal != "" && i == len(commands)-1 {
			if c.command != "" {
				tt.start(c.command)
			}
			tt.wantLater(s, c.want)
			return
		}
		got, ok := tt.run(c.command)
		if !linesMatch(c.want, got) {
			t.Fatalf("%s:%d: %s\nprinted:\n%s\nthe page says:\n%s", s.page, s.line, c.command, got, c.want)
		}
		if !ok {
			t.Fatalf("%s:%d: %s\nfailed:\n%s", s.page, s.line, c.command, got)
		}
	}
}

type shown struct{ command, want string }

// commandsOf reads a console block: commands behind "$ ", which go on where a line ends with
// a backslash, and what they print.
func commandsOf(text string) []shown {
	var all []shown
	going := false
	for line := range strings.Lines(text) {
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case going:
			all[len(all)-1].command += line
		case isCommand:
			all = append(all, shown{command: command})
		default:
			if len(all) == 0 {
				all = append(all, shown{})
			}
			all[len(all)-1].want += line
		}
		going = (going || isCommand) && strings.HasSuffix(line, "\\\n")
	}
	return all
}

// pattern is a line of a page as an expression: … stands for any text.
func pattern(line string) *regexp.Regexp {
	line = strings.Join(strings.Fields(line), " ")
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + "$")
}

// linesMatch compares what was printed with what a page shows. Empty lines and the width of
// gaps count for nothing.
func linesMatch(want, got string) bool {
	return matchLines(linesOf(want), linesOf(got))
}

func matchLines(want, got []string) bool {
	for i, w := range want {
		if w == "…" {
			for skip := range len(got) - i + 1 {
				if matchLines(want[i+1:], got[i+skip:]) {
					return true
				}
			}
			return false
		}
		if i >= len(got) || !pattern(w).MatchString(got[i]) {
			return false
		}
	}
	return len(want) == len(got)
}

func linesOf(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			all = append(all, line)
		}
	}
	return all
}

// A terminal is a shell that is typed into.
type terminal struct {
	t     *testing.T
	stdin io.Writer
	out   output
	read  int // how much of out a page has told
	n     int // commands
}

func (r *reader) terminal(name string) *terminal {
	r.t.Helper()
	if tt := r.terminals[name]; tt != nil {
		return tt
	}
	tt := &terminal{t: r.t}
	cmd := exec.Command("/bin/sh")
	cmd.Dir, cmd.Env = r.dir, r.env()
	cmd.Stdout, cmd.Stderr = &tt.out, &tt.out
	stdin, err := cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	tt.stdin = stdin
	startGroup(r.t, cmd)
	r.terminals[name] = tt
	return tt
}

// start types a command that goes on.
func (tt *terminal) start(command string) {
	tt.t.Helper()
	if _, err := fmt.Fprintf(tt.stdin, "{\n%s\n} </dev/null\n", command); err != nil {
		tt.t.Fatal(err)
	}
}

// run types commands, waits for their end, and returns what they printed and whether they succeeded.
func (tt *terminal) run(command string) (string, bool) {
	tt.t.Helper()
	tt.n++
	end := fmt.Sprintf("<end of %d: ", tt.n)
	from := len(tt.out.String())
	// A block that fails ends the shell (set -e): then the trap tells the status.
	_, err := fmt.Fprintf(tt.stdin, "trap 'echo \"%[1]s$?>\"' EXIT\n{\n%[2]s\n} </dev/null\necho \"%[1]s$?>\"\n", end, command)
	if err != nil {
		tt.t.Fatal(err)
	}
	said := ""
	eventually(tt.t, strings.TrimSpace(command)+": it ends", time.Minute, func() (bool, any) {
		said = tt.out.String()[from:]
		return strings.Contains(said, end), said
	})
	said, status, _ := strings.Cut(said, end)
	return said, strings.HasPrefix(status, "0>")
}

// wantLater waits for lines in this order, others between them.
func (tt *terminal) wantLater(s step, want string) {
	tt.t.Helper()
	for _, line := range linesOf(want) {
		if line == "…" {
			continue
		}
		p := pattern(line)
		eventually(tt.t, fmt.Sprintf("%s:%d: the terminal %s shows %q", s.page, s.line, s.terminal, line), 30*time.Second, func() (bool, any) {
			all := tt.out.String()
			rest := all[tt.read:]
			at := 0
			for l := range strings.Lines(rest) {
				at += len(l)
				if strings.HasSuffix(l, "\n") && p.MatchString(strings.Join(strings.Fields(l), " ")) {
					tt.read += at
					return true, nil
				}
			}
			return false, rest
		})
	}
}
