// Package deploy has no code: its tests hold the files to deploy with against the program.
package deploy

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"pushpod/config"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// yamls reads the documents of a YAML file.
func yamls(t *testing.T, path string) (all []map[string]any) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(read(t, path)))
	for {
		var one map[string]any
		switch err := d.Decode(&one); {
		case err == io.EOF:
			return all
		case err != nil:
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, one)
	}
}

// at returns what stands at a path of keys, and of indices of lists; nil: nothing.
func at(value any, path ...any) any {
	for _, step := range path {
		switch key := step.(type) {
		case string:
			m, _ := value.(map[string]any)
			value = m[key]
		case int:
			list, _ := value.([]any)
			if key >= len(list) {
				return nil
			}
			value = list[key]
		}
	}
	return value
}

// texts are a list's.
func texts(value any) (all []string) {
	list, _ := value.([]any)
	for _, v := range list {
		s, _ := v.(string)
		all = append(all, s)
	}
	return all
}

// load is what a pod makes of a file and an environment, as `pushpod config check` would.
func load(t *testing.T, file string, environ ...string) config.Config {
	t.Helper()
	c, err := config.Load(config.LoadOptions{File: file, Environ: environ})
	if err != nil {
		t.Fatalf("%q with %q: %v", file, environ, err)
	}
	return c
}

// leaving is how long a pod takes to leave, with what Redis may take of it.
func leaving(c config.Config) time.Duration {
	return c.Shutdown.Delay + c.Shutdown.Drain + 6*time.Second + 2*c.Redis.Timeout
}

// eventually waits until ok says so.
func eventually(t *testing.T, why string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", why)
		}
	}
}

// freePort is one of loopback's that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// start starts a process that ends with the test. out holds what it said, once it has
// ended.
func start(t *testing.T, cmd *exec.Cmd) (out *bytes.Buffer, ended <-chan error) {
	t.Helper()
	out = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	over := make(chan struct{})
	go func() {
		done <- cmd.Wait()
		close(over)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-over
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, out)
		}
	})
	return out, done
}

// Every file is named in the README, beside the one command for it.
func TestReadmeNamesWhatIsThere(t *testing.T) {
	readme := read(t, "README.md")
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		if name != "README.md" && !strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, ".dockerignore") && name != ".env" && !strings.Contains(readme, name) {
			t.Errorf("README.md does not name %s", name)
		}
	}
	for _, path := range regexp.MustCompile("`(?:deploy/)?([a-z]+/[a-zA-Z0-9._-]+)`").FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(filepath.Dir(path[1])); err != nil {
			continue // a folder of the module's, or of somebody's copy that has no proxies
		}
		if _, err := os.Stat(path[1]); err != nil {
			if _, err := os.Stat(filepath.Join("..", path[1])); err != nil {
				t.Errorf("README.md names %s, which is not there", path[1])
			}
		}
	}
}

func TestSysctlsExist(t *testing.T) {
	const file = "sysctl/99-pushpod.conf"
	if _, err := os.Stat("/proc/sys/fs"); err != nil {
		t.Skip("there is no /proc/sys")
	}
	explained, seen := false, map[string]bool{}
	for line := range strings.Lines(read(t, file)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#"):
			explained = true
			continue
		case line == "":
			explained = false
			continue
		}
		name, value, ok := strings.Cut(line, " = ")
		optional := strings.HasPrefix(name, "-")
		name = strings.TrimPrefix(name, "-")
		if !ok || value == "" || seen[name] || !regexp.MustCompile(`^[0-9 ]+$`).MatchString(value) {
			t.Errorf("%s: %q: want name = numbers, once", file, line)
		}
		if !explained {
			t.Errorf("%s: no word on why %s", file, name)
		}
		seen[name] = true
		path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		now, err := os.ReadFile(path)
		if err != nil {
			// In a network namespace of its own some are not there (net.core.wmem_max).
			if !optional && !os.IsPermission(err) && !isNamespaced(name) {
				t.Errorf("%s: %v", file, err)
			}
			continue
		}
		if got, want := len(strings.Fields(string(now))), len(strings.Fields(value)); got != want {
			t.Errorf("%s: %s has %d numbers, the kernel %d", file, name, want, got)
		}
	}
	for _, want := range []string{"fs.nr_open", "fs.file-max", "net.core.somaxconn", "net.ipv4.tcp_mem", "net.netfilter.nf_conntrack_max"} {
		if !seen[want] {
			t.Errorf("%s: %s is missing", file, want)
		}
	}
}

