package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// wantRefused checks that Redis refuses a user a command for want of a right.
func wantRefused(t *testing.T, r *redistest.Server, user string, args ...string) {
	t.Helper()
	out, err := r.TryCLIAs(user, passwordOf(user), args...)
	// Redis 7.0 says it in other words where a script asks.
	if err == nil || !strings.Contains(out, "NOPERM") && !strings.Contains(out, "ACL failure in script") && !strings.Contains(out, "The user executing the script can't") {
		t.Errorf("%s: %q is answered %q, want NOPERM", user, args, out)
	}
}

// The other tests show what each user may do: they are these users.
func TestUsersOfRedisMayDoNoMoreThanTheyNeed(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick())
	c := dial(t, p, "alice")
	c.request("for the backend", "r", `1`)
	mustRun(t, envOf(r, operator), "functions", "load")
	if out, err := r.TryCLIAs("", "", "PING"); err == nil || !strings.Contains(out, "NOAUTH") {
		t.Errorf("who does not log in is answered %q", out)
	}

	alice := userKey("alice")
	dangerous := [][]string{
		{"FLUSHALL"}, {"FLUSHDB"}, {"CONFIG", "GET", "*"}, {"CONFIG", "SET", "maxmemory", "1"}, {"ACL", "LIST"}, {"ACL", "SETUSER", "x"}, {"SHUTDOWN"},
		{"KEYS", "*"}, {"SCAN", "0"}, {"MONITOR"}, {"CLIENT", "KILL", "TYPE", "normal"}, {"CLIENT", "LIST"}, {"REPLICAOF", "NO", "ONE"}, {"SAVE"}, {"MODULE", "LIST"},
		{"FUNCTION", "DELETE", "pushpod"}, {"FUNCTION", "FLUSH"}, {"SCRIPT", "FLUSH"}, {"SUBSCRIBE", "other"}, {"PSUBSCRIBE", "*"}, {"PUBLISH", "other", "x"},
		{"GET", "other"}, {"SET", "other", "x"}, {"DEL", alice}, {"RENAME", alice, "push:x"}, {"EXPIRE", alice, "0"},
		{"EVAL", "return redis.call('FLUSHALL')", "0"}, {"EVAL", "return redis.call('DEL', KEYS[1])", "1", alice},
	}
	presence := [][]string{
		{"HSET", alice, c.uuid, "push:pod:elsewhere:1"}, {"HDEL", alice, c.uuid}, {"PEXPIRE", alice, "1"}, {"PERSIST", alice},
		{"ZADD", "push:pods", "1", p.channel}, {"ZREM", "push:pods", p.channel}, {"HSET", "push:pods:info", p.channel, "x"}, {"HDEL", "push:pods:info", p.channel},
		{"XADD", "push:uplink", "*", "user", "mallory"}, {"XTRIM", "push:uplink", "MAXLEN", "0"}, {"XDEL", "push:uplink", "1-1"},
		{"EVAL", "return redis.call('HSET', KEYS[1], 'x', 'y')", "1", alice}, {"EVAL", "return redis.call('HDEL', KEYS[1], ARGV[1])", "1", alice, c.uuid},
	}
	close := [][]string{
		{"PUBLISH", "push:ctl:" + p.listen, `{"all":true,"close":{"code":4500}}`}, {"PUBLISH", "push:ctl:all", "{}"},
		{"EVAL", "return redis.call('PUBLISH', ARGV[1], '{}')", "0", "push:ctl:all"}, {"SET", "push:block:{alice}", "x"}, {"SET", "push:revoked:{x}", "x"},
		{"SET", "push:valid-after", "1"}, {"DEL", "push:block:{alice}"}, {"SET", "push:used:{x}", "x"},
	}
	eavesdrop := [][]string{
		{"SUBSCRIBE", p.channel}, {"SUBSCRIBE", "push:all"}, {"PSUBSCRIBE", "push:*"}, {"ZRANGE", "push:pods", "0", "-1"}, {"HGETALL", "push:pods:info"},
		{"XRANGE", "push:uplink", "-", "+"}, {"XREAD", "STREAMS", "push:uplink", "0"}, {"FUNCTION", "LOAD", "x"}, {"FUNCTION", "LIST"},
	}
	for user, list := range map[string][][][]string{
		producer: {dangerous, presence, close, eavesdrop},
		backend:  {dangerous, presence, close, {{"PUBLISH", p.channel, "{}"}, {"HGETALL", alice}, {"EVAL", "return 1", "0"}, {"FCALL", "pushpod_version", "0"}}},
		operator: {dangerous, presence, {{"SUBSCRIBE", p.channel}, {"PSUBSCRIBE", "push:*"}, {"SET", "push:used:{x}", "x"}}},
		podUser: {{
			{"FLUSHALL"}, {"CONFIG", "GET", "*"}, {"ACL", "LIST"}, {"SHUTDOWN"}, {"KEYS", "*"}, {"PSUBSCRIBE", "*"}, {"SUBSCRIBE", "other"}, {"PUBLISH", "other", "x"},
			{"HSET", "other", "a", "b"}, {"HGETALL", "user:{alice}"}, {"EVAL", "return 1", "0"}, {"FCALL", "pushpod_version", "0"}, {"FUNCTION", "LIST"}, {"DEL", "push:pods"},
			{"XRANGE", "push:uplink", "-", "+"}, {"SCRIPT", "FLUSH"}, {"CLIENT", "LIST"}, {"MONITOR"},
		}},
	} {
		for _, commands := range list {
			for _, args := range commands {
				wantRefused(t, r, user, args...)
			}
		}
	}
	wantEntries(t, asProducer(r), "alice", settle, map[string]string{c.uuid: p.channel})
	c.check("alice is undisturbed")

	// Rights that a program adds for itself do not open presence.
	r.CLI("ACL", "SETUSER", producer, "~app:*", "+@all", "-@admin")
	producerCLI(t, r, "SET", "app:x", "1")
	for _, args := range [][]string{presence[0], presence[1], presence[4], presence[11], close[0], close[3], {"DEL", alice}} {
		wantRefused(t, r, producer, args...)
	}
}

