package redisconn

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"pushpod/internal/redistest"
)

// Redis itself is asked, which needs no Cluster for it.
func TestSlotIsAsRedisSays(t *testing.T) {
	client := redistest.Start(t, "--cluster-enabled", "yes").Client()
	keys := []string{"", "a", "123456789", "push:pods", "push:user:{alice}", "push:user:{}x}", "{}", "{", "}{", "a{b", "{a}{b}", "push:user:{a}b}", "push:user:{\xff\xfe}"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		keys = append(keys, "push:user:{"+strconv.FormatUint(random.Uint64(), 36)+"}")
	}
	for _, key := range keys {
		want, err := client.ClusterKeySlot(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		if got := Slot(key); got != int(want) {
			t.Errorf("Slot(%q) is %d, want %d", key, got, want)
		}
	}
}
