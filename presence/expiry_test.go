package presence

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"

	"pushpod/redisconn"
)

func TestHowEntriesExpireIsFoundOutByTrying(t *testing.T) {
	m := miniredis.RunT(t)
	var answer atomic.Pointer[string]
	m.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		text := answer.Load()
		if cmd != "HEXPIRE" || text == nil || *text == "" {
			return false
		}
		c.WriteError(*text)
		return true
	})
	c := redisconn.NewClient(redisconn.Options{Addresses: []string{m.Addr()}, NoRetry: true})
	t.Cleanup(func() { _ = c.Close() })
	for text, want := range map[string]int32{
		"":                                expiryFields,
		"ERR unknown command 'HEXPIRE'":   expiryKey,
		"ERR anything else":               expiryKey,
		"NOPERM no HEXPIRE for you":       expiryKey,
		"NOAUTH Authentication required.": expiryKey,
		"OOM command not allowed":         expiryFields, // it is known
		"READONLY You can't write":        expiryFields,
	} {
		answer.Store(&text)
		n := NewStore(Options{Redis: redisconn.Of(c), Keys: NewKeys("push:"), Pod: "a:1"}).routes.single
		if err := n.probeExpiry(t.Context()); err != nil || n.expiry.mode != want || n.expiry.dials != n.server.Dials() {
			t.Errorf("%q: mode %d, want %d; %v", text, n.expiry.mode, want, err)
		}
	}
	n := NewStore(Options{Redis: redisconn.Of(c), Keys: NewKeys("push:"), Pod: "a:1"}).routes.single
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.probeExpiry(ctx); err == nil || n.expiry.mode != expiryUnknown {
		t.Errorf("without an answer: mode %d, %v", n.expiry.mode, err)
	}
}

// A server that is upgraded goes on expiring whole hashes with the new entries in them.
func TestEntriesAreWrittenAnewAfterAnUpgrade(t *testing.T) {
	const ttl = time.Hour
	n := testNode(t, Options{TTL: ttl})
	n.epoch = n.epoch.Add(-time.Minute)
	x := &n.expiry
	set := func(modes ...int32) {
		x.inherited, x.rewrite = 0, 0
		for _, mode := range modes {
			n.setExpiry(mode)
			if x.mode != mode || n.count.perField.Load() != (mode == expiryFields) && mode != expiryUnknown {
				t.Errorf("mode %d, fields: %v; want mode %d", x.mode, n.count.perField.Load(), mode)
			}
		}
	}
	want := func(what string, inherited, rewrite bool) {
		t.Helper()
		for name, c := range map[string]struct {
			at   time.Duration
			want bool
		}{"hashes are looked after": {x.inherited, inherited}, "renewals write": {x.rewrite, rewrite}} {
			if got := c.at > ttl; got != c.want || c.at > n.now()+ttl {
				t.Errorf("%s: %s until %v, want so: %v", what, name, c.at, c.want)
			}
		}
	}
	set(expiryKey)
	want("at the start", true, false)
	set(expiryUnknown, expiryKey, expiryKey)
	want("another connection", false, false)
	set(expiryUnknown, expiryFields)
	want("an upgrade", true, true)
	set(expiryUnknown, expiryUnknown, expiryFields)
	want("another connection", false, false)
	set(expiryKey)
	want("the command is gone", true, false)
	set(expiryFields)
	want("and back", true, true)
}
