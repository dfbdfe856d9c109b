package presence_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

// A connection's life in random interleavings with those of others, over a link
// that is cut all the time: what stands in the end is what is still held, and
// nothing else.
func TestWhatIsHeldStandsAfterRandomLivesOverACutLink(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		proxy := redistest.NewProxy(t, w.addr)
		s := w.store("a:1", func(o *presence.Options) {
			o.Redis, o.TTL, o.Batch = redisconn.Of(w.client(proxy.Addr())), time.Minute, 64
		})
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)

		var cutting, living sync.WaitGroup
		var over atomic.Bool
		cutting.Go(func() {
			random := rand.New(rand.NewPCG(seed, 0))
			for !over.Load() {
				switch random.IntN(8) {
				case 0:
					proxy.Cut()
				case 1:
					proxy.CutAfter(random.Int64N(4000))
				case 2:
					proxy.CutRequestsAfter(random.Int64N(20000))
				case 3:
					proxy.Refuse(true)
				case 4:
					proxy.Stall(true)
				}
				time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond)
				proxy.Refuse(false)
				proxy.Stall(false)
			}
		})
		var mu sync.Mutex
		held := make(map[presence.Entry]bool)
		var refused, accepted atomic.Int64
		for life := range 8 {
			living.Go(func() {
				random := rand.New(rand.NewPCG(seed, uint64(life)+1))
				for range 300 {
					e := entry(fmt.Sprint("user", random.IntN(20)))
					outcomes := make(chan presence.Registered, 2)
					s.Register(e, func(r presence.Registered) { outcomes <- r })
					if random.IntN(10) == 0 { // gone before the answer
						s.Unregister(e, nil)
						<-outcomes
						continue
					}
					if r := <-outcomes; r.Err != nil {
						if !errors.Is(r.Err, presence.ErrUnavailable) {
							t.Errorf("register: %v", r.Err)
						}
						refused.Add(1)
						continue
					}
					accepted.Add(1)
					for range random.IntN(4) {
						s.Renew(e)
					}
					if random.IntN(3) == 0 {
						mu.Lock()
						held[e] = true
						mu.Unlock()
						continue
					}
					s.Unregister(e, nil)
				}
			})
		}
		living.Wait()
		over.Store(true)
		cutting.Wait()
		proxy.CutAfter(-1)
		proxy.CutRequestsAfter(-1)
		eventually(t, "the store is well and idle", func() error {
			if n := s.Stats().Waiting; n > 0 || s.Err() != nil {
				return fmt.Errorf("%d wait, %v", n, s.Err())
			}
			return nil
		})
		time.Sleep(1200 * time.Millisecond) // what was in doubt is repeated
		s.idle()
		t.Logf("%d accepted, %d refused, %d held, %d cuts, %d batches", accepted.Load(), refused.Load(), len(held), proxy.Cuts(), s.Stats().Batches)
		stand := 0
		for i := range 20 {
			user := fmt.Sprint("user", i)
			for field := range w.fields(user) {
				u, _ := presence.ParseUUID(field)
				if !held[presence.Entry{User: user, UUID: u}] {
					t.Errorf("%s of %s stands, and is not held", field, user)
				}
				stand++
			}
		}
		if stand != len(held) {
			t.Errorf("%d entries stand, %d are held", stand, len(held))
		}
		if accepted.Load() == 0 || proxy.Cuts() < 10 {
			t.Error("the test did not test much")
		}
	})
}

// A registration is sent, and gets stuck on the way: its connection is given up,
// and its entry removed over another. Then what was stuck arrives after all.
func TestWriteThatArrivesAfterItsRemovalIsRemovedAgain(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		proxy := redistest.NewProxy(t, w.addr)
		s := w.store("a:1", func(o *presence.Options) {
			o.Redis, o.TTL, o.Timeout = redisconn.Of(w.client(proxy.Addr())), time.Minute, 300*time.Millisecond
		})
		s.mustRegister(entry("warm-up"))
		proxy.Strand()
		mustBe(t, "register", s.register(entry("alice")).Err, presence.ErrUnavailable)
		s.idle()
		w.want("removed, as far as the store knows", "alice", s.channel)
		proxy.Release()
		eventually(t, "the late write is there", func() error {
			if len(w.fields("alice")) == 0 {
				return errors.New("it is not")
			}
			return nil
		})
		eventually(t, "it is removed again", func() error { return w.has("alice", s.channel) })
	})
}
