package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// startRedis starts a real redis-server, empty, for one test, with the users of
// configs/redis-acl.conf. Its Client and CLI are an administrator's, whom only the
// tests have.
func startRedis(t testing.TB, args ...string) *redistest.Server {
	t.Helper()
	r := redistest.Start(t, append([]string{"--include", usersFile(t)}, args...)...)
	r.Login(admin, passwordOf(admin))
	return r
}

// userKey is the presence hash of a user.
func userKey(user string) string { return "push:user:{" + user + "}" }

// entriesOf returns a user's presence: UUID to channel.
func entriesOf(t testing.TB, r *redis.Client, user string) map[string]string {
	t.Helper()
	entries, err := r.HGetAll(t.Context(), userKey(user)).Result()
	if err != nil {
		t.Fatalf("HGETALL of %q: %v", user, err)
	}
	return entries
}

// wantEntries waits until a user's presence names exactly these clients on
// these pods.
func wantEntries(t testing.TB, r *redis.Client, user string, within time.Duration, want map[string]string) {
	t.Helper()
	eventually(t, fmt.Sprintf("presence of %q is %v", user, want), within, func() (bool, any) {
		got := entriesOf(t, r, user)
		same := len(got) == len(want)
		for uuid, channel := range want {
			same = same && got[uuid] == channel
		}
		return same, got
	})
}

// publish PUBLISHes a message and returns how many subscribers Redis counted.
func publish(t testing.TB, r *redis.Client, channel, message string) int64 {
	t.Helper()
	n, err := r.Publish(t.Context(), channel, message).Result()
	if err != nil {
		t.Fatalf("PUBLISH %s %s: %v", channel, short(message), err)
	}
	return n
}

// to writes an envelope for connections.
func to(data string, clients ...*client) string {
	var uuids []string
	for _, c := range clients {
		uuids = append(uuids, quote(c.uuid))
	}
	return fmt.Sprintf(`{"to":[%s],"data":%s}`, strings.Join(uuids, ","), data)
}

// luaPush pushes by redis-cli --eval scripts/push.lua and returns its count.
func luaPush(t testing.TB, r *redistest.Server, user, data string, pairs ...string) int {
	t.Helper()
	args := append([]string{"--eval", script("push.lua"), userKey(user), ",", data}, pairs...)
	out, err := r.TryCLIAs(producer, passwordOf(producer), args...)
	if err != nil {
		t.Fatalf("push.lua for %q: %v", user, err)
	}
	n, err := strconv.Atoi(out)
	if err != nil {
		t.Fatalf("push.lua for %q answered %q, want a count", user, out)
	}
	return n
}

// shellPush pushes by scripts/push.sh and returns its count.
func shellPush(t testing.TB, r *redistest.Server, user, data string, pairs ...string) int {
	t.Helper()
	out, err := runScript(t, r, "push.sh", append([]string{user, data}, pairs...)...).Output()
	if err != nil {
		t.Fatalf("push.sh for %q: %v %s", user, err, stderrOf(err))
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatalf("push.sh for %q printed %q, want a count", user, out)
	}
	return n
}

// runScript prepares one of the project's shell scripts for r, as a producer.
func runScript(t testing.TB, r *redistest.Server, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, script(name), args...)
	cmd.Env = cleanEnv("REDIS_HOST=127.0.0.1", fmt.Sprintf("REDIS_PORT=%d", r.Port()), "REDIS_ARGS=--user "+producer, "REDISCLI_AUTH="+passwordOf(producer))
	return cmd
}

func stderrOf(err error) string {
	if exit, ok := err.(*exec.ExitError); ok {
		return string(exit.Stderr)
	}
	return ""
}

// cliEnv lets the program's commands find r, as a producer.
func cliEnv(r *redistest.Server) []string { return envOf(r, producer) }

// envOf lets the program's commands find r as one of its users.
func envOf(r *redistest.Server, user string) []string {
	return []string{"PUSHPOD_REDIS_ADDRESSES=" + r.Addr(), "PUSHPOD_REDIS_USERNAME=" + user, "PUSHPOD_REDIS_PASSWORD=" + passwordOf(user)}
}