func isNamespaced(name string) bool {
	return strings.HasPrefix(name, "net.core.") && inNamespace()
}

// inNamespace reports whether this process is in another network namespace than the
// machine's, as in a container.
func inNamespace() bool {
	_, err := os.Stat("/proc/sys/net/core/rmem_default")
	return err != nil
}

func TestReleasesAreBuiltAsTheImageIs(t *testing.T) {
	c := yamls(t, "../.goreleaser.yaml")[0]
	if c["version"] != 2 {
		t.Errorf("version %v", c["version"])
	}
	build := at(c, "builds", 0)
	if got := strings.Join(texts(at(build, "env")), " "); got != "CGO_ENABLED=0" {
		t.Errorf("env %s", got)
	}
	if got := strings.Join(texts(at(build, "ldflags")), " "); !strings.Contains(got, "-X main.version={{ .Version }}") {
		t.Errorf("ldflags %s", got)
	}
	if at(build, "main") != "." || at(build, "binary") != "pushpod" || at(c, "checksum", "algorithm") != "sha256" {
		t.Errorf("%v", c)
	}
	made := strings.Join(texts(at(c, "before", "hooks")), "\n")
	for _, pattern := range texts(at(c, "archives", 0, "files")) {
		if dir, _, _ := strings.Cut(pattern, "/"); strings.Contains(made, " . man --dir "+dir) {
			continue // it is there when a release is made
		}
		found, err := filepath.Glob(filepath.Join("..", strings.ReplaceAll(pattern, "**/", "*/")))
		if err != nil || len(found) == 0 {
			t.Errorf("files: %s names nothing (%v)", pattern, err)
		}
	}
}

// What is released can be built on each system that is named.
func TestReleasesCompileEverywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles")
	}
	c := yamls(t, "../.goreleaser.yaml")[0]
	for _, system := range texts(at(c, "builds", 0, "goos")) {
		for _, arch := range texts(at(c, "builds", 0, "goarch")) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			// What is compiled for another system is only looked at: to link it takes long.
			cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-f", "{{with .Error}}{{.}}{{end}}{{with .DepsErrors}}{{.}}{{end}}", ".")
			cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch)
			if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "" {
				t.Errorf("%s/%s: %v %s", system, arch, err, out)
			}
		}
	}
}

func TestHostedCIRunsTheMakefile(t *testing.T) {
	c := yamls(t, "../.github/workflows/ci.yaml")[0]
	job := at(c, "jobs", "test")
	steps, _ := at(job, "steps").([]any)
	said := map[string]any{}
	for _, s := range steps {
		uses, _ := at(s, "uses").(string)
		name, _, _ := strings.Cut(uses, "@")
		said[name] = at(s, "with")
		if run, ok := at(s, "run").(string); ok {
			said["run "+run] = true
		}
	}
	switch {
	case said["run make test"] == nil:
		t.Error("make test is not called")
	case at(said["actions/checkout"], "fetch-depth") != 0:
		t.Error("the history is not fetched")
	case at(said["actions/setup-go"], "go-version-file") != "go.mod":
		t.Error("Go is not go.mod's")
	}
	if runner, _ := at(job, "runs-on").(string); !strings.HasPrefix(runner, "ubuntu-") {
		t.Errorf("runs on %q: the tests' tools come from Debian's packages", runner)
	}
	if at(c, "permissions", "contents") != "read" {
		t.Error("it has more rights than to read")
	}
}
