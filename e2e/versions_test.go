package e2e

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// before is the commit before pods knew ?replaces= and goaway. A pod of it must work beside one of today.
const before = "3fb43d068a"

// older is a pod program of an earlier commit, and its scripts.
type older struct {
	once             sync.Once
	program, scripts string
	missing, err     error
}

// beforeThis is built once, as program is.
var beforeThis older

// get makes it from the history; where there is none, the test is left out.
func (o *older) get(t *testing.T) *older {
	t.Helper()
	o.once.Do(func() { o.missing, o.err = o.build(filepath.Join(program.dir, before), before) })
	if o.missing != nil {
		t.Skipf("the history does not reach back to commit %s: %v", before, o.missing)
	}
	if o.err != nil {
		t.Fatal(o.err)
	}
	return o
}

func (o *older) build(dir, commit string) (missing, err error) {
	git := func(args ...string) ([]byte, error) {
		cmd := exec.Command("git", args...)
		cmd.Dir = moduleRoot()
		return cmd.Output()
	}
	if _, err := git("rev-parse", "--verify", "--quiet", commit+"^{commit}"); err != nil {
		return err, nil
	}
	archive, err := git("archive", "--format=tar", commit)
	if err != nil {
		return nil, fmt.Errorf("git archive %s: %w %s", commit, err, stderrOf(err))
	}
	if err := unpack(archive, dir); err != nil {
		return nil, err
	}
	o.program, o.scripts = filepath.Join(dir, "pushpod-before"), filepath.Join(dir, "scripts")
	// As program is built, so that what both need is compiled once.
	cmd := exec.Command("go", "build", "-trimpath", "-o", o.program, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build commit %s: %w\n%s", commit, err, out)
	}
	return nil, nil
}

func unpack(archive []byte, dir string) error {
	files := tar.NewReader(bytes.NewReader(archive))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("unpack git's archive: %w", err)
	}
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read git's archive: %w", err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, 0o755)
		case tar.TypeReg:
			var text []byte
			if text, err = io.ReadAll(files); err == nil {
				err = os.WriteFile(path, text, h.FileInfo().Mode())
			}
		}
		if err != nil {
			return fmt.Errorf("unpack git's archive: %w", err)
		}
	}
}

