package presence

import (
	"testing"
	"time"
)

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
