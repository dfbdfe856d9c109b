package filewatch

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// watched are two files, and what was made of them.
type watched struct {
	t      *testing.T
	a, b   string // paths
	files  *Files
	given  []string
	logged []error
	refuse error
	now    time.Time
}

func watch(t *testing.T) *watched {
	t.Helper()
	dir := t.TempDir()
	w := &watched{t: t, now: time.Now(), a: filepath.Join(dir, "a"), b: filepath.Join(dir, "b")}
	w.write(w.a, "a1")
	w.write(w.b, "b1")
	f, err := New(Options{Paths: []string{w.a, w.b}, Apply: w.apply, Log: func(err error) { w.logged = append(w.logged, err) }})
	if err != nil {
		t.Fatal(err)
	}
	w.files = f
	w.want("a1 b1")
	return w
}

func (w *watched) apply(contents [][]byte) error {
	if w.refuse == nil {
		w.given = append(w.given, string(bytes.Join(contents, []byte(" "))))
	}
	return w.refuse
}

func (w *watched) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) looks(n int) {
	for range n {
		w.now = w.now.Add(w.files.Every)
		w.files.look(w.now)
	}
}

// want holds what was applied, and what was logged, since the last call.
func (w *watched) want(given string, logged ...string) {
	w.t.Helper()
	if got := strings.Join(w.given, ", "); got != given {
		w.t.Errorf("applied %q, want %q", got, given)
	}
	if len(w.logged) != len(logged) {
		w.t.Fatalf("logged %v, want %q", w.logged, logged)
	}
	for i, err := range w.logged {
		if (err == nil) != (logged[i] == "") || err != nil && !strings.Contains(err.Error(), logged[i]) {
			w.t.Errorf("logged %v, want %q", err, logged[i])
		}
	}
	w.given, w.logged = nil, nil
}

func TestAChangeIsTakenOnceItStandsStill(t *testing.T) {
	w := watch(t)
	w.looks(3)
	w.want("")
	w.write(w.a, "a2")
	w.looks(1)
	w.want("")
	w.write(w.b, "b2")
	w.looks(1)
	w.want("")
	w.looks(3)
	w.want("a2 b2", "")
}

func TestWhatCanNotBeUsedIsSaidOnceAndTriedAgainWhenItChanges(t *testing.T) {
	w := watch(t)
	w.refuse = errors.New("they don't fit")
	w.write(w.a, "a2")
	w.looks(5)
	w.want("", "they don't fit")
	w.refuse = nil
	w.write(w.b, "b2")
	w.looks(3)
	w.want("a2 b2", "")
}

func TestAFileThatIsMissingForAWhileChangesNothing(t *testing.T) {
	w := watch(t)
	if err := os.Remove(w.b); err != nil {
		t.Fatal(err)
	}
	w.looks(1) // one look is none
	w.write(w.b, "b1")
	w.looks(3)
	w.want("")
	if err := os.Remove(w.b); err != nil {
		t.Fatal(err)
	}
	w.looks(4)
	w.want("", w.b)
	w.write(w.b, "b1")
	w.looks(3)
	w.want("a1 b1", "")
}

func TestALinkThatLeadsElsewhereIsAChange(t *testing.T) {
	w := watch(t)
	other := w.a + ".other"
	w.write(other, "a2")
	if err := os.Remove(w.a); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, w.a); err != nil {
		t.Fatal(err)
	}
	w.looks(2)
	w.want("a2 b1", "")
}

func TestAFileMayNotBeHuge(t *testing.T) {
	w := watch(t)
	w.write(w.a, strings.Repeat("x", MaxBytes+1))
	w.looks(2)
	w.want("", "more than")
}

func TestFilesThatCanNotBeUsedAtTheStart(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := New(Options{Paths: []string{missing}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	want := errors.New("no good")
	if _, err := New(Options{Paths: []string{os.DevNull}, Apply: func([][]byte) error { return want }}); err != want {
		t.Errorf("one that does not fit: %v", err)
	}
}

func TestRunLooksUntilItsContextEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	applied := make(chan string, 10)
	f, err := New(Options{Paths: []string{path}, Apply: func(c [][]byte) error { applied <- string(c[0]); return nil }, Log: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	<-applied
	f.Every = time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	if err := os.WriteFile(path, []byte("2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for got := ""; got != "2"; {
		got = <-applied
	}
	stop()
	running.Wait()
}

func TestAgainAppliesWhatIsTheSameButNothingHalfWritten(t *testing.T) {
	w := watch(t)
	again := func() { w.files.again = true; w.looks(1) } // as Run does, once it was called
	again()
	w.want("a1 b1", "")
	w.looks(3)
	w.want("")
	w.write(w.a, "a2")
	again()
	w.want("") // it has just changed
	w.now = w.now.Add(w.files.Every / 2)
	w.files.look(w.now) // which is too soon behind the one before
	w.want("")
	w.looks(1)
	w.want("a2 b1", "")
	w.looks(3)
	w.want("")
	w.refuse = errors.New("they don't fit")
	again()
	w.want("", "they don't fit")
	w.files.Again()
	w.files.Again() // does not wait
}
