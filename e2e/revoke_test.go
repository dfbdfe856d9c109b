package e2e

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// noticed is within what time a pod of quick notices what speaks against a connection:
// presence.renew.
const noticed = time.Second + slack

func status(t testing.TB, p *pod, target string, lines ...string) int {
	t.Helper()
	a := exchange(t, p.listen, upgradeRequest(target, lines...))
	if a.err != nil {
		t.Fatalf("%s: %v", target, a.err)
	}
	return a.status
}

func plainGET(t testing.TB, p *pod, target string, lines ...string) int {
	t.Helper()
	a := exchange(t, p.listen, request("GET "+target+" HTTP/1.1", append([]string{"Host: " + p.listen}, lines...)...))
	if a.err != nil {
		t.Fatalf("GET %s: %v", target, a.err)
	}
	return a.status
}

// hub and presence have the cases.
func TestBlocks(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	pods := []*pod{startPod(t, r, quick()), startPod(t, r, quick())}
	var alices []*client
	for _, p := range pods {
		alices = append(alices, dial(t, p, "alice"))
	}
	b := dial(t, pods[0], "bob")
	r.CLI("SET", "push:block:{alice}", "spam", "PX", "4000")
	for _, a := range alices {
		if _, f := a.wantClosed("blocked", 4500, noticed); f.reason != "blocked: spam" {
			t.Errorf("the reason is %q", f.reason)
		}
	}
	for _, p := range pods {
		for what, got := range map[string]int{"handshake": status(t, p, "/ws?user=alice"), "plain GET": plainGET(t, p, "/ws?user=alice")} {
			if got != 403 {
				t.Errorf("%s of a blocked user: %d, want 403", what, got)
			}
		}
		p.wantMetric("blocked", 1, "pushpod_revocations_total", "reason", "blocked")
		if got := p.metric("pushpod_handshakes_total", "result", "403"); got != 2 {
			t.Errorf("%v refused with 403, want 2", got)
		}
	}
	wantEntries(t, r.Client(), "alice", settle, nil)
	eventually(t, "the block's TTL ends it", settle, func() (bool, any) {
		got := plainGET(t, pods[1], "/ws?user=alice")
		return got == 426, got
	})
	dial(t, pods[1], "alice").check("after the block")
	r.CLI("SET", "push:block:{alice}", "")
	r.CLI("DEL", "push:block:{alice}")
	dial(t, pods[0], "alice").check("after an unblock")
	b.check("who is not blocked")
}

func TestRevocations(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	secret := []string{"PUSHPOD_AUTH_HMAC_SECRET=" + tokenSecret}
	p := startPod(t, r, quick().with("auth.mode", "jwt", "auth.hmac_secret", tokenSecret))
	now := time.Now().Unix()
	token := func(user, id string, issued int64) (token string, d dialOption, line string) {
		t.Helper()
		args := []string{"token", user, "--claim", "iat=" + strconv.FormatInt(issued, 10)}
		if id != "" {
			args = append(args, "--claim", "jti="+id)
		}
		token = strings.TrimSpace(mustRun(t, secret, args...))
		return token, withQuery("token", token), "Authorization: Bearer " + token
	}
	_, a1, a1line := token("alice", "a1", now-100)
	_, _, a2line := token("alice", "a2", now)
	_, b, bline := token("bob", "", now-100)
	_, c, cline := token("carol", "", now-50)
	alice, bob, carol := dial(t, p, "alice", a1), dial(t, p, "bob", b), dial(t, p, "carol", c)
	want := func(line string, want int) {
		t.Helper()
		if got := status(t, p, "/ws", line); got != want {
			t.Errorf("handshake: %d, want %d", got, want)
		}
	}
	for _, line := range []string{a1line, a2line, bline, cline} {
		want(line, 101)
	}
	r.CLI("SET", "push:revoked:{a1}", "stolen", "EX", "100")
	alice.wantClosed("its token is revoked", 4500, noticed)
	want(a1line, 401)
	want(a2line, 101)
	r.CLI("SET", "push:valid-after:{bob}", strconv.FormatInt(now-50, 10))
	bob.wantClosed("its user's tokens are", 4500, noticed)
	want(bline, 401)
	want(cline, 101)
	carol.check("another user's are not")
	r.CLI("SET", "push:valid-after", strconv.FormatInt(now-10, 10))
	carol.wantClosed("all tokens are", 4500, noticed)
	want(cline, 401)
	want(a2line, 101)
	p.wantMetric("one", 1, "pushpod_revocations_total", "reason", "revoked")
	p.wantMetric("two", 2, "pushpod_revocations_total", "reason", "outdated")
}

