package redistest_test

import (
	"strings"
	"testing"

	"pushpod/internal/redistest"
)

func TestSentinelsFailOver(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinels(t, redistest.SentinelOptions{Certs: redistest.NewCerts(t, "redis.test"), User: "ops", Password: "secret"})
	set.Await(set.Servers[0])
	set.Failover()
	set.Await(set.Servers[1])
	if out, err := set.Sentinels[0].TryCLIAs("client", "client", "SUBSCRIBE", "+switch-master"); err == nil || !strings.Contains(out, "NOPERM") {
		t.Errorf("a client with least rights subscribes: %s, %v", out, err)
	}
	if len(set.Addrs()) != 3 {
		t.Errorf("Sentinels at %v", set.Addrs())
	}
}
