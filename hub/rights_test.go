package hub

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

// asking is a hub that can ask a server for the rights of a user.
func asking(addr, user string) *Hub {
	return New(Options{
		Pod:      "pod:1",
		Keys:     presence.NewKeys("push:"),
		Presence: &failingPresence{},
		Redis:    Redis{Nodes: redisconn.Open(redisconn.Options{Addresses: []string{addr}, Username: user, Password: "pass"}), Timeout: 5 * time.Second, Probe: time.Second, Rights: time.Second},
	})
}

func TestAskingForRightsDoesNothing(t *testing.T) {
	r := redistest.Start(t)
	h := asking(r.Addr(), "some")
	key := h.opts.Keys.User("push:pod:pod:1")
	r.CLI("HSET", key, "-", "stays")
	r.CLI("ZADD", "push:pods", "7", "push:pod:pod:1")
	r.CLI("HSET", "push:pods:info", "push:pod:pod:1", "stays")
	for name, c := range map[string]struct {
		rules []string
		lacks string // what is named; "": nothing
	}{
		"all rights":     {[]string{"+@all", "~*", "&*"}, ""},
		"no MULTI":       {[]string{"+@all", "-multi", "~*", "&*"}, "MULTI: NOPERM"},
		"no EXEC":        {[]string{"+@all", "-exec", "~*", "&*"}, "EXEC: NOPERM"},
		"no WATCH":       {[]string{"+@all", "-watch", "~*", "&*"}, "WATCH on push:pods: NOPERM"},
		"no key":         {[]string{"+@all", "&*"}, "XADD on push:uplink: NOPERM"},
		"no channel":     {[]string{"+@all", "~*"}, "SUBSCRIBE on push:pod:pod:1, push:all: NOPERM"},
		"no HSET":        {[]string{"+@all", "-hset", "~*", "&*"}, "HSET on push:user:*, push:pods:info: NOPERM"},
		"nothing at all": {nil, "MULTI: NOPERM"},
	} {
		r.CLI(append([]string{"ACL", "SETUSER", "some", "reset", "on", ">pass"}, c.rules...)...)
		list, err := h.askRights(t.Context())
		var told []string
		for _, m := range list {
			told = append(told, m.String())
		}
		switch text := strings.Join(told, "\n"); {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case c.lacks == "" && text != "", !strings.Contains(text, c.lacks):
			t.Errorf("%s: it lacks\n%s\nwant %q", name, text, c.lacks)
		}
		for _, ask := range [][]string{{"HGET", key, "-"}, {"HGET", "push:pods:info", "push:pod:pod:1"}} {
			if got := r.CLI(ask...); got != "stays" {
				t.Errorf("%s: %q is %q: the question was done", name, ask, got)
			}
		}
		if n, score := r.CLI("DBSIZE"), r.CLI("ZSCORE", "push:pods", "push:pod:pod:1"); n != "3" || score != "7" || r.CLI("TTL", key) != "-1" {
			t.Errorf("%s: %s keys, score %s: the question was done", name, n, score)
		}
	}
}

// rename-command hides commands; what needs not be there is not asked for.
func TestCommandsThatRedisDoesNotKnowAreNamed(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		hidden string
		lacks  string // what is named; "": nothing
	}{
		"one of many":       {"PEXPIRE", "PEXPIRE on push:user:*: ERR unknown command 'PEXPIRE'"},
		"of a later client": {"XADD", "XADD on push:uplink: ERR unknown command 'XADD'"},
		"transactions":      {"MULTI", "MULTI: ERR unknown command 'MULTI'"},
		"what watches":      {"WATCH", "WATCH on push:pods: ERR unknown command 'WATCH'"},
		"PING":              {"PING", ""},
		"HEXPIRE":           {"HEXPIRE", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--rename-command", x.hidden, ""}
			if out, err := redistest.Start(t).TryCLI("HEXPIRE", "x"); x.hidden == "HEXPIRE" && err != nil && strings.Contains(out, "unknown command") {
				args = nil // it is not there anyway
			}
			r := redistest.Start(t, args...)
			r.CLI("ACL", "SETUSER", "some", "on", ">pass", "+@all", "~*", "&*")
			list, err := asking(r.Addr(), "some").askRights(t.Context())
			var told []string
			for _, m := range list {
				told = append(told, m.String())
				if !m.unknown {
					t.Errorf("%v is taken for a right", m)
				}
			}
			if text := strings.Join(told, "\n"); err != nil || text != x.lacks {
				t.Errorf("it lacks %q, %v; want %q", text, err, x.lacks)
			}
		})
	}
}

// Who comes to a pod that lacks something is not the one to find that out.
func TestAPodThatLacksACommandIsNeverReady(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t, "--rename-command", "PEXPIRE", "")
	var log logLines
	h := asking(r.Addr(), "")
	h.opts.Redis.Nodes, h.opts.Uplink = redisconn.Open(redisconn.Options{Addresses: []string{r.Addr()}}), redisconn.Of(r.Client())
	h.log = zerolog.New(&log)
	h.presence, h.pods = &failingPresence{}, &failingPods{}
	h.status.update(func(s *status) { s.claimed, s.subscribed, s.proved = true, true, true })
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { h.keepRights(ctx) })
	defer func() { cancel(); running.Wait() }()
	const want = "Redis does not know the command PEXPIRE on push:user:*: ERR unknown command 'PEXPIRE'"
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		list := h.Problems()
		if len(list) != 1 || list[0].Name != "rights" {
			t.Fatalf("problems %v", list)
		}
		if list[0].Reason == want {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("problems %v", list)
		}
	}
	if log.count("Redis does not know the command PEXPIRE") != 1 {
		t.Error(log.String())
	}
}

// TestMisspokenRepliesAreErrors lets a server answer what is none of Redis's.
func TestMisspokenRepliesAreErrors(t *testing.T) {
	for _, reply := range []string{"", "\r\n", "*1\r\n+OK\r\n", ":1\r\n", "$2\r\nOK\r\n", strings.Repeat("+", 10_000), "+OK\r\n+OK\r\n+OK\r\n+OK\r\nnonsense\r\n"} {
		ours, theirs := net.Pipe()
		q := inquiry{conn: ours, replies: bufio.NewReader(ours)}
		go func() {
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			_, _ = io.WriteString(theirs, reply)
			_ = theirs.Close()
		}()
		commands := []presence.Command{{Args: []string{"PING"}}}
		if strings.HasPrefix(reply, "+OK") {
			commands = append(commands, commands[0], commands[0], commands[0], commands[0])
		}
		if taken, err := q.ask(commands...); err == nil {
			t.Errorf("%q is taken for a reply: %v", short(reply), taken)
		}
		_ = ours.Close()
	}
}

func short(s string) string { return s[:min(len(s), 40)] }
