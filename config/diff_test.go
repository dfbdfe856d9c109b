package config

import (
	"slices"
	"strings"
	"testing"
)

// TestEveryKeyChangesAtAReloadOrIsNamed walks through all keys: another value is taken over,
// or the key is named, and the old one holds.
func TestEveryKeyChangesAtAReloadOrIsNamed(t *testing.T) {
	for _, k := range keys() {
		before, after := Default(), Default()
		if err := k.set(&after, anotherValue(k)); err != nil {
			t.Fatal(err)
		}
		if k.same(&before, &after) { // its other value is the default
			if err := k.set(&after, map[string]string{
				"listen": "127.0.0.1:1", "admin.listen": "127.0.0.1:2", "redis.embedded_listen": "127.0.0.1:3",
				"auth.mode": "jwt", "auth.require_exp": "off", "redis.pubsub": "sharded", "conn.slow_consumer": "drop_oldest", "conn.io_uring": "off",
				"limits.on_excess": "close_oldest", "log.level": "debug", "log.format": "json", "shutdown.delay": "1s",
				"redis.max_envelope": "2KiB", "conn.max_message": "2KiB", "conn.queue_bytes": "2KiB", "conn.max_header": "2KiB", "uplink.max_bytes": "2MiB",
				"presence.renew": "29s",
			}[k.path]); err != nil {
				t.Fatalf("%s: another value is missing here: %v", k.path, err)
			}
		}
		changes := Diff(before, after)
		if len(changes) != 1 || changes[0].Key != k.path || changes[0].Restart != k.restart() {
			t.Errorf("%s: the difference is %v", k.path, changes)
			continue
		}
		if c := changes[0]; c.From == c.To {
			t.Errorf("%s: nobody sees what has changed: %v", k.path, c)
		} else if k.secret && (strings.Contains(c.String(), "other ") || strings.Contains(c.String(), "hook.internal")) {
			t.Errorf("%s: a secret is shown: %v", k.path, c)
		}
		now, _, err := (Loaded{config: after, given: map[string]given{}}).Over(before)
		if err != nil {
			now = after // it needs others beside it: that is the rules' test
			if k.restart() {
				t.Errorf("%s: nothing changes, and it is rejected: %v", k.path, err)
			}
		}
		if kept := k.same(&now, &before); kept != k.restart() {
			t.Errorf("%s: the old value holds: %v, and it needs a restart: %v", k.path, kept, k.restart())
		}
	}
}

func TestReferenceSaysWhatAReloadDoesWithEachKey(t *testing.T) {
	text := Reference()
	for _, k := range keys() {
		want := "# Reload: needs a restart\n"
		if !k.restart() {
			want = "# Reload: for " + k.reload + "\n"
		}
		_, after, found := strings.Cut(text, "# Environment: "+k.variable()+"\n")
		if !found || !strings.HasPrefix(strings.TrimLeft(after, " "), want) {
			t.Errorf("%s: not %q", k.path, want)
		}
	}
}

func TestSettingsTellWhatDiffersFromTheDefaults(t *testing.T) {
	c, err := Load(LoadOptions{File: write(t, "conn: {ping: 20s, max_age: 1h}\nauth: {hmac_secret: '"+strings.Repeat("s", 32)+"'}\n")})
	if err != nil {
		t.Fatal(err)
	}
	var differ []string
	for _, s := range c.Settings() {
		if !s.Default {
			differ = append(differ, s.Key+"="+s.Value+", not "+s.Preset)
		}
	}
	if want := []string{"auth.hmac_secret=(hidden), not none", "conn.ping=20s, not 25s", "conn.max_age=1h, not off"}; !slices.Equal(differ, want) {
		t.Errorf("%q, want %q", differ, want)
	}
	if all := c.Settings(); len(all) != len(keys()) {
		t.Errorf("%d of %d keys", len(all), len(keys()))
	}
}
