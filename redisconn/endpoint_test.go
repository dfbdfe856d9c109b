package redisconn

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pushpod/internal/redistest"
	"pushpod/internal/secret"
)

// Where an address is led elsewhere while the old server lives, old connections do not
// notice.
func TestRetiredConnectionsAreNotUsedAgain(t *testing.T) {
	old, young := redistest.Start(t), redistest.Start(t)
	p := redistest.NewProxy(t, old.Addr())
	e := NewEndpoint(Options{Addresses: []string{p.Addr()}})
	defer e.Close()
	client := e.NewClient(true, 4)
	defer client.Close()
	made := CountDials(client)
	write := func(value string) {
		t.Helper()
		var all sync.WaitGroup
		for range 4 { // several connections
			all.Go(func() {
				pipe := client.Pipeline()
				pipe.Set(soon(t), "piped", value, 0)
				if _, err := pipe.Exec(soon(t)); err != nil {
					t.Error(err)
				}
				if err := client.Set(soon(t), "k", value, 0).Err(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	write("1")
	p.Lead(young.Addr())
	write("2")
	if got := old.CLI("MGET", "k", "piped"); got != "2\n2" {
		t.Fatalf("old connections lead to %q", got)
	}
	before := made.Load()
	e.Retire()
	write("3")
	if got := old.CLI("MGET", "k", "piped") + young.CLI("MGET", "k", "piped"); got != "2\n23\n3" {
		t.Errorf("the old and the new server have %q", got)
	}
	if n := made.Load() - before; n == 0 || n > 8 {
		t.Errorf("%d connections were made anew", n)
	}
	before = made.Load()
	write("4")
	if n := made.Load() - before; n > 4 { // more at the same time than before, perhaps
		t.Errorf("%d connections were made once more", n)
	}
}

func TestADialSaysWhichServerThereIs(t *testing.T) {
	s := redistest.Start(t)
	e := NewEndpoint(Options{Addresses: []string{s.Addr()}})
	defer e.Close()
	c, server, err := e.Dial(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	asked, err := Ask(soon(t), Options{Addresses: []string{s.Addr()}})
	if err != nil || server != asked || server.ID == "" {
		t.Errorf("%+v, asked %+v, %v", server, asked, err)
	}
}

func TestAServerThatIsFullSaysSo(t *testing.T) {
	s := redistest.Start(t, "--maxclients", "1")
	e := NewEndpoint(Options{Addresses: []string{s.Addr()}})
	defer e.Close()
	f, err := e.Fresh(soon(t))
	if err != nil || f.Server.ID == "" {
		t.Fatal(f, err)
	}
	defer f.Close()
	if other, err := e.Fresh(soon(t)); !errors.Is(err, ErrFull) {
		t.Errorf("%v, %v; want %v", other, err, ErrFull)
	}
	if c, _, err := e.Dial(soon(t)); !errors.Is(err, ErrFull) {
		t.Errorf("%v, %v; want %v", c, err, ErrFull)
	}
}

func TestAFreshConnectionNeedsALogin(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "secret")
	for password, want := range map[secret.Text]string{"secret": "", "wrong": "WRONGPASS"} {
		e := NewEndpoint(Options{Addresses: []string{s.Addr()}, Password: password})
		f, err := e.Fresh(soon(t))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("with %q: %v, want %q", string(password), err, want)
		}
		if err == nil {
			f.Close()
		}
		e.Close()
	}
}

// An ACL logs each command that it refuses.
func TestInfoThatIsRefusedIsNotAskedForAgain(t *testing.T) {
	s := redistest.Start(t)
	e := NewEndpoint(allowing(t, s, "u", "ping"))
	defer e.Close()
	for range 3 {
		c, server, err := e.Dial(soon(t))
		if err != nil || server.ID != "" || server.Role != Master {
			t.Fatal(server, err)
		}
		c.Close()
		f, err := e.Fresh(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	stats := s.CLI("INFO", "commandstats")
	if !regexp.MustCompile(`cmdstat_info:calls=[01],.*rejected_calls=1,`).MatchString(stats) {
		t.Error(stats)
	}
	if refused := s.CLI("ACL", "LOG"); strings.Contains(refused, "cluster") || strings.Contains(refused, "role") {
		t.Error("asked for more than is needed: ", refused)
	}
}

// A server that hangs would be waited for until the timeout.
func TestNobodyWaitsForAServerThatIsLeft(t *testing.T) {
	t.Parallel()
	old, young := redistest.Start(t), redistest.Start(t)
	p := redistest.NewProxy(t, old.Addr())
	e := NewEndpoint(Options{Addresses: []string{p.Addr()}, Timeout: patience})
	defer e.Close()
	client := e.NewClient(true, 4)
	defer client.Close()
	if err := client.Ping(soon(t)).Err(); err != nil {
		t.Fatal(err)
	}
	old.Pause()
	defer old.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := make(chan string)
	for what, wait := range map[string]func() error{
		"a command": func() error { return client.Set(ctx, "k", "v", 0).Err() },
		"a pipeline, on a new connection": func() error {
			pipe := client.Pipeline()
			pipe.Set(ctx, "piped", "v", 0)
			if _, err := pipe.Exec(ctx); err != nil || young.Client().Get(ctx, "piped").Val() == "v" {
				return context.Canceled // it may be sent to the new server
			}
			return nil
		},
		"a dial":               func() error { _, _, err := e.Dial(ctx); return err },
		"a look":               func() error { _, err := e.Fresh(ctx); return err },
		"who asked to be told": func() error { <-e.Left(); return context.Canceled },
	} {
		go func() {
			if err := wait(); err == nil {
				what += " succeeds"
			}
			ended <- what
		}()
	}
	left := e.Left()
	select {
	case what := <-ended:
		t.Fatalf("%s has ended before", what)
	case <-time.After(300 * time.Millisecond):
	}
	p.Lead(young.Addr())
	e.Leave()
	for range 5 {
		select {
		case what := <-ended:
			if strings.HasSuffix(what, "succeeds") {
				t.Error(what)
			}
		case <-time.After(patience / 2):
			t.Fatal("somebody still waits")
		}
	}
	if !isClosed(left) || isClosed(e.Left()) {
		t.Error("the old server is left, and the new one is not")
	}
	if err := client.Set(soon(t), "k", "v", 0).Err(); err != nil || young.CLI("GET", "k") != "v" {
		t.Errorf("at the new server: %v", err)
	}
}

// A password is rotated so: the new one is good beside the old one, until everybody has it.
func TestConnectionsLogInByTheAccountOfTheMoment(t *testing.T) {
	s := redistest.Start(t)
	s.CLI("ACL", "SETUSER", "one", "on", ">old", "~*", "+@all", "&*")
	r := Open(Options{Addresses: []string{s.Addr()}, Username: "one", Password: "old"})
	defer r.Close()
	node := r.Map().Masters[0]
	whoami := func() string {
		t.Helper()
		name, err := node.Client().Do(soon(t), "acl", "whoami").Text()
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	if got := whoami(); got != "one" {
		t.Fatal(got)
	}
	s.CLI("ACL", "SETUSER", "one", ">new")
	r.SetAccounts(Accounts{Username: "one", Password: "new"})
	s.CLI("ACL", "SETUSER", "one", "<old")
	if got := whoami(); got != "one" { // over the connection that is there
		t.Error(got)
	}
	c, _, err := node.Dial(soon(t)) // and over a new one
	if err != nil {
		t.Fatal(err)
	}
	c.Close()

	s.CLI("ACL", "SETUSER", "two", "on", ">its", "~*", "+@all", "&*")
	r.SetAccounts(Accounts{Username: "two", Password: "its"})
	if r.Username() != "two" {
		t.Error(r.Username())
	}
	s.CLI("CLIENT", "KILL", "USER", "one")
	if got := whoami(); got != "two" {
		t.Errorf("a new connection is of %s", got)
	}
}
