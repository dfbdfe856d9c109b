package producer

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

const (
	uuid1 = "019a0000-0000-7abc-8def-000000000001"
	uuid2 = "019a0000-0000-7abc-8def-000000000002"
	uuid3 = "019a0000-0000-7abc-8def-000000000003"
)

// world is a Redis with alice's three connections on pods a and b, of which a listens.
type world struct {
	*Producer
	server *redistest.Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := redistest.Start(t)
	r := redisconn.Open(redisconn.Options{Addresses: []string{s.Addr()}})
	t.Cleanup(r.Close)
	if err := r.Ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.CLI("HSET", "push:user:{alice}", uuid1, "push:pod:a:1", uuid2, "push:pod:a:1", uuid3, "push:pod:b:1")
	sub := s.Client().Subscribe(t.Context(), "push:pod:a:1", "push:ctl:a:1", "push:all")
	t.Cleanup(func() { sub.Close() })
	for range 3 {
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return &world{&Producer{Redis: r, Keys: presence.NewKeys("push:"), MaxEnvelope: 1 << 20}, s}
}

func parse(t *testing.T, text string) presence.UUID {
	t.Helper()
	u, ok := presence.ParseUUID(text)
	if !ok {
		t.Fatal(text)
	}
	return u
}

// shown is what was sent, without times.
func shown(sent []Sent) string {
	var lines []string
	for _, s := range sent {
		lines = append(lines, fmt.Sprintf("%s %s %d %d", s.Channel, s.Envelope, s.Subscribers, s.Connections))
	}
	return regexp.MustCompile(`"(at|expires)":[0-9]{13}`).ReplaceAllString(strings.Join(lines, "\n"), `"$1":T`)
}

func TestPushGoesWherePresenceSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		m    Message
		want string
	}{
		"a user": {
			Message{User: "alice", Data: `{"a": "é<"}`, Pairs: []string{"id", "i", "ttl", "500", "collapse", "c"}},
			`push:pod:a:1 {"user":"alice","id":"i","at":T,"expires":T,"collapse":"c","data":{"a": "é<"}} 1 2` + "\n" +
				`push:pod:b:1 {"user":"alice","id":"i","at":T,"expires":T,"collapse":"c","data":{"a": "é<"}} 0 1`,
		},
		"nobody":         {Message{User: "bob", Data: "1"}, ""},
		"one connection": {Message{User: "alice", Connections: []presence.UUID{parse(t, uuid2)}, Data: "1"}, `push:pod:a:1 {"to":"` + uuid2 + `","of":"alice","at":T,"data":1} 1 1`},
		"two": {
			Message{User: "alice", Connections: []presence.UUID{parse(t, uuid2), parse(t, uuid1)}, Data: "1"},
			`push:pod:a:1 {"to":["` + uuid1 + `","` + uuid2 + `"],"of":"alice","at":T,"data":1} 1 2`,
		},
		"connections of whomever": {
			Message{Connections: []presence.UUID{parse(t, uuid2), parse(t, uuid1)}, Data: "1"},
			`push:all {"to":["` + uuid2 + `","` + uuid1 + `"],"at":T,"data":1} 1 2`,
		},
		"everybody": {Message{All: true, Data: "1"}, `push:all {"all":true,"at":T,"data":1} 1 0`},
	} {
		sent, err := w.Push(t.Context(), c.m)
		if got := shown(sent); err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
		}
	}
	for _, m := range []Message{
		{Data: "1"}, {User: "alice", All: true, Data: "1"}, {User: "}", Data: "1"}, {User: "bob", Data: "1", Pairs: []string{"ttl", "0"}},
		{All: true, Data: `"` + strings.Repeat("x", 1<<20) + `"`},
	} {
		if sent, err := w.Push(t.Context(), m); err == nil || !IsBadInput(err) || sent != nil {
			t.Errorf("%.60v: %v, %v", m, sent, err)
		}
	}
}

func TestOneConnectionIsKicked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	only := parse(t, uuid1)
	done, err := w.Kick(t.Context(), "alice", Kick{Connection: &only, Reason: "why"})
	want := `push:ctl:a:1 {"to":"` + uuid1 + `","of":"alice","close":{"code":4500,"reason":"kicked: why"}} 1 1`
	if err != nil || done.Closed != 1 || shown(done.Sent) != want {
		t.Errorf("%+v, %v", done, err)
	}
	done, err = w.Kick(t.Context(), "bob", Kick{Connection: &only})
	if err != nil || done.Closed != 0 || done.Sent != nil {
		t.Errorf("somebody else's: %+v, %v", done, err)
	}
	for _, c := range []struct {
		user string
		k    Kick
	}{{"", Kick{}}, {"alice", Kick{Lasts: -1}}, {"alice", Kick{Lasts: 5}}, {"alice", Kick{Reason: "\xff"}}, {"alice", Kick{Reason: strings.Repeat("x", MaxReason+1)}}} {
		if err := c.k.Check(c.user); err == nil || !IsBadInput(err) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestABlockIsSeenAndEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, _, blocked, err := w.Block(t.Context(), "alice"); blocked || err != nil {
		t.Errorf("%v, %v", blocked, err)
	}
	if done, err := w.Kick(t.Context(), "alice", Kick{Lasts: time.Hour, Reason: "spam"}); err != nil || done.Closed != 2 || done.Blocked != 3_600_000 {
		t.Errorf("%+v, %v", done, err)
	}
	if reason, lasts, blocked, err := w.Block(t.Context(), "alice"); reason != "spam" || lasts > time.Hour || lasts < time.Minute || !blocked || err != nil {
		t.Errorf("%q, %v, %v, %v", reason, lasts, blocked, err)
	}
	for _, want := range []bool{true, false} {
		if was, err := w.Unblock(t.Context(), "alice"); was != want || err != nil {
			t.Errorf("%v, %v", was, err)
		}
	}
	w.server.CLI("SET", "push:block:{bob}", "for ever")
	if reason, lasts, blocked, err := w.Block(t.Context(), "bob"); reason != "for ever" || lasts != 0 || !blocked || err != nil {
		t.Errorf("%q, %v, %v, %v", reason, lasts, blocked, err)
	}
}
