package presence_test

import (
	"fmt"
	"testing"
	"time"

	"pushpod/presence"
	"pushpod/redisconn"
)

func TestTenThousandRegistrationsTakeFewRoundTrips(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		// On a loaded machine miniredis takes seconds for a full batch.
		s := w.store("a:1", func(o *presence.Options) {
			o.PerUser, o.Timeout, o.Redis = 100, time.Minute, redisconn.Of(w.clientWithin(w.addr, time.Minute))
			o.Refused = func(presence.Entry, *presence.Refused) { t.Error("refused") }
		})
		const n = 10_000
		entries := make([]presence.Entry, n)
		outcomes := make(chan presence.Registered, n)
		for i := range entries {
			entries[i] = entry(fmt.Sprint("user", i))
			s.Register(entries[i], func(r presence.Registered) { outcomes <- r })
		}
		for range n {
			if r := wait(t, "an outcome", outcomes); r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		registered := s.Stats()
		t.Logf("%d registrations: %d round trips, %d commands", n, registered.Batches, registered.Commands)
		if registered.Batches > 300 {
			t.Errorf("%d round trips, want 300 at most", registered.Batches)
		}
		s.renewAndWait(entries...)
		renewed := s.Stats()
		commands := renewed.Commands - registered.Commands
		t.Logf("%d renewals: %d round trips, %d commands", n, renewed.Batches-registered.Batches, commands)
		if per := float64(commands) / n; renewed.PerFieldExpiry && per > 1.01 {
			t.Errorf("a renewal takes %.2f commands where fields expire, want 1", per)
		}
		if h := renewed.Latency; h.Count != renewed.Batches || h.Sum <= 0 {
			t.Errorf("%d latencies, %v s in all, for %d round trips", h.Count, h.Sum, renewed.Batches)
		}
		if renewed.Registered != n || renewed.Renewed != n || renewed.Errors != 0 {
			t.Errorf("stats: %+v", renewed)
		}
	})
}

func TestOperationsOfOneUUIDAreCoalescedWhileTheyWait(t *testing.T) {
	w := realWorld(t)
	s := w.store("a:1", nil)
	e := entry("alice")
	s.mustRegister(e)
	s.stall()
	for range 100_000 {
		s.Renew(e)
	}
	if n := s.Stats().Waiting; n > 1 {
		t.Errorf("%d operations wait for two connections", n)
	}
	gone := make(chan error, 1)
	s.Unregister(e, func(err error) { gone <- err })
	s.Renew(e) // comes too late: it must not bring the entry back
	w.real.Resume()
	if err := wait(t, "the removal", gone); err != nil {
		t.Fatal(err)
	}
	s.idle()
	w.want("unregistered last", "alice", s.channel)
}

func TestUnregistrationBeforeTheWriteEndsTheRegistration(t *testing.T) {
	w := realWorld(t)
	s := w.store("a:1", nil)
	s.mustRegister(entry("warm-up"))
	s.stall()
	e := entry("alice")
	registered, gone := make(chan presence.Registered, 1), make(chan error, 1)
	s.Register(e, func(r presence.Registered) { registered <- r })
	s.Unregister(e, func(err error) { gone <- err })
	w.real.Resume()
	mustBe(t, "registration", wait(t, "its outcome", registered).Err, presence.ErrUnregistered)
	if err := wait(t, "the removal", gone); err != nil {
		t.Fatal(err)
	}
	s.idle()
	w.want("never written", "alice", s.channel)
	if len(registered)+len(gone) > 0 {
		t.Error("a callback is called twice")
	}
}

func TestEachOfTwoUnregistrationsHearsOfTheRemoval(t *testing.T) {
	w := realWorld(t)
	s := w.store("a:1", nil)
	e := entry("alice")
	s.mustRegister(e)
	s.stall()
	first, second := make(chan error, 2), make(chan error, 2)
	s.Unregister(e, func(err error) { first <- err })
	s.Unregister(e, nil)
	s.Unregister(e, func(err error) { second <- err })
	w.real.Resume()
	for _, gone := range []chan error{first, second} {
		if err := wait(t, "the removal", gone); err != nil {
			t.Error(err)
		}
	}
	w.want("unregistered", "alice", s.channel)
}

func TestTheBacklogCountsOnlyWhatWaits(t *testing.T) {
	bothWorlds(t, func(t *testing.T, w *world) {
		const backlog = 8
		s := w.store("a:1", func(o *presence.Options) { o.Backlog, o.Batch, o.Pace = backlog, 8, -1 })
		for range 3 * backlog {
			e := entry("alice")
			s.mustRegister(e)
			s.renewAndWait(e)
			s.mustUnregister(e)
			s.Heal("alice", func(presence.UUID) bool { return true })
			s.idle()
		}
		if n := s.Stats().Dropped; n != 0 {
			t.Errorf("%d operations are dropped", n)
		}
	})
}
