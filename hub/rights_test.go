package hub

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

// asking is a hub that can ask a server for the rights of a user.
func asking(addr, user string) *Hub {
	return New(Options{
		Pod:   "pod:1",
		Keys:  presence.NewKeys("push:"),
		Redis: Redis{Nodes: redisconn.Open(redisconn.Options{Addresses: []string{addr}, Username: user, Password: "pass"}), Username: user, Timeout: 5 * time.Second, Probe: time.Second, Rights: time.Second},
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
