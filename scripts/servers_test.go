package scripts

import (
	"context"
	"fmt"
	"hash/crc32"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// A server is one of the Redis servers that push.lua must run on.
type server struct {
	name   string
	addr   string
	client *redis.Client
}

// servers starts a redis-server and a miniredis.
func servers(t *testing.T) []server {
	t.Helper()
	real := redistest.Start(t)
	mini := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: mini.Addr(), Protocol: 2, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	return []server{
		{name: "redis", addr: real.Addr(), client: real.Client()},
		{name: "miniredis", addr: mini.Addr(), client: client},
	}
}

// A way is one of the ways to call push.lua. It returns the count, or the
// error reply.
type way struct {
	name string
	push func(key string, args ...string) (int64, error)
}

// ways returns those that work on the server, beside push.sh.
func (s server) ways(t *testing.T) []way {
	t.Helper()
	ctx := t.Context()
	script := redis.NewScript(Push())
	eval := way{"EVAL", func(key string, args ...string) (int64, error) {
		return script.Run(ctx, s.client, []string{key}, toAny(args)...).Int64()
	}}
	if s.name != "redis" {
		return []way{eval}
	}
	if _, _, err := LoadFunctions(ctx, s.client); err != nil {
		t.Fatal(err)
	}
	return []way{eval, {"FCALL", func(key string, args ...string) (int64, error) {
		return s.client.FCall(ctx, "pushpod_push", []string{key}, toAny(args)...).Int64()
	}}}
}

func toAny(list []string) []any {
	values := make([]any, len(list))
	for i, v := range list {
		values[i] = v
	}
	return values
}

// connect writes presence entries as a pod would: n connections of the user on
// the channel. It returns their UUIDs.
func (s server) connect(t *testing.T, user, channel string, n int) []string {
	t.Helper()
	values := make(map[string]string)
	var uuids []string
	for i := range n {
		uuid := fmt.Sprintf("018f4c7e-%04x-7abc-8def-0000%08x", i, crc32.ChecksumIEEE([]byte(channel)))
		uuids = append(uuids, uuid)
		values[uuid] = channel
	}
	if err := s.client.HSet(t.Context(), key(user), values).Err(); err != nil {
		t.Fatal(err)
	}
	return uuids
}

func key(user string) string { return "push:user:{" + user + "}" }

// A listener is a subscriber to some channels.
type listener struct {
	t      *testing.T
	server server
	sub    *redis.PubSub
	marks  int
}

func (s server) listen(t *testing.T, channels ...string) *listener {
	t.Helper()
	sub := s.client.Subscribe(t.Context(), channels...)
	t.Cleanup(func() { _ = sub.Close() })
	for range channels {
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return &listener{t: t, server: s, sub: sub}
}

// next returns the next message as `channel payload`.
func (l *listener) next() string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Second)
	defer cancel()
	m, err := l.sub.ReceiveMessage(ctx)
	if err != nil {
		l.t.Fatalf("no message: %v", err)
	}
	return m.Channel + " " + m.Payload
}

// wantNothing fails where anything was published before the call: what comes
// next must be the mark that it publishes itself.
func (l *listener) wantNothing(why string, channel string) {
	l.t.Helper()
	l.marks++
	mark := "mark " + strconv.Itoa(l.marks)
	if err := l.server.client.Publish(l.t.Context(), channel, mark).Err(); err != nil {
		l.t.Fatal(err)
	}
	if got := l.next(); got != channel+" "+mark {
		l.t.Errorf("%s: published %s", why, got)
	}
}

// timeless replaces the times in an envelope, which must be there, by AT and
// by how long after it the envelope expires.
func timeless(t *testing.T, envelope string) string {
	t.Helper()
	at := regexp.MustCompile(`,"at":([0-9]{13})`).FindStringSubmatch(envelope)
	if at == nil {
		t.Fatalf("no time in %s", envelope)
	}
	then, _ := strconv.ParseInt(at[1], 10, 64)
	if off := time.Since(time.UnixMilli(then)).Abs(); off > time.Minute {
		t.Errorf("at is %v off in %s", off, envelope)
	}
	envelope = strings.Replace(envelope, at[0], `,"at":AT`, 1)
	expires := regexp.MustCompile(`,"expires":([0-9]+)`).FindStringSubmatch(envelope)
	if expires == nil {
		return envelope
	}
	end, _ := strconv.ParseInt(expires[1], 10, 64)
	return strings.Replace(envelope, expires[0], fmt.Sprintf(`,"expires":AT+%d`, end-then), 1)
}
