package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// program is what is under test: package-level, since go test offers no other
// way from TestMain to the tests.
var program built

// built is the program, built when the first test asks for it.
type built struct {
	dir  string // set by TestMain, which removes it
	once sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "pushpod-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: make a directory for the program:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	program.dir = dir
	return m.Run()
}

// get returns the program's path, and ends the test where it can't be built.
//
// It builds within the tests, not before them, for go test's cache: what tests
// look at, the environment and the module's files, is what a cached result
// depends on. Nothing else would tell it that the program has changed.
func (b *built) get(t testing.TB) string {
	t.Helper()
	b.once.Do(func() { b.path, b.err = build(b.dir) })
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

// lookAtSources reads the module's directories, for get's sake.
func lookAtSources() error {
	return filepath.WalkDir(moduleRoot(), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin") {
			return filepath.SkipDir
		}
		return err
	})
}

// build makes the program from the module around this package.
func build(dir string) (string, error) {
	if given := os.Getenv("PUSHPOD_E2E_BINARY"); given != "" {
		return filepath.Abs(given)
	}
	if err := lookAtSources(); err != nil {
		return "", fmt.Errorf("look at the sources: %w", err)
	}
	path := filepath.Join(dir, "pushpod")
	race := os.Getenv("PUSHPOD_E2E_RACE") == "1"
	cmd := exec.Command("go", "build", "-trimpath", fmt.Sprintf("-race=%v", race), "-o", path, ".")
	cmd.Dir, cmd.Env = moduleRoot(), os.Environ()
	if !race {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0") // as it is released
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
}

// moduleRoot is the directory above the package's own, in which tests run.
func moduleRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		return ".."
	}
	return filepath.Dir(dir)
}

// script returns the path of a file in the project's scripts directory.
func script(name string) string { return filepath.Join(moduleRoot(), "scripts", name) }

// cleanEnv is this process's environment without what would configure a pod,
// plus extra.
func cleanEnv(extra ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PUSHPOD_") && !strings.HasPrefix(e, "POD_IP=") {
			env = append(env, e)
		}
	}
	return append(env, extra...)
}
