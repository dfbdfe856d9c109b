package deploy

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// An instruction of a Dockerfile: RUN, and what stands behind it.
type instruction struct{ name, text string }

// instructions reads a Dockerfile, as far as this one goes: no here-documents.
func instructions(t *testing.T, path string) (list []instruction) {
	t.Helper()
	text := regexp.MustCompile(`\\\n`).ReplaceAllString(read(t, path), " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		list = append(list, instruction{strings.ToUpper(name), strings.TrimSpace(rest)})
	}
	return list
}

// An image is what the instructions make here, without Docker: each stage is a folder.
type image struct {
	t      *testing.T
	stages map[string]string // by name: its root
	root   string            // of the last stage
	dir    string            // WORKDIR, in the stage
	args   []string          // ARG, NAME=VALUE
	env    []string          // ENV, of the last stage
	user   string
	health []string
	entry  []string
	from   string // of the last stage
}

// make carries the instructions out.
func (m *image) make(list []instruction) {
	m.t.Helper()
	for _, i := range list {
		words := strings.Fields(i.text)
		switch i.name {
		case "FROM":
			m.root, m.dir, m.env, m.user, m.from = m.t.TempDir(), "/", nil, "", words[0]
			if len(words) == 3 {
				m.stages[words[2]] = m.root
			}
		case "WORKDIR":
			m.dir = i.text
			m.mkdir(m.dir)
		case "ARG":
			m.args = append(m.args, i.text)
		case "ENV":
			m.env = append(m.env, words...)
		case "USER":
			m.user = i.text
		case "COPY":
			m.copy(words)
		case "RUN":
			m.run(i.text)
		case "HEALTHCHECK":
			_, command, _ := strings.Cut(i.text, "CMD ")
			m.health = m.list(command)
		case "ENTRYPOINT":
			m.entry = m.list(i.text)
		case "EXPOSE", "STOPSIGNAL":
		default:
			m.t.Fatalf("this test knows no %s", i.name)
		}
	}
}

// list reads the form that needs no shell.
func (m *image) list(text string) (words []string) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(text), &words); err != nil {
		m.t.Fatalf("%q is for a shell, which the image has not: %v", text, err)
	}
	return words
}

func (m *image) mkdir(path string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Join(m.root, path), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// copy is COPY: from the module, without what .dockerignore names, or from a stage or
// what it is based on.
func (m *image) copy(words []string) {
	m.t.Helper()
	from, base := "..", ""
	if stage, ok := strings.CutPrefix(words[0], "--from="); ok {
		from, base, words = m.stages[stage], "/", words[1:]
	}
	to := words[len(words)-1]
	if !filepath.IsAbs(to) {
		to = filepath.Join(m.dir, to)
	}
	for _, name := range words[:len(words)-1] {
		path, target := filepath.Join(from, name), filepath.Join(m.root, to)
		if info, err := os.Stat(path); err != nil && base != "" {
			path = filepath.Join(base, name) // the stage's base has it, and this machine may
			if _, err := os.Stat(path); err != nil {
				m.t.Skipf("there is no %s here", name)
			}
		} else if err != nil {
			m.t.Fatal(err)
		} else if info.IsDir() {
			m.copyModule(target)
			continue
		}
		if strings.HasSuffix(words[len(words)-1], "/") {
			target = filepath.Join(target, filepath.Base(name))
		}
		copyFile(m.t, path, target)
	}
}

// copyModule copies the module without what Dockerfile.dockerignore names.
func (m *image) copyModule(to string) {
	m.t.Helper()
	ignored := strings.Fields(regexp.MustCompile(`(?m)^#.*`).ReplaceAllString(read(m.t, "Dockerfile.dockerignore"), ""))
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel("..", path)
		for _, pattern := range ignored {
			last, anywhere := strings.CutPrefix(pattern, "**/")
			matched, _ := filepath.Match(last, map[bool]string{true: filepath.Base(name), false: name}[anywhere])
			if matched && d.IsDir() {
				return filepath.SkipDir
			} else if matched {
				return nil
			}
		}
		if d.Type().IsRegular() {
			copyFile(m.t, path, filepath.Join(to, name))
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, info.Mode().Perm()|0o444); err != nil {
		t.Fatal(err)
	}
}

// run is RUN: with this machine's Go, which go.mod holds to its version as it does the
// image's.
func (m *image) run(command string) {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), "sh", "-ec", command)
	cmd.Dir, cmd.Env = filepath.Join(m.root, m.dir), append(os.Environ(), m.args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("RUN %s: %v\n%s", command, err, out)
	}
}

