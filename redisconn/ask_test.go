package redisconn

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"pushpod/internal/redistest"
)

// allowing adds a user who may send these commands alone, and nothing else but log in.
func allowing(t *testing.T, s *redistest.Server, user string, commands ...string) Options {
	t.Helper()
	args := []any{"ACL", "SETUSER", user, "on", ">secret", "resetchannels", "&*", "~*", "+auth"}
	for _, c := range commands {
		args = append(args, "+"+c)
	}
	if err := s.Client().Do(soon(t), args...).Err(); err != nil {
		t.Fatal(err)
	}
	return Options{Addresses: []string{s.Addr()}, Username: user, Password: "secret"}
}

func TestAServerIsAskedWhatItIs(t *testing.T) {
	s := redistest.Start(t)
	got, err := Ask(soon(t), Options{Addresses: []string{s.Addr()}})
	if err != nil || got.Kind != Standalone || got.Role != Master || got.Version == "" || len(got.ID) != 40 {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := s.Client().Do(soon(t), "ACL", "SETUSER", "u", "on", ">secret", "+auth").Err(); err != nil { // HELLO no ACL refuses
		t.Fatal(err)
	}
	least, err := Ask(soon(t), Options{Addresses: []string{s.Addr()}, Username: "u", Password: "secret"})
	if err != nil || least.Role != Master || least.Version != got.Version || least.ID != "" {
		t.Errorf("without rights: %+v, %v", least, err)
	}
	s.CLI("REPLICAOF", "127.0.0.1", "1")
	replica, err := Ask(soon(t), Options{Addresses: []string{s.Addr()}})
	if err != nil || replica.Role != Replica || replica.ID != got.ID {
		t.Errorf("%+v, %v; want a replica, the run being the same", replica, err)
	}
	s.Restart()
	again, err := Ask(soon(t), Options{Addresses: []string{s.Addr()}})
	if err != nil || again.ID == got.ID {
		t.Errorf("%+v, %v; want another run of it", again, err)
	}
}

func TestANodeOfAClusterIsKnown(t *testing.T) {
	s := redistest.Start(t, "--cluster-enabled", "yes")
	for _, commands := range [][]string{{"hello"}, {"info"}, {"cluster|info"}, {"hello", "info", "role", "cluster|info"}} {
		got, err := Ask(soon(t), allowing(t, s, "u", commands...))
		if err != nil || got.Kind != Cluster {
			t.Errorf("with %v: %+v, %v; want a Cluster", commands, got, err)
		}
		s.CLI("ACL", "DELUSER", "u")
	}
}

// Each command may be refused: what the others say is known all the same.
func TestWhatAServerRefusesToSayIsNotKnown(t *testing.T) {
	s := redistest.Start(t, "--rename-command", "HELLO", "") // which no ACL refuses
	for _, c := range []struct {
		commands          string
		role              Role
		hasVersion, hasID bool
	}{
		{"info", Master, true, true},
		{"role", Master, false, false},
		{"cluster|info", RoleUnknown, false, false},
		{"get", RoleUnknown, false, false},
	} {
		got, err := Ask(soon(t), allowing(t, s, "u", c.commands))
		if err != nil || got.Kind != Standalone || got.Role != c.role || (got.Version != "") != c.hasVersion || (got.ID != "") != c.hasID {
			t.Errorf("with %s: %+v, %v", c.commands, got, err)
		}
		s.CLI("ACL", "DELUSER", "u")
	}
	if got, err := Ask(soon(t), Options{Addresses: []string{s.Addr()}, Username: "u", Password: "wrong"}); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("after a refused login: %+v, %v", got, err)
	}
}

func TestRenamedCommandsAreAsRefusedOnes(t *testing.T) {
	s := redistest.Start(t, "--rename-command", "HELLO", "", "--rename-command", "INFO", "", "--rename-command", "CLUSTER", "")
	got, err := Ask(soon(t), Options{Addresses: []string{s.Addr()}})
	if err != nil || got != (Server{Kind: Standalone, Role: Master}) {
		t.Errorf("%+v, %v; want a standalone master", got, err)
	}
}

// A server of before 6.0, or a proxy, knows none of the commands.
func TestAServerThatKnowsNothingIsStandalone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for r := bufio.NewScanner(c); r.Scan(); {
			if strings.HasPrefix(r.Text(), "*") {
				fmt.Fprint(c, "-ERR unknown command\r\n")
			}
		}
	}()
	got, err := Ask(soon(t), Options{Addresses: []string{l.Addr().String()}})
	if err != nil || got != (Server{Kind: Standalone}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAskFailsWhereNobodyAnswers(t *testing.T) {
	p := redistest.NewProxy(t, "127.0.0.1:1")
	if got, err := Ask(soon(t), Options{Addresses: []string{p.Addr()}}); err == nil {
		t.Errorf("%+v, no error", got)
	}
}
