package presence_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"pushpod/presence"
)

func TestTheLimitChangesWhileTheStoreRuns(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", nil)
		first, second := entry("alice"), entry("alice")
		oldest := first.UUID
		if bytes.Compare(second.UUID[:], oldest[:]) < 0 { // of one millisecond
			oldest = second.UUID
		}
		s.mustRegister(first)
		s.mustRegister(second)
		s.SetLimit(presence.Limit{PerUser: 2})
		mustBe(t, "the third of two", s.register(entry("alice")).Err, presence.ErrTooMany)
		w.want("those that are there stay", "alice", s.channel, first, second)
		s.SetLimit(presence.Limit{PerUser: 2, OnExcess: presence.OnExcessCloseOldest})
		if r := s.register(entry("alice")); r.Err != nil || len(r.Excess) != 1 || r.Excess[0].UUID != oldest {
			t.Errorf("the third of two, which takes the oldest one's place: %+v", r)
		}
		s.SetLimit(presence.Limit{})
		if r := s.register(entry("alice")); r.Err != nil || len(r.Excess) != 0 {
			t.Errorf("without a limit: %+v", r)
		}
	})
}

// What a batch has not asked Redis for can't be judged: a limit that comes while it is under
// way is for the next one.
func TestALimitThatChangesAllTheTimeIsNeverHalfApplied(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		s := w.store("a:1", func(o *presence.Options) { o.Pace = -1 })
		stop := make(chan struct{})
		var changing sync.WaitGroup
		changing.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					s.SetLimit(presence.Limit{PerUser: i % 2})
					time.Sleep(10 * time.Microsecond) // others need the processor, too
				}
			}
		})
		const each, users = 200, 3
		outcomes := make(chan presence.Registered, each*users)
		for i := range each * users {
			s.Register(entry([]string{"alice", "bob", "carol"}[i%users]), func(r presence.Registered) { outcomes <- r })
		}
		for range each * users {
			if r := wait(t, "an outcome", outcomes); r.Err != nil && !errors.Is(r.Err, presence.ErrTooMany) {
				t.Fatal(r.Err)
			}
		}
		close(stop)
		changing.Wait()
	})
}