// command is one that the image runs: as its user, with its root as /, and with nothing of
// this machine's environment.
func (m *image) command(words, env []string, args ...string) *exec.Cmd {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), words[0], append(slices.Clone(words[1:]), args...)...)
	cmd.Env = append(slices.Clone(m.env), env...)
	var uid, gid uint32
	if _, err := fmt.Sscanf(m.user, "%d:%d", &uid, &gid); err != nil || uid == 0 || gid == 0 {
		m.t.Fatalf("USER %q: want numbers, which Kubernetes can hold against runAsNonRoot, and not root's", m.user)
	}
	if os.Getuid() != 0 {
		cmd.Path = filepath.Join(m.root, words[0]) // as whoever this is: only root may change its root
		return cmd
	}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: m.root, Credential: &syscall.Credential{Uid: uid, Gid: gid}, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func TestTheImageRunsAsItIsBuilt(t *testing.T) {
	m := &image{t: t, stages: map[string]string{}}
	m.make(instructions(t, "Dockerfile"))
	if m.from != "scratch" {
		t.Errorf("it is made from %s", m.from)
	}
	var files []string
	_ = filepath.WalkDir(m.root, func(path string, d fs.DirEntry, _ error) error {
		if !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, m.root))
		}
		return nil
	})
	if want := []string{"/etc/ssl/certs/ca-certificates.crt", "/pushpod"}; !slices.Equal(files, want) {
		t.Errorf("it holds %q, want %q", files, want)
	}
	// Everyone has to pass the folders that the test has made.
	for dir := m.root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}

	if out, err := m.command(m.entry, nil, "--version").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "pushpod dev ") {
		t.Fatalf("--version: %v %s", err, out)
	}
	// Without a configuration it says what it must know.
	out, err := m.command(m.entry, nil).CombinedOutput()
	for _, key := range []string{"redis.addresses", "pod.address", "auth.mode"} {
		if err == nil || !strings.Contains(string(out), key) {
			t.Errorf("without a configuration: %v; %s is not named:\n%s", err, key, out)
		}
	}

	r := redistest.Start(t)
	listen, admin := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t) // the image's own is every interface's
	env := []string{
		"PUSHPOD_LISTEN=" + listen, "PUSHPOD_ADMIN_LISTEN=" + admin, "PUSHPOD_REDIS_ADDRESSES=" + r.Addr(), "POD_IP=127.0.0.1",
		"PUSHPOD_SHUTDOWN_DRAIN=1s",
	}
	health := func() error { return m.command(m.health, env).Run() }
	if health() == nil {
		t.Error("it is well before it runs")
	}
	pod := m.command(m.entry, env)
	_, ended := start(t, pod)
	eventually(t, "the health check says that it is well", func() bool { return health() == nil })
	if c, err := net.Dial("tcp", listen); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	r.Pause()
	eventually(t, "the health check says that Redis is away", func() bool { return health() != nil })
	r.Resume()
	_ = pod.Process.Signal(syscall.SIGTERM) // STOPSIGNAL
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("SIGTERM: %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
}

func TestTheImageIsBuiltByTheModulesGo(t *testing.T) {
	goMod := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))[1]
	for _, i := range instructions(t, "Dockerfile") {
		if version, is := strings.CutPrefix(i.text, "golang:"); i.name == "FROM" && is && !strings.HasPrefix(version, goMod+"-") {
			t.Errorf("FROM %s, and go.mod wants %s", i.text, goMod)
		}
	}
}
