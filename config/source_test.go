package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// watched is a file that a Source reads again and again.
type watched struct {
	*testing.T
	*Source
	path    string
	running Config
}

// every is how often a source looks.
type every time.Duration

// watch opens a source whose file holds the text, and looks often. what are variables, or
// how often.
func watch(t *testing.T, path, text string, what ...any) *watched {
	t.Helper()
	w := &watched{T: t, path: path}
	if text != "" {
		w.write(text)
	}
	look, environ := 20*time.Millisecond, []string(nil)
	for _, one := range what {
		switch v := one.(type) {
		case every:
			look = time.Duration(v)
		case string:
			environ = append(environ, v)
		}
	}
	s, c, err := Open(LoadOptions{File: path, Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	w.Source, w.running = s, c
	s.files.Every = look
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return w
}

// write puts a whole file in the place of the one before, as editors do.
func (w *watched) write(text string) {
	w.Helper()
	if err := os.WriteFile(w.path+".new", []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	w.rename(w.path+".new", w.path)
}

// inPlace writes into the file that is there. It is empty, or in part, for a moment.
func (w *watched) inPlace(text string) {
	w.Helper()
	if err := os.WriteFile(w.path, []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

func (w *watched) rename(from, to string) {
	w.Helper()
	if err := os.Rename(from, to); err != nil {
		w.Fatal(err)
	}
}

// reading waits for the next one.
func (w *watched) reading(why string) Reading {
	w.Helper()
	select {
	case r := <-w.Readings():
		return r
	case <-time.After(20 * time.Second):
		w.Fatalf("%s: nothing was read", why)
		return Reading{}
	}
}

// wantPing waits for a reading that has this conn.ping.
func (w *watched) wantPing(why string, want time.Duration) {
	w.Helper()
	now, _, err := w.reading(why).Over(w.running)
	if err != nil {
		w.Fatalf("%s: %v", why, err)
	}
	if now.Conn.Ping != want {
		w.Errorf("%s: conn.ping is %v, want %v", why, now.Conn.Ping, want)
	}
	w.running = now
}

// wantRejected waits for a reading that changes nothing, for a reason that holds all of these.
func (w *watched) wantRejected(why string, holds ...string) {
	w.Helper()
	now, changes, err := w.reading(why).Over(w.running)
	if err == nil {
		w.Fatalf("%s: it is taken, and changes %v", why, changes)
	}
	if !sameConfig(now, w.running) {
		w.Errorf("%s: rejected, and %v", why, Diff(w.running, now))
	}
	for _, text := range holds {
		if !strings.Contains(err.Error(), text) {
			w.Errorf("%s: the reason lacks %q: %v", why, text, err)
		}
	}
}

// wantNothing sees to it that nothing is told: what is asked for then comes next.
func (w *watched) wantNothing(why string) {
	w.Helper()
	time.Sleep(10 * w.files.Every)
	select {
	case r := <-w.Readings():
		w.Fatalf("%s: it is read again: %v", why, r.err)
	default:
	}
}

func sameConfig(a, b Config) bool { return len(Diff(a, b)) == 0 }

func TestAChangedFileIsReadAgain(t *testing.T) {
	t.Parallel()
	w := watch(t, filepath.Join(t.TempDir(), "pushpod.yaml"), "conn: {ping: 20s}\n")
	w.wantNothing("it is as it was when it was opened")
	w.inPlace("conn: {ping: 21s}\n")
	for { // on a slow machine it may be seen empty
		if now, _, err := w.reading("written in place").Over(w.running); err == nil && now.Conn.Ping == 21*time.Second {
			break
		}
	}
	w.write("conn: {ping: 22s}\n")
	w.wantPing("replaced by another file, as editors do", 22*time.Second)

	w.write("conn: {ping: 22s}\n")
	now := time.Now().Add(time.Hour)
	if err := os.Chtimes(w.path, now, now); err != nil {
		t.Fatal(err)
	}
	w.wantNothing("written anew with the same text, and touched")
}

// A ConfigMap is a directory of links to ..data/NAME, where ..data is a link to a directory
// of this version, and is replaced by rename.
func TestAConfigMapThatIsReplacedIsReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	version := func(name, text string) {
		at := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(at, 0o700), os.WriteFile(filepath.Join(at, "pushpod.yaml"), []byte(text), 0o600),
			os.Symlink(name, filepath.Join(dir, "..data_tmp")), os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	version("..2026_01", "conn: {ping: 20s}\n")
	path := filepath.Join(dir, "pushpod.yaml")
	if err := os.Symlink("..data/pushpod.yaml", path); err != nil {
		t.Fatal(err)
	}
	w := watch(t, path, "")
	version("..2026_02", "conn: {ping: 21s}\n")
	if err := os.RemoveAll(filepath.Join(dir, "..2026_01")); err != nil {
		t.Fatal(err)
	}
	w.wantPing("another version", 21*time.Second)
}

func TestAHalfWrittenFileChangesNothing(t *testing.T) {
	t.Parallel()
	// The first part alone is a good file, too: without the limit.
	const first, rest = "conn: {ping: 21s}\n", "limits: {per_ip: 7}\n"
	path := filepath.Join(t.TempDir(), "pushpod.yaml")
	w := watch(t, path, "conn: {ping: 20s}\n"+rest, every(200*time.Millisecond))
	for range 4 {
		began := time.Now()
		w.inPlace(first)
		if err := w.Again(); err != nil { // and a signal comes too early
			t.Fatal(err)
		}
		time.Sleep(w.files.Every / 2)
		w.inPlace(first + rest)
		whole := time.Since(began) < w.files.Every*3/4 // else the machine is slow, and it stood still
		for {
			now, _, err := w.reading("it is complete").Over(w.running)
			if err == nil && now.Limits.PerIP == 7 && now.Conn.Ping == 21*time.Second {
				break
			}
			if whole {
				t.Fatalf("a part is taken for the whole: %v", err)
			}
		}
	}
}

func TestABrokenFileIsToldWithItsLineAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := watch(t, filepath.Join(t.TempDir(), "pushpod.yaml"), "conn: {ping: 20s}\n")
	w.write("conn:\n  ping: 21s\n  queue_bytes: 3 parsecs\n")
	w.wantRejected("one value is wrong", "conn.queue_bytes", w.path+":3", "3 parsecs", "allowed: a size from 1KiB")
	w.wantNothing("it is told once")
	w.write("conn:\n  ping: 21s\n  queue_byt")
	w.wantRejected("the end is missing", w.path, "malformed YAML")
	w.write("conn:\n  ping: 21s\n  queue_bytes: 1MiB\n")
	w.wantPing("mended", 21*time.Second)
}

func TestAFileThatIsGoneOrCanNotBeReadChangesNothing(t *testing.T) {
	t.Parallel()
	w := watch(t, filepath.Join(t.TempDir(), "pushpod.yaml"), "conn: {ping: 20s}\n")
	away := w.path + ".away"
	w.rename(w.path, away)
	w.wantRejected("deleted", w.path, "no such file")
	w.wantNothing("it is told once")
	w.rename(away, w.path)
	w.wantPing("back", 20*time.Second)

	w.rename(w.path, away)
	if err := os.Mkdir(w.path, 0o700); err != nil {
		t.Fatal(err)
	}
	w.wantRejected("a directory", w.path, "is a directory")
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	w.rename(away, w.path)
	w.wantPing("back again", 20*time.Second)

	// What a full disk leaves of a file.
	w.inPlace("")
	w.wantRejected("emptied", w.path, "is empty now", "a comment")
	w.write("# all by default\n")
	w.wantPing("a comment", 25*time.Second)
}

func TestAgainReadsAlsoWhatHasNotChanged(t *testing.T) {
	t.Parallel()
	w := watch(t, filepath.Join(t.TempDir(), "pushpod.yaml"), "conn: {ping: 20s}\n")
	for range 2 {
		if err := w.Again(); err != nil {
			t.Fatal(err)
		}
		if r := w.reading("asked for"); r.err != nil || !r.Asked || len(Diff(w.running, r.config)) > 0 {
			t.Errorf("%+v", r)
		}
	}
	w.wantNothing("not asked for")
	w.write("conn: {ping: never}\n")
	for _, asked := range []bool{false, true} { // a file that is wrong is told again to who asks
		if asked {
			if err := w.Again(); err != nil {
				t.Fatal(err)
			}
		}
		if r := w.reading("it is wrong"); r.Asked != asked || r.err == nil {
			t.Errorf("asked %v: %+v", asked, r)
		}
	}
}

func TestAFileThatCanBeReadOnceIsNotReadAgain(t *testing.T) {
	t.Parallel()
	none, _, err := Open(LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := none.Again(); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("without a file: %v", err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	go func() { _ = os.WriteFile(pipe, []byte("conn: {ping: 20s}\n"), 0) }()
	once, c, err := Open(LoadOptions{File: pipe})
	if err != nil || c.Conn.Ping != 20*time.Second {
		t.Fatal(c.Conn.Ping, err)
	}
	if err := once.Again(); err == nil || !strings.Contains(err.Error(), pipe) {
		t.Errorf("a pipe: %v", err)
	}
	once.Run(t.Context()) // returns at once
}

func TestFlagsAndEnvironmentWinOverTheFileAlsoWhenItIsReadAgain(t *testing.T) {
	t.Parallel()
	w := watch(t, filepath.Join(t.TempDir(), "pushpod.yaml"), "conn: {ping: 20s}\n", "PUSHPOD_CONN_PING=9s")
	w.write("conn: {ping: 21s, max_header: 2KiB}\n")
	w.wantPing("the variable wins", 9*time.Second)
	if w.running.Conn.MaxHeader != 2<<10 {
		t.Errorf("max_header is %v", w.running.Conn.MaxHeader)
	}
}

// TestWhatCanNotChangeMustFitToWhatDoes holds a file that is well by itself, but whose
// values would meet values that the pod keeps until a restart.
func TestWhatCanNotChangeMustFitToWhatDoes(t *testing.T) {
	for name, c := range map[string]struct{ before, after, holds string }{
		"a token that is needed": {
			"admin: {listen: '0.0.0.0:9090', token: 'sixteen bytes or more'}\n", "admin: {listen: '127.0.0.1:9090'}\n",
			`admin.listen: "0.0.0.0:9090" (as the pod runs; another value needs a restart)`},
		"entries would expire": {"", "presence: {ttl: 10m}\nconn: {ping: 5m}\n", `presence.ttl: "1m30s" (as the pod runs`},
		"no key would verify":  {"auth: {mode: jwt, hmac_secret: '" + strings.Repeat("s", 32) + "'}\n", "auth: {mode: jwt, keys_file: /keys}\n", "auth.mode"},
		"no proxy is trusted":  {"proxy_protocol: on\nauth: {trusted_proxies: loopback}\n", "# none\n", "proxy_protocol"},
		"anyone would be let in": {
			"listen: ':8080'\npod: {address: 'a:1'}\nredis: {addresses: 'a:1'}\nauth: {insecure: on}\n", "auth: {insecure: off}\n", "auth.mode"},
	} {
		t.Run(name, func(t *testing.T) {
			before, err := Load(LoadOptions{File: write(t, c.before)})
			if err != nil {
				t.Fatal(err)
			}
			now, _, err := Read(LoadOptions{File: write(t, c.after)}).Over(before)
			if err == nil || !strings.Contains(err.Error(), c.holds) {
				t.Errorf("%v, want %s", err, c.holds)
			}
			if !sameConfig(now, before) {
				t.Errorf("changed: %v", Diff(before, now))
			}
		})
	}
}
