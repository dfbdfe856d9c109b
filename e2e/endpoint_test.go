package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// leadWithin is what the contract gives a pod to follow an address that leads elsewhere.
func leadWithin(probe, timeout time.Duration) time.Duration { return 10*time.Second + probe + timeout }

// leadQuick is that with the settings of quick.
var leadQuick = leadWithin(500*time.Millisecond, time.Second)

// copies makes a server a replica of another one, and waits until it is in step.
func copies(t *testing.T, replica, master *redistest.Server) {
	t.Helper()
	replica.CLI("CONFIG", "SET", "masteruser", admin, "masterauth", passwordOf(admin))
	replica.CLI("REPLICAOF", "127.0.0.1", fmt.Sprint(master.Port()))
	eventually(t, "the replica is in step", settle, func() (bool, any) {
		state := replica.CLI("INFO", "replication")
		return strings.Contains(state, "master_link_status:up"), state
	})
}

// An address is led to another server, while old connections to the one before go on:
// DNS, a Service, a proxy, a failover by hand.
func TestThePodFollowsAnAddressThatLeadsElsewhere(t *testing.T) {
	t.Parallel()
	followAnAddress(t, quick(), leadQuick)
}

// TestFaultsAddressesThatLeadElsewhere does so with the settings that pods have by default.
func TestFaultsAddressesThatLeadElsewhere(t *testing.T) {
	redistest.Faults(t)
	t.Parallel()
	followAnAddress(t, settings{"log.format": "json"}, leadWithin(3*time.Second, 3*time.Second))
}

func followAnAddress(t *testing.T, s settings, within time.Duration) {
	for name, test := range map[string]struct {
		before func(t *testing.T, old, young *redistest.Server)
		then   func(t *testing.T, old, young *redistest.Server) // once it leads to the young one
		loseID bool                                             // no server says who it is
	}{
		// What is published at the new master comes from its replica too, and a probe at the
		// replica comes back.
		"the old one is a replica of the new one": {
			before: func(t *testing.T, old, young *redistest.Server) {
				copies(t, young, old)
				young.CLI("REPLICAOF", "NO", "ONE")
			},
			then: func(t *testing.T, old, young *redistest.Server) { copies(t, old, young) },
		},
		"the old one is a replica, and nobody says who he is": {
			then:   func(t *testing.T, old, young *redistest.Server) { copies(t, old, young) },
			loseID: true,
		},
		"the old one stays up, a stranger":      {},
		"a stranger, and nobody says who he is": {loseID: true},
		"the old one hangs":                     {then: func(t *testing.T, old, _ *redistest.Server) { old.Pause() }},
		"the old one goes":                      {then: func(t *testing.T, old, _ *redistest.Server) { old.Kill() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old, young := startRedis(t, "--repl-diskless-sync-delay", "0"), startRedis(t, "--repl-diskless-sync-delay", "0")
			if test.loseID {
				for _, r := range []*redistest.Server{old, young} {
					r.CLI("ACL", "SETUSER", podUser, "-info")
				}
			}
			if test.before != nil {
				test.before(t, old, young)
			}
			address := redistest.NewProxy(t, old.Addr())
			p := startPod(t, old, s.with("redis.addresses", address.Addr()))
			alice, bob := dial(t, p, "alice"), dial(t, p, "bob")
			if n := luaPush(t, old, "alice", `"before"`); n != 1 {
				t.Fatalf("push.lua at the old server returned %d, want 1", n)
			}
			alice.wantMessage("before", `"before"`)

			address.Lead(young.Addr())
			if test.then != nil {
				test.then(t, old, young)
			}
			led := time.Now()
			pushes := 0
			eventually(t, "the pod is subscribed and present at the new server", within+2*slack, func() (bool, any) {
				pushes++
				n := luaPush(t, young, "alice", fmt.Sprint(pushes))
				return n == 1, n
			})
			t.Logf("subscribed and present after %v, of %v", time.Since(led).Round(time.Millisecond), within)
			for string(alice.wantFrame("the last push", "message").Data) != fmt.Sprint(pushes) {
				continue // what came by way of a replica
			}
			p.waitReady()
			wantEntries(t, asProducer(young), "bob", settle, map[string]string{bob.uuid: p.channel})
			bob.request("at the new server", "r1", `1`)
			if n := len(uplink(t, young)); n != 1 {
				t.Errorf("%d requests at the new server, want 1", n)
			}
			carol := dial(t, p, "carol")
			wantEntries(t, asProducer(young), "carol", settle, map[string]string{carol.uuid: p.channel})
			p.wantMetric("one subscription was lost", 1, "pushpod_subscription_gaps_total")
			for _, c := range []*client{alice, bob} {
				c.check("the address led elsewhere")
			}
		})
	}
}

// A pod that could not connect again says so, as long as it is: what it has goes on.
func TestThePodIsNotReadyWhereItsAddressLeadsNowhere(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	address := redistest.NewProxy(t, r.Addr())
	p := startPod(t, r, quick().with("redis.addresses", address.Addr()))
	alice := dial(t, p, "alice")
	address.Lead("127.0.0.1:1")
	eventually(t, "the pod is not ready, and says why", leadQuick+2*slack, func() (bool, any) {
		status, body := p.readyz()
		return status == http.StatusServiceUnavailable && strings.Contains(body, "endpoint"), body
	})
	if n := luaPush(t, r, "alice", `1`); n != 1 {
		t.Errorf("push.lua returned %d, want 1", n)
	}
	alice.wantMessage("over the subscription that there is", `1`)
	address.Lead(r.Addr())
	p.waitReady()
	if gaps := p.metric("pushpod_subscription_gaps_total"); gaps != 0 {
		t.Errorf("%v gaps, want 0: the subscription was never lost", gaps)
	}
}
