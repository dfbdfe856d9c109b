package conn

import (
	"bytes"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"pushpod/conn/internal/netloop"
)

// Connections that came at once must not be due at once for ever.
func TestDueTimesAreSpread(t *testing.T) {
	const ticks = 1000
	for name, draw := range map[string]struct {
		f         func() uint32
		low, high uint32
	}{
		"a first period":   {func() uint32 { return firstPeriod(ticks) }, ticks / 2, ticks},
		"a tenth each way": {func() uint32 { return spread(ticks, 10) }, ticks * 9 / 10, ticks * 11 / 10},
		"the shortest":     {func() uint32 { return spread(1, 10) }, 1, 1},
	} {
		least, most := draw.high, draw.low
		for range 20_000 {
			n := draw.f()
			least, most = min(least, n), max(most, n)
		}
		if width := (draw.high - draw.low) / 50; least < draw.low || most > draw.high || least > draw.low+width || most < draw.high-width {
			t.Errorf("%s: from %d to %d, want %d to %d", name, least, most, draw.low, draw.high)
		}
	}
}

// A client can't send a pong in the middle of a frame.
func TestAFrameThatTakesLongIsASignOfLife(t *testing.T) {
	x := newFakeServer(t, Options{Settings: Settings{Ping: time.Second, PingTimeout: time.Second}}).open("u")
	x.give(1 << 20)
	for b := frame(ws.OpText, true, bytes.Repeat([]byte("a"), 60<<10)); len(b) > 0 && !x.closed; x.s.tick(1) {
		n := min(len(b), 1000)
		x.arrive(string(b[:n]))
		b = b[n:]
	}
	if x.closed {
		t.Errorf("it is closed: %v", x.s.Stats().Ended)
	}
}

func TestAConnectionEndsWithItsToken(t *testing.T) {
	last := func(lasts, maxAge time.Duration) *fakeSocket {
		s := newFakeServer(t, Options{Settings: Settings{MaxAge: maxAge}}, func(_ *Options, h *fakeHub) { h.lasts = lasts })
		x := s.open("u")
		x.give(1 << 20)
		return x
	}
	for name, c := range map[string]struct {
		lasts, maxAge time.Duration
		early, late   int // ticks of 100 ms
		want          []byte
	}{
		"its token":                {2 * time.Second, 0, 19, 3, closeOf(CodeExpired, "token expired")},
		"its token before its age": {2 * time.Second, time.Hour, 19, 3, closeOf(CodeExpired, "token expired")},
		"less than a tick":         {time.Millisecond, 0, 0, 3, closeOf(CodeExpired, "token expired")},
		"a token of many years":    {(1<<32 + 5) * netloop.Tick, 0, 50, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			x := last(c.lasts, c.maxAge)
			x.s.tick(c.early)
			if len(x.got) > 0 {
				t.Fatalf("too early: %q", x.got)
			}
			if x.s.tick(c.late); !bytes.Equal(x.got, c.want) {
				t.Errorf("got %q, want %q", x.got, c.want)
			}
		})
	}
	for _, again := range []time.Duration{0, time.Minute} { // a fresh one comes in time
		x := last(2*time.Second, 0)
		x.s.tick(10)
		x.c.Last(again)
		if x.s.tick(30); len(x.got) > 0 {
			t.Errorf("a fresh token for %v: %q", again, x.got)
		}
		x.c.Last(time.Second)
		x.s.tick(12)
		if x.want("a shorter one", closeOf(CodeExpired, "token expired")); x.closed {
			t.Error("it is closed without the peer's answer")
		}
	}
	x := last(time.Hour, 2*time.Second)
	if x.s.tick(30); closeFrom(x.got, CodeGoingAway) != 0 {
		t.Errorf("its age before its token: %q", x.got)
	}
}

// What is decided later must not be for a connection that has ended meanwhile.
func TestDecisionsAreForThoseWhoWait(t *testing.T) {
	hold := make(chan struct{})
	s := newFakeServer(t, Options{}, func(_ *Options, h *fakeHub) { h.hold = hold })
	x := s.connect(request("?user=u"))
	c := s.hub.told("u").conn
	decided := 0
	c.Decide(func() { decided++ })
	if decided != 1 {
		t.Error("one that waits is not decided about")
	}
	close(hold)
	s.hub.pending.Wait()
	x.end()
	c.Decide(func() { decided++ })
	if decided != 1 {
		t.Error("one that has ended is decided about")
	}
}

// What is renewed behind its end comes back into presence, and stays there.
func TestRenewalsByRequestAreForOpenConnections(t *testing.T) {
	hold := make(chan struct{})
	s := newFakeServer(t, Options{}, func(_ *Options, h *fakeHub) { h.hold = hold })
	x := s.connect(request("?user=u"))
	c := s.hub.told("u").conn
	renewals := func(when string, want int) {
		t.Helper()
		if c.Renew(); s.hub.told("u").renewals != want {
			t.Errorf("%s: renewed %d times, want %d", when, s.hub.told("u").renewals, want)
		}
	}
	renewals("before it is accepted", 0)
	close(hold)
	s.hub.pending.Wait()
	renewals("open", 1)
	x.end()
	renewals("ended", 1)
}