func TestTokensForOneConnection(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	secret := []string{"PUSHPOD_AUTH_HMAC_SECRET=" + tokenSecret}
	s := quick().with("auth.mode", "jwt", "auth.hmac_secret", tokenSecret)
	pods := []*pod{startPod(t, r, s), startPod(t, r, s)}
	narrow := startPod(t, r, s.with("limits.per_user", "1"))
	token := strings.TrimSpace(mustRun(t, secret, "token", "alice", "--claim", "jti=one", "--ttl", "1m"))
	other := strings.TrimSpace(mustRun(t, secret, "token", "alice", "--claim", "jti=two"))

	first := dial(t, narrow, "alice", withQuery("token", other))
	if got := status(t, narrow, "/ws?token="+token); got != 429 {
		t.Errorf("beyond limits.per_user: %d, want 429", got)
	}
	for _, p := range pods {
		if got := plainGET(t, p, "/ws?token="+token); got != 426 { // nor does this use it up
			t.Errorf("a plain GET: %d, want 426", got)
		}
	}
	first.leave()

	const n = 20
	var tries sync.WaitGroup
	results := make(chan int, n)
	for i := range n {
		tries.Go(func() {
			c, a, err := tryDial(t, pods[i%2].listen, "alice", withQuery("token", token))
			switch {
			case err != nil:
				t.Error(err)
				results <- 0
			case c != nil:
				results <- 101
			default:
				results <- a.status
			}
		})
	}
	tries.Wait()
	in := 0
	for range n {
		switch got := <-results; got {
		case 101:
			in++
		case 401:
		default:
			t.Errorf("status %d", got)
		}
	}
	if in != 1 {
		t.Errorf("%d of %d got in by one token, want 1", in, n)
	}
	for _, p := range pods {
		if got := plainGET(t, p, "/ws?token="+token); got != 401 {
			t.Errorf("a plain GET of a used one: %d, want 401", got)
		}
	}
	if got, _ := strconv.Atoi(r.CLI("TTL", "push:used:{one}")); got < 1 || got > 62 {
		t.Errorf("it is remembered for %d s", got)
	}
}

// kick runs `pushpod kick` and returns what it prints.
func kick(t testing.TB, r *redistest.Server, args ...string) string {
	t.Helper()
	return strings.TrimSpace(mustRun(t, envOf(r, operator), append([]string{"kick"}, args...)...))
}

func TestKick(t *testing.T) {
	t.Parallel()
	for name, control := range map[string]string{"control off": "off", "control on": "on"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t)
			s := quick().with("redis.control", control, "presence.renew", "5s", "presence.ttl", "30s")
			a, b := startPod(t, r, s), startPod(t, r, s)
			clients := []*client{dial(t, a, "alice"), dial(t, a, "alice"), dial(t, b, "alice")}
			other := dial(t, b, "bob")
			if got := kick(t, r, "alice", "--json"); got != `{"closed":3}` {
				t.Errorf("kick printed %s", got)
			}
			for _, c := range clients {
				if _, f := c.wantClosed("kicked", 4500, settle); f.reason != "kicked" {
					t.Errorf("the reason is %q", f.reason)
				}
			}
			again := dial(t, b, "alice")
			if got := kick(t, r, "alice", "--for", "1h", "--reason", "spam"); got != "1 connection closed, user blocked for 1h0m0s" {
				t.Errorf("kick printed %s", got)
			}
			if _, f := again.wantClosed("kicked for 1h", 4500, settle); f.reason != "blocked: spam" {
				t.Errorf("the reason is %q", f.reason)
			}
			for _, p := range []*pod{a, b} {
				if got := status(t, p, "/ws?user=alice"); got != 403 {
					t.Errorf("blocked: %d, want 403", got)
				}
			}
			other.check("somebody else")
		})
	}
}

// Who may only push can close nobody.
func TestRedisControl(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	s := quick().with("redis.control", "on", "limits.per_user", "1", "limits.on_excess", "close_oldest")
	p, q := startPod(t, r, s), startPod(t, r, s)
	db := r.Client()
	a, b := dial(t, p, "alice"), dial(t, p, "bob")
	const bye = `"close":{"code":4600,"reason":"bye"}`
	publish(t, db, p.channel, `{"user":"alice","data":1,`+bye+`}`)
	publish(t, db, "push:all", `{"user":"alice","data":2,`+bye+`}`)
	publish(t, db, p.channel, `{"user":"alice",`+bye+`}`)
	publish(t, db, p.channel, `{"all":true,"data":"no"}`)
	publish(t, db, "push:all", `{"all":true,"data":3}`)
	for _, data := range []string{"1", "2", "3"} {
		a.wantMessage("data beside a close, and all", data)
	}
	b.wantMessage("all", "3")
	wantBooks(t, p, books{published: 5, bad: 2, written: 4})
	p.wantMetric("ignored", 3, "pushpod_closes_ignored_total")
	publish(t, db, "push:ctl:"+p.listen, `{"user":"bob",`+bye+`}`)
	b.wantClosed("by the control channel", 4600, settle)
	newer := dial(t, q, "alice")
	a.wantClosed("replaced", 4501, settle)
	publish(t, db, "push:ctl:all", `{"all":true,`+bye+`}`)
	newer.wantClosed("by that of all", 4600, settle)
}
