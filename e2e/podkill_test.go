package e2e

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// shortLived are settings with which a dead pod's entries are gone in seconds.
func shortLived() settings {
	return quick().with("presence.ttl", "3500ms", "conn.ping", "1s", "conn.ping_timeout", "1s")
}

func TestKilledPodIsForgotten(t *testing.T) {
	t.Parallel()
	const ttl, renew, lease = 3500 * time.Millisecond, time.Second, time.Second
	r := startRedis(t)
	db := asProducer(r)
	dead, live := startPod(t, r, shortLived()), startPod(t, r, shortLived())
	phone, laptop := dial(t, dead, "alice"), dial(t, live, "alice")
	bob := dial(t, dead, "bob")
	if n := luaPush(t, r, "alice", `1`); n != 2 {
		t.Fatalf("push.lua before the kill returned %d, want 2", n)
	}
	phone.wantMessage("before the kill", `1`)
	laptop.wantMessage("before the kill", `1`)

	killed := time.Now()
	dead.sigkill()
	phone.wantEnd("the pod is killed", settle)
	bob.wantEnd("the pod is killed", settle)

	// The count is true as soon as Redis has seen the dead pod's socket close.
	eventually(t, "push.lua counts only the live pod's connection", time.Second, func() (bool, any) {
		n := luaPush(t, r, "alice", `2`)
		laptop.wantMessage("beside a dead pod", `2`)
		return n == 1, n
	})
	if n := luaPush(t, r, "bob", `2`); n != 0 {
		t.Errorf("push.lua for a user on the dead pod only returned %d, want 0", n)
	}

	wantEntries(t, db, "bob", time.Until(killed.Add(ttl+slack)), nil)
	wantEntries(t, db, "alice", time.Until(killed.Add(ttl+renew+lease+slack)), map[string]string{laptop.uuid: live.channel})
	t.Logf("entries gone after %v (at most %v and %v beside a live device)", time.Since(killed).Round(time.Millisecond), ttl, ttl+renew+lease)
	always(t, "the live device's entry stays", renew, func() (bool, any) {
		got := entriesOf(t, db, "alice")
		return len(got) == 1 && got[laptop.uuid] == live.channel, got
	})
	if n := luaPush(t, r, "alice", `3`); n != 1 {
		t.Errorf("push.lua after the clean-up returned %d, want 1", n)
	}
	laptop.wantMessage("after the clean-up", `3`)
	if misses := live.metric("pushpod_misses_total"); misses != 0 {
		t.Errorf("the live pod counted %v misses, want 0", misses)
	}
}

func TestPodRestartedUnderItsOldAddress(t *testing.T) {
	t.Parallel()
	const lease = time.Second
	r := startRedis(t)
	db := asProducer(r)
	first := startPod(t, r, quick())
	stale := []*client{dial(t, first, "carol"), dial(t, first, "carol"), dial(t, first, "carol")}
	dial(t, first, "dave")

	first.sigkill()
	began := time.Now()
	second := first.restart()
	// Not ready until the dead one's score has stood still for the lease.
	for time.Since(began) < lease*9/10 {
		if status, body := second.readyz(); status == http.StatusOK {
			t.Fatalf("ready after %v, before the old lease has ended: %s", time.Since(began), body)
		}
		time.Sleep(20 * time.Millisecond)
	}
	second.waitReady()
	t.Logf("took over after %v", time.Since(began).Round(time.Millisecond))

	if got := entriesOf(t, db, "carol"); len(got) != len(stale) {
		t.Fatalf("carol's entries after the restart: %v, want the %d old ones", got, len(stale))
	}
	var uuids string
	for i, c := range stale {
		uuids += fmt.Sprintf(`%s%q`, []string{"", ","}[min(i, 1)], c.uuid)
	}
	publish(t, db, second.channel, `{"to":[`+uuids+`],"of":"carol","data":1}`)
	want := books{published: 1, misses: len(stale)}
	wantBooks(t, second, want)
	wantEntries(t, db, "carol", settle, nil)

	// A live connection beside a stale entry.
	dave := dial(t, second, "dave")
	if n := luaPush(t, r, "dave", `"for dave"`); n < 1 {
		t.Errorf("push.lua returned %d, want at least the live connection", n)
	}
	dave.wantMessage("beside a stale entry", `"for dave"`)
	wantEntries(t, db, "dave", settle, map[string]string{dave.uuid: second.channel})
	dave.wantNothing("once", 50*time.Millisecond)
}

func TestSecondPodUnderOneAddressEnds(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := asProducer(r)
	first := startPod(t, r, quick())
	alice := dial(t, first, "alice")

	second := launchPod(t, r, quick().with("pod.address", first.listen))
	deadline := time.Now().Add(settle)
	for !second.hasEnded() {
		if status, body := second.readyz(); status == http.StatusOK {
			t.Fatalf("the second pod is ready: %s", body)
		}
		if status, body := first.readyz(); status != http.StatusOK {
			t.Fatalf("the first pod is disturbed: %d %s", status, body)
		}
		if time.Now().After(deadline) {
			t.Fatal("the second pod still runs")
		}
		time.Sleep(20 * time.Millisecond)
	}
	second.wantExit("the address is taken", 1, time.Second)
	wantLine(t, "the second pod says why", second.stderr.String(), first.listen)

	wantEntries(t, db, "alice", 0, map[string]string{alice.uuid: first.channel})
	if n := luaPush(t, r, "alice", `1`); n != 1 {
		t.Errorf("push.lua returned %d, want 1", n)
	}
	alice.wantMessage("the first pod serves on", `1`)
	alice.check("the first pod serves on")
	wantBooks(t, first, books{published: 1, written: 1})
}

// A pod that was stopped for longer than its entries live (a suspended machine)
// comes back: what was published meanwhile is delivered once.
func TestPodStoppedForAWhile(t *testing.T) {
	t.Parallel()
	const ttl = 3500 * time.Millisecond
	r := startRedis(t)
	db := asProducer(r)
	p, other := startPod(t, r, shortLived()), startPod(t, r, shortLived())
	alice, bob := dial(t, p, "alice"), dial(t, other, "bob")

	p.signal(syscall.SIGSTOP)
	for i := range 3 {
		publish(t, db, p.channel, to(fmt.Sprint(i), alice))
	}
	wantEntries(t, db, "alice", ttl+slack, nil)
	bob.check("on the other pod")
	p.signal(syscall.SIGCONT)

	for i := range 3 {
		alice.wantMessage("published while the pod was stopped", fmt.Sprint(i))
	}
	wantEntries(t, db, "alice", time.Second+slack, map[string]string{alice.uuid: p.channel})
	p.waitReady()
	if n := luaPush(t, r, "alice", `"again"`); n != 1 {
		t.Errorf("push.lua returned %d, want 1", n)
	}
	alice.wantMessage("the pod goes on", `"again"`)
	alice.wantNothing("once each", 100*time.Millisecond)
	wantEntries(t, db, "bob", 0, map[string]string{bob.uuid: other.channel})
	wantBooks(t, p, books{published: 4, written: 4})
	wantBooks(t, other, books{})
}
