package cli

import (
	"strings"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

func TestKickClosesOnEveryPod(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	connect(t, c, "alice", uuid1, "push:pod:a:1")
	plain, nothingPlain := subscribe(t, c, "push:pod:a:1")

	run(t, at(s), "kick", "bob").want(t, "nobody", 0, "0 connections closed\n", "")
	nothingPlain("to bob")
	run(t, at(s), "kick", "alice").want(t, "one connection", 0, "1 connection closed\n", "")
	if got, want := plain(), `{"user":"alice","close":{"code":4500,"reason":"kicked"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	run(t, at(s), "kick", "alice", "--reason", `say "no"`, "--json").want(t, "as JSON", 0, "{\"closed\":1}\n", "")
	if got, want := plain(), `{"user":"alice","close":{"code":4500,"reason":"kicked: say \"no\""}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if n := c.Exists(t.Context(), "push:block:{alice}").Val(); n != 0 {
		t.Error("a kick without --for blocks")
	}

	connect(t, c, "alice", uuid2, "push:pod:dead")
	run(t, at(s), "kick", "alice").want(t, "one of two pods is subscribed", 0, "1 connection closed\n", "")
	plain()
	run(t, at(s), "kick", "alice", "--redis.control=on").want(t, "nobody on a control channel", 0, "0 connections closed\n", "")
	nothingPlain("with redis.control")

	connect(t, c, "alice", uuid2, "push:pod:b:1")
	control, _ := subscribe(t, c, "push:ctl:b:1")
	run(t, at(s), "kick", "alice").want(t, "each where it obeys", 0, "2 connections closed\n", "")
	plain()
	control()
	run(t, at(s), "kick", "alice", "--redis.control=on").want(t, "on control channels only", 0, "1 connection closed\n", "")
	control()
	nothingPlain("with redis.control")
}

func TestKickBlocksFirst(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	run(t, at(s), "kick", "alice", "--for", "1h", "--reason", "spam").want(t, "text", 0, "0 connections closed, user blocked for 1h0m0s\n", "")
	if got := c.Get(t.Context(), "push:block:{alice}").Val(); got != "spam" {
		t.Errorf("the reason is %q", got)
	}
	if ttl := c.TTL(t.Context(), "push:block:{alice}").Val(); ttl <= 59*time.Minute || ttl > time.Hour {
		t.Errorf("it lasts %v", ttl)
	}
	run(t, at(s), "kick", "alice", "--for", "2s", "--json").want(t, "JSON", 0, "{\"closed\":0,\"blocked_ms\":2000}\n", "")
	if got := c.Get(t.Context(), "push:block:{alice}").Val(); got != "" {
		t.Errorf("the reason is %q", got)
	}

	// Who may not block closes nothing either.
	connect(t, c, "alice", uuid1, "push:pod:a:1")
	_, nothing := subscribe(t, c, "push:pod:a:1")
	s.CLI("ACL", "SETUSER", "kicker", "on", ">secret", "~push:user:*", "&push:*", "+@all")
	kicker := append(at(s), "PUSHPOD_REDIS_USERNAME=kicker", "PUSHPOD_REDIS_PASSWORD=secret")
	run(t, kicker, "kick", "alice", "--for", "1h").want(t, "no right", 1, "", "nothing was done")
	nothing("without the right to block")
}

func TestKickRefusesBadInputWith2(t *testing.T) {
	environ := []string{"PUSHPOD_REDIS_ADDRESSES=127.0.0.1:1"} // nobody is asked
	for _, c := range []struct {
		stderr string
		args   []string
	}{
		{"USER is missing", nil},
		{"unexpected argument", []string{"alice", "bob"}},
		{"no control characters", []string{"alice\n"}},
		{"--for is 0s", []string{"alice", "--for", "0s"}},
		{"--for is -1h0m0s", []string{"alice", "--for", "-1h"}},
		{"--for is 1µs", []string{"alice", "--for", "1us"}},
		{"invalid argument", []string{"alice", "--for", "soon"}},
		{"at most 100 bytes", []string{"alice", "--reason", strings.Repeat("x", 101)}},
		{"must be UTF-8", []string{"alice", "--reason", "\xff"}},
	} {
		run(t, environ, append([]string{"kick"}, c.args...)...).want(t, c.stderr, 2, "", c.stderr)
	}
	run(t, environ, "kick", "alice").want(t, "no Redis", 1, "", "kick: ")
}
