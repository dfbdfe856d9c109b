package cli

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

// A fieldExpiry plays a server that expires each field by itself: it answers
// HPTTL, which the servers in reach of the tests do not know.
type fieldExpiry struct {
	left []int64
}

func (h fieldExpiry) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h fieldExpiry) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h fieldExpiry) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if answer, ok := cmds[0].(*redis.IntSliceCmd); ok && answer.Name() == "hpttl" {
			answer.SetVal(h.left)
			return nil
		}
		return next(ctx, cmds)
	}
}

func TestPresenceTellsEachFieldsOwnExpiry(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	connect(t, c, "alice", uuid1, "push:pod:a")
	connect(t, c, "alice", uuid2, "push:pod:a")
	ms := func(v int64) *int64 { return &v }
	for _, test := range []struct {
		why   string
		left  []int64
		key   time.Duration // expiry of the whole key; 0: none
		first *int64        // nil: not known
	}{
		{"both fields expire", []int64{5000, 7000}, 0, ms(5000)},
		{"the first one does not", []int64{-1, 7000}, 0, nil},
		{"it has gone in the meantime", []int64{-2, 7000}, 0, nil},
		{"fewer answers than fields", []int64{5000}, 0, nil},
		{"the key outlives the field", []int64{5000, 7000}, time.Hour, ms(5000)},
	} {
		c := s.Client()
		c.AddHook(fieldExpiry{test.left})
		if err := c.Persist(t.Context(), "push:user:{alice}").Err(); err != nil {
			t.Fatal(err)
		}
		if test.key > 0 {
			if err := c.PExpire(t.Context(), "push:user:{alice}", test.key).Err(); err != nil {
				t.Fatal(err)
			}
		}
		list, err := (&server{redis: redisconn.Of(c), keys: presence.NewKeys("push:")}).producer().Connections(t.Context(), "alice")
		if err != nil || len(list) != 2 {
			t.Fatalf("%s: %v: %v", test.why, list, err)
		}
		got := list[0].Expires
		if (got == nil) != (test.first == nil) || got != nil && *got != *test.first {
			t.Errorf("%s: expires in %s, want %s", test.why, expiry(got), expiry(test.first))
		}
	}
}