// TestMissingRightsAreNamed takes one right after the other from pods.
func TestMissingRightsAreNamed(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick())
	c := dial(t, p, "alice")
	perField := true
	if out, err := r.TryCLI("HEXPIRE", "push:x", "1", "FIELDS", "1", "-"); err != nil && strings.Contains(out, "unknown command") {
		perField = false
	}
	for _, right := range []struct {
		without []string // rules of an ACL that take it away
		says    string   // what the pod lacks
	}{
		{[]string{"-hset"}, "HSET on push:user:*, push:pods:info"},
		{[]string{"-hdel"}, "HDEL on push:user:*, push:pods:info"},
		{[]string{"-hgetall"}, "HGETALL on push:user:*, push:pods:info"},
		{[]string{"-hget"}, "HGET on push:user:*, push:pods:info"},
		{[]string{"-get"}, "GET on push:block:*, push:revoked:*, push:valid-after:*, push:valid-after, push:used:*"},
		{[]string{"-exists"}, "EXISTS on push:block:*, push:revoked:*, push:valid-after:*"},
		{[]string{"clearselectors"}, "SET on push:used:*"},
		{[]string{"-hlen"}, "HLEN on push:user:*"},
		{[]string{"-hexpire"}, "HEXPIRE on push:user:*, push:pods:info"},
		{[]string{"-pexpire"}, "PEXPIRE on push:user:*"},
		{[]string{"-pttl"}, "PTTL on push:user:*"},
		{[]string{"-persist"}, "PERSIST on push:user:*"},
		{[]string{"-zadd"}, "ZADD on push:pods"},
		{[]string{"-zrem"}, "ZREM on push:pods"},
		{[]string{"-zrange"}, "ZRANGE on push:pods"},
		{[]string{"-zscore"}, "ZSCORE on push:pods"},
		{[]string{"-xadd"}, "XADD on push:uplink"},
		{[]string{"-publish"}, "PUBLISH on " + p.channel + ", push:pod:*"},
		{[]string{"-subscribe"}, "SUBSCRIBE on " + p.channel + ", push:all"},
		{[]string{"-time"}, "TIME"},
		{[]string{"-multi"}, "MULTI"},
		{[]string{"-exec"}, "EXEC"},
		{[]string{"-watch"}, "WATCH on push:pods"},
		{[]string{"-unwatch"}, "UNWATCH"},
		{[]string{"resetkeys", "~push:user:*", "~push:pods", "~push:pods:info"}, "XADD on push:uplink"},
		{[]string{"resetkeys", "~push:pods", "~push:pods:info", "~push:uplink"}, "HSET on push:user:*"},
		{[]string{"resetkeys", "~push:user:*", "~push:pods", "~push:uplink"}, "HSET on push:pods:info"},
		{[]string{"resetkeys", "~push:user:*", "~push:pods:info", "~push:uplink"}, "ZADD on push:pods"},
		{[]string{"resetkeys", "%R~push:*"}, "ZADD on push:pods"},
		{[]string{"resetchannels", "&push:pod:*"}, "SUBSCRIBE on push:all"},
		{[]string{"resetchannels", "&push:all", "&" + p.channel}, "PUBLISH on push:pod:*"},
		{[]string{"resetchannels", "&push:all"}, "SUBSCRIBE on " + p.channel},
	} {
		if right.without[0] == "-hexpire" && !perField {
			continue
		}
		with := aclOf(t, r, podUser)
		r.CLI(append([]string{"ACL", "SETUSER", podUser}, right.without...)...)
		want := "the Redis user pod has no right to " + right.says + ": NOPERM"
		eventually(t, fmt.Sprintf("%q: /readyz names what is missing", right.without), 30*time.Second, func() (bool, any) {
			status, body := p.readyz()
			return status == http.StatusServiceUnavailable && strings.Contains(body, want), fmt.Sprint(status, " ", body)
		})
		command, _, _ := strings.Cut(right.says, " ")
		eventually(t, "the log has it too", settle, func() (bool, any) {
			return strings.Contains(p.stderr.String(), `"command":"`+command+`"`), tail(p.stderr.String())
		})
		wantLine(t, "the log names it", p.stderr.String(), `"level":"error"`, `"command":"`+command+`"`, "NOPERM", "the Redis user pod has no right to "+command)
		r.CLI(append([]string{"ACL", "SETUSER", podUser}, with...)...)
		p.waitReady()
	}
	c.check("alice has stayed")
	wantLine(t, "in the end", p.stderr.String(), "has all rights that it needs")
}

// aclOf returns the rules of a user as ACL SETUSER takes them to bring it back.
func aclOf(t *testing.T, r *redistest.Server, user string) []string {
	t.Helper()
	for line := range strings.Lines(r.CLI("ACL", "LIST")) {
		if rules, is := strings.CutPrefix(strings.TrimSpace(line), "user "+user+" "); is {
			return append([]string{"reset"}, strings.Fields(rules)...)
		}
	}
	t.Fatalf("no user %s", user)
	return nil
}

func TestPodWithoutRightsSaysSoFromTheStart(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	r.CLI("ACL", "SETUSER", "nobody", "on", ">pass", "-@all")
	p := launchPod(t, r, quick().with("redis.username", "nobody", "redis.password", "pass"))
	eventually(t, "it names what is missing", 30*time.Second, func() (bool, any) {
		status, body := p.readyz()
		return status == http.StatusServiceUnavailable && strings.Contains(body, "the Redis user nobody has no right to MULTI: NOPERM"), body
	})
	if p.hasEnded() {
		t.Error("it ended")
	}
	r.CLI("ACL", "SETUSER", "nobody", "+@all", "~*", "&*")
	p.waitReady()
}
