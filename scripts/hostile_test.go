package scripts

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// hostileUsers are ids that are allowed, and that a careless script would
// split, expand, run, or take for an option or the end of a key.
func hostileUsers() []string {
	return []string{
		"a", "alice@example.com", "user:1", "a b", " a ", "  ", "a:b:c", ".", "..", "../../etc/passwd", "/", "*", "?", "[a-z]*", "~", "~root", "!", "!!",
		"-", "--", "-h", "--help", "-x", "--eval", "-n 5", "-u redis://x", ",", ", ,", "a , b",
		`"`, `""`, `a"b`, `'`, `''`, `a'b`, `'; touch pwned; '`, `"; touch pwned; "`, "`touch pwned`", "$(touch pwned)", "${HOME}", "$HOME", "$1", "$@", "$$",
		`\`, `\\`, `a\`, `\"`, `\n`, `\x00`, `\u0022`, `%s%n%d`, "%1", "%z", "%", "&", "&&", "|", ";", "#", "# a", "<", ">", "> pwned", "(", ")", "=", "IFS= ",
		"{", "{}", "a}", "a}b", "a{b", "{a", "a}{b", "{{}}", "{alice}", "a}:push:user:{b", "alice} x", `a"},"all":true,"x":{"`,
		`a","all":true,"user":"b`, "push:user:{alice}", "\u00e9", "e\u0301", "日本語", "😀", "👩‍👩‍👧", "\u202e", "\u200b", "\u2028", "\ufeff", "\ufffd", "\U0010ffff", "\u00a0",
		"EVAL", "KEYS[1]", "]] .. redis.call('FLUSHALL') .. [[", "--[[", "a\u0300",
		strings.Repeat("x", 256), strings.Repeat("é", 128), strings.Repeat("😀", 64), strings.Repeat(`"`, 256), strings.Repeat(`\`, 256),
	}
}

// refusedUsers are ids that no key may hold.
func refusedUsers() []string {
	return []string{
		"", "}", "}a", "}{", "a\nb", "\n", "a\n", "a\rb", "a\tb", "\x01", "\x1b[31m", "\x1f", "\x7f", "\u0080", "a\u009f", "\xff", "a\xc0\xaf", "\xed\xa0\x80",
		"\xf5\x80\x80\x80", "a\xe2\x82", strings.Repeat("x", 257), strings.Repeat("é", 128) + "x",
	}
}

// TestHostileUsersAreJustNames pushes to each of them, while a neighbour with
// a connection on the same channel must see nothing of it.
func TestHostileUsersAreJustNames(t *testing.T) {
	for _, s := range servers(t) {
		ways := s.ways(t)
		if s.name == "redis" {
			ways = append(ways, s.shell(t, t.TempDir()))
		}
		for _, w := range ways {
			t.Run(s.name+"/"+w.name, func(t *testing.T) {
				l := s.listen(t, "push:pod:a", "push:all")
				for _, user := range hostileUsers() {
					if err := s.client.FlushAll(t.Context()).Err(); err != nil {
						t.Fatal(err)
					}
					uuid := s.connect(t, user, "push:pod:a", 1)[0]
					n, err := w.push(key(user), `{"t":"`+"é'$(x)"+`"}`, "id", user, "collapse", user)
					if err != nil || n != 1 {
						t.Errorf("%q: pushed to %d: %v", user, n, err)
						continue
					}
					channel, text, _ := strings.Cut(l.next(), " ")
					name := jsonString(t, user)
					want := fmt.Sprintf(`{"to":"%s","of":%s,"id":%s,"at":AT,"collapse":%s,"data":{"t":"é'$(x)"}}`, uuid, name, name, name)
					if got := timeless(t, text); channel != "push:pod:a" || got != want {
						t.Errorf("%q: %s %s\nwant %s", user, channel, got, want)
					}
				}
				for _, user := range refusedUsers() { // of whom no pod has an entry
					if n, err := w.push(key(user), "1"); err == nil || !strings.Contains(err.Error(), "pushpod: the user id ") {
						t.Errorf("%q: pushed to %d: %v", user, n, err)
					}
					l.wantNothing(fmt.Sprintf("%q", user), "push:pod:a")
				}
			})
		}
	}
}

// jsonString writes s with nothing escaped but what JSON demands.
func jsonString(t *testing.T, s string) string {
	t.Helper()
	text := `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(s) + `"`
	var back string
	if err := json.Unmarshal([]byte(text), &back); err != nil || back != s {
		t.Fatalf("%q is not %q: %v", text, s, err)
	}
	return text
}