// TestVersionsSideBySide is a roll from the commit before to this one, and back.
func TestVersionsSideBySide(t *testing.T) {
	t.Parallel()
	o := beforeThis.get(t)
	r := startRedis(t)
	db := asProducer(r)
	s := patient().with("shutdown.drain", "500ms", "log.level", "debug")
	was, is := launchProgram(t, o.program, r, s), launchPod(t, r, s)
	was.waitReady()
	is.waitReady()

	// Pushes reach both, by whichever version's script.
	pushes := map[string]string{"this commit's push.lua": script("push.lua"), "the one before": filepath.Join(o.scripts, "push.lua")}
	alice, bob := dial(t, was, "alice"), dial(t, is, "bob")
	phone, laptop := dial(t, was, "carol"), dial(t, is, "carol")
	wantBoth := func(when string) {
		t.Helper()
		for name, path := range pushes {
			why := when + ": " + name
			for user, devices := range map[string][]*client{"alice": {alice}, "bob": {bob}, "carol": {phone, laptop}} {
				data := fmt.Sprintf(`{"to":%q}`, user)
				out, err := r.TryCLIAs(producer, passwordOf(producer), "--eval", path, userKey(user), ",", data)
				if err != nil || out != fmt.Sprint(len(devices)) {
					t.Errorf("%s: %s is answered %q, %v, want %d", why, user, out, err, len(devices))
				}
				for _, d := range devices {
					d.wantMessage(why, data)
				}
			}
		}
		publish(t, db, "push:all", `{"all":true,"data":"all"}`)
		for _, d := range []*client{alice, bob, phone, laptop} {
			d.wantMessage(when+": to all", `"all"`)
		}
	}
	wantBoth("side by side")
	alice.request("the one before takes requests", "r-1", "1")
	bob.request("so does this one", "r-2", "2")

	// Each sees both.
	for name, path := range map[string]string{"the one before": o.program, "this one": program.get(t)} {
		list := runProgram(t, path, envOf(r, operator), "pods").stdout
		wantLine(t, name+" lists the pods", list, was.listen)
		wantLine(t, name+" lists the pods", list, is.listen)
		entries := runProgram(t, path, envOf(r, operator), "presence", "carol").stdout
		wantLine(t, name+" lists the connections", entries, phone.uuid, was.listen)
		wantLine(t, name+" lists the connections", entries, laptop.uuid, is.listen)
	}

	// A connection of the pod before is replaced by one of this pod: the one before does not know what it is told, and
	// may bring the entry back until that connection ends; what is pushed reaches the user all the while.
	next := dial(t, is, "alice", withQuery("goaway", "1"), withQuery("replaces", alice.uuid))
	wantEntries(t, db, "alice", settle, map[string]string{next.uuid: is.channel})
	eventually(t, "the one before has counted what it does not know as bad", settle, func() (bool, any) {
		n := was.metric("pushpod_envelopes_total", "result", "bad")
		return n == 1, n
	})
	eventually(t, "the one before brings the entry back", settle, func() (bool, any) { // with its renewal
		got := entriesOf(t, db, "alice")
		return len(got) == 2, got
	})
	if n := luaPush(t, r, "alice", `"both"`); n != 2 {
		t.Errorf("push.lua returned %d, want 2", n)
	}
	alice.wantMessage("until it is closed", `"both"`)
	next.wantMessage("at once", `"both"`)
	alice.leave()
	wantEntries(t, db, "alice", settle, map[string]string{next.uuid: is.channel})
	alice = next

	// And the other way round: the one before takes ?replaces= for nothing that it knows.
	back := dial(t, was, "bob", withQuery("goaway", "1"), withQuery("replaces", bob.uuid))
	wantEntries(t, db, "bob", settle, map[string]string{bob.uuid: is.channel, back.uuid: was.channel})
	if n := luaPush(t, r, "bob", `"both"`); n != 2 {
		t.Errorf("push.lua returned %d, want 2", n)
	}
	bob.wantMessage("until it is closed", `"both"`)
	back.wantMessage("at once", `"both"`)
	bob.leave()
	bob = back
	wantEntries(t, db, "bob", settle, map[string]string{bob.uuid: was.channel})
	wantBoth("after connections have moved")

	// This one is rolled, to the version before, and the one before to this one.
	is.sigterm()
	alice.wantFrame("this one announces the close to who asked", "goaway")
	laptop.wantClosed("and closes who did not", 1001, settle)
	alice.wantClosed("within 3 s", 1001, settle)
	is.wantExit("this one is rolled", 0, settle)
	is = is.restartAs(o.program)
	is.waitReady()
	alice, laptop = dial(t, is, "alice"), dial(t, is, "carol")
	wantBoth("rolled back")
	was.sigterm()
	bob.wantClosed("the one before closes", 1001, settle)
	phone.wantClosed("the one before closes", 1001, settle)
	was.wantExit("the one before is rolled", 0, settle)
	was = was.restartAs(program.get(t))
	was.waitReady()
	bob, phone = dial(t, was, "bob"), dial(t, was, "carol")
	wantBoth("rolled")
	for _, p := range []*pod{was, is} {
		if n := p.metric("pushpod_envelopes_total", "result", "bad"); n != 0 {
			t.Errorf("%s has counted %v bad envelopes, want 0", p.name, n)
		}
	}
}

// TestDeviceMovesBetweenVersions: a client of the project's own is rolled from the version before to this one and back.
func TestDeviceMovesBetweenVersions(t *testing.T) {
	t.Parallel()
	o := beforeThis.get(t)
	r := startRedis(t)
	s := patient().with("shutdown.drain", "500ms")
	was := launchProgram(t, o.program, r, s)
	is := launchPod(t, r, s)
	was.waitReady()
	d := startDevice(t, "alice", was.listen, is.listen)
	is.waitReady()
	db := asProducer(r)
	pods := map[string]*pod{was.channel: was, is.channel: is}
	for i := range 4 {
		for _, channel := range entriesOf(t, db, "alice") {
			p := pods[channel]
			p.sigterm() // one says goaway before it closes, the other closes
			p.wantExit("roll", 0, settle)
			d.wantConnects(i + 2)
			pods[channel] = p.restart()
			pods[channel].waitReady()
		}
		data := fmt.Sprintf(`"after roll %d"`, i)
		eventually(t, "one push for one connection", settle, func() (bool, any) {
			n := luaPush(t, r, "alice", data, "id", data)
			return n == 1, n
		})
		eventually(t, "it has come", settle, func() (bool, any) {
			got := d.messages()
			return len(got) == i+1 && got[i] == data, got
		})
	}
}
