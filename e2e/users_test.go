package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// hostileUsers are ids that break out of whatever is not quoted well, or that differ in
// the least.
func hostileUsers() []string {
	return []string{
		"with space", "  two leading, two trailing  ", `"double" and 'single'`, "`backticks`", "$(id) $HOME ${x}",
		"a:b:c", "{", "a{b", "a}b", "{alice}", "a}:{b", "*", "?[a-z]*", "..", "../../etc/passwd", "/", `\`, `\\n\t`, `\u0041`,
		"-", "--help", "-x", "%41", "%", "a+b", "a&user=b", "a#b", "a=b", "a;b", "a,b", "a|b", "a<b>c", "</script>",
		"null", "true", "0", "1e3", "[]", "push:all", "push:pods", "KEYS[1]", "'; redis.call('FLUSHALL') --",
		"é", "😀👩‍👩‍👧", "日本語", "\u202eright to left", "\u00a0", "\ufeff", "e\u0301", "\U0010ffff",
		"alice", "Alice", "alice ", " alice", "alic\u0435", "ali\u0301ce", "alíce", "alice}", "{alice", "alice\u200b",
		strings.Repeat("x", 256), strings.Repeat("😀", 64), strings.Repeat("{", 256), strings.Repeat(`"`, 256),
	}
}

// Each hostile id works from the handshake to the push, and reaches that user only.
// scripts and cli have the other ways to push.
func TestHostileUsers(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := asProducer(r)
	p := startPod(t, r, patient())
	users := hostileUsers()
	var clients []*client
	for _, user := range users {
		clients = append(clients, dial(t, p, user))
	}
	written := 0
	for i, user := range users {
		c := clients[i]
		if got := entriesOf(t, db, user); len(got) != 1 || got[c.uuid] != p.channel {
			t.Errorf("presence of %q: %v, want %s on %s", user, got, c.uuid, p.channel)
		}
		want := func(way, data string) {
			t.Helper()
			c.wantMessage(fmt.Sprintf("%s for %q", way, user), data)
			written++
		}
		publish(t, db, p.channel, fmt.Sprintf(`{"user":%s,"data":"PUBLISH"}`, quote(user)))
		want("PUBLISH", `"PUBLISH"`)
		if n := luaPush(t, r, user, `"lua"`); n != 1 {
			t.Errorf("push.lua for %q returned %d, want 1", user, n)
		}
		want("push.lua", `"lua"`)
		c.request("a request", "x", `1`)
	}
	for i, m := range uplink(t, r) {
		if m.Values["user"] != users[i] {
			t.Errorf("entry %d of push:uplink is of user %q, want %q", i, m.Values["user"], users[i])
		}
	}
	for i, c := range clients {
		c.wantNothing(fmt.Sprintf("somebody else's push to %q", users[i]), time.Millisecond)
	}

	all, err := p.scrape()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if strings.Contains(s.labels, "alice") || strings.Contains(s.labels, "😀") || strings.Contains(s.labels, "etc/passwd") {
			t.Errorf("metric %s has a user in its labels: %s", s.name, s.labels)
		}
	}
	if n := len(strings.Split(r.CLI("KEYS", "*"), "\n")); n != len(users)+3 {
		t.Errorf("%d keys in Redis, want one for each of %d users, push:pods, push:pods:info and push:uplink", n, len(users))
	}
	for _, c := range clients {
		c.leave()
	}
	for _, user := range users {
		wantEntries(t, db, user, settle, nil)
	}
	wantBooks(t, p, books{published: written, written: written})
}
