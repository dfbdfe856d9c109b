package presence_test

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/presence"
	"pushpod/redisconn"
)

// The hash that a registration over the limit waits for is lost on the way. It is
// read again; where Redis stays away, the registration is given up.
func TestLostExaminationIsMadeAgainOrGivenUp(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		const away = 1 << 30
		for losses, want := range map[int64]error{1: presence.ErrTooMany, away: presence.ErrUnavailable} {
			var lost atomic.Int64
			var begun atomic.Bool
			client := w.client(w.addr)
			client.AddHook(hook(func(cmds []redis.Cmder, send func() error) error {
				err := send()
				if carry(cmds, "hgetall") {
					begun.Store(true)
				}
				if begun.Load() && lost.Add(-1) >= 0 {
					return answer(cmds, io.ErrUnexpectedEOF)
				}
				return err
			}))
			s := w.store(fmt.Sprint("a:", losses), func(o *presence.Options) { o.Redis, o.PerUser, o.TTL = redisconn.Of(client), 1, time.Minute })
			user := fmt.Sprint("user", losses)
			held := entry(user)
			s.mustRegister(held)
			lost.Store(losses)
			mustBe(t, fmt.Sprint("register, with so many losses: ", losses), s.register(entry(user)).Err, want)
			lost.Store(0)
			eventually(t, "only the held entry stands", func() error { return w.has(user, s.channel, held) })
			eventually(t, "it is healed by itself", s.Err)
			if s.Stats().Errors == 0 {
				t.Error("a batch that failed is not counted")
			}
		}
	})
}

func TestRefusedExaminationRefusesTheRegistration(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	w.real.CLI("ACL", "SETUSER", "pod", "on", "nopass", "~*", "+@all", "-hgetall")
	client := redisconn.NewClient(redisconn.Options{
		Addresses: []string{w.addr}, Username: "pod", Password: "any", Timeout: testTimeout, NoRetry: true,
	})
	t.Cleanup(func() { _ = client.Close() })
	s := w.store("a:1", func(o *presence.Options) { o.Redis, o.PerUser, o.TTL = redisconn.Of(client), 1, time.Minute })
	held := entry("alice")
	s.mustRegister(held)
	if r := s.register(entry("alice")); !errors.Is(r.Err, presence.ErrUnavailable) || !contains(r.Err, "NOPERM") {
		t.Fatalf("register: %v, want ErrUnavailable and the cause", r.Err)
	}
	eventually(t, "only the held entry stands", func() error { return w.has("alice", s.channel, held) })
	if s.Stats().Errors == 0 {
		t.Error("a refused command is not counted")
	}
}

// A connection ends while its registration over the limit is being decided about.
func TestUnregistrationDuringTheExaminationIsAnsweredToo(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		var s *testStore
		held, ends := entry("alice"), entry("alice")
		gone := make(chan error, 2)
		var once atomic.Bool
		client := w.client(w.addr)
		client.AddHook(hook(func(cmds []redis.Cmder, send func() error) error {
			if carry(cmds, "hgetall") && !once.Swap(true) {
				s.Unregister(ends, func(err error) { gone <- err })
			}
			return send()
		}))
		s = w.store("a:1", func(o *presence.Options) { o.Redis, o.PerUser, o.TTL = redisconn.Of(client), 1, time.Minute })
		s.mustRegister(held)
		mustBe(t, "register", s.register(ends).Err, presence.ErrTooMany)
		if err := wait(t, "the removal", gone); err != nil {
			t.Error(err)
		}
		s.idle()
		w.want("only the held entry stands", "alice", s.channel, held)
	})
}

// Each of the oldest is named once.
func TestRegistrationsOfOneBatchNameDifferentOldest(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	s := w.store("a:1", func(o *presence.Options) {
		o.PerUser, o.OnExcess, o.TTL = 2, presence.OnExcessCloseOldest, time.Minute
	})
	now := time.Now().UnixMilli()
	var e []presence.Entry
	for i := range int64(4) {
		e = append(e, presence.Entry{User: "alice", UUID: presence.NewUUID(now + i)})
	}
	s.mustRegister(e[0])
	s.mustRegister(e[1])
	s.stall()
	outcomes := make(chan presence.Registered, 2)
	for _, e := range e[2:] {
		s.Register(e, func(r presence.Registered) { outcomes <- r })
	}
	w.real.Resume()
	first, second := wait(t, "an outcome", outcomes), wait(t, "an outcome", outcomes)
	if first.Err != nil || second.Err != nil || !sameUUIDs(append(first.Excess, second.Excess...), e[0], e[1]) {
		t.Fatalf("the two registrations: %+v and %+v", first, second)
	}
}
