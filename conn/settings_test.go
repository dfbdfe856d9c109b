package conn

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"pushpod/conn/internal/wire"
)

// change sets the settings of a server that runs.
func (s *fakeServer) change(f func(*Settings)) {
	to := s.Settings()
	f(&to)
	s.Set(to)
}

func TestSettingsChangeUnderOpenConnections(t *testing.T) {
	x := newFakeServer(t, Options{Settings: Settings{MaxMessage: 1000}}).open("u")
	x.give(1 << 20)
	x.arrive(string(text(strings.Repeat("x", 900))))
	x.s.change(func(s *Settings) { s.MaxMessage = 2000 })
	x.arrive(string(text(strings.Repeat("x", 1900))))
	if u := x.s.hub.told("u"); len(u.received) != 2 || len(x.got) > 0 {
		t.Fatalf("%d messages are taken; written %q", len(u.received), x.got)
	}
	x.arrive(string(frame(ws.OpText, false, bytes.Repeat([]byte("x"), 1500))))
	x.s.change(func(s *Settings) { s.MaxMessage = 1000 }) // less than what has come of the message
	x.arrive(string(frame(ws.OpContinuation, true, nil)))
	if !bytes.HasSuffix(x.got, closeOf(wire.CodeTooLarge, "message too large")) {
		t.Errorf("a message that has become too large: written %q", x.got)
	}

	y := x.s.open("v")
	y.give(1 << 20)
	flood := strings.Repeat(string(text("x")), 30)
	y.arrive(flood)
	if u := y.s.hub.told("v"); u.limited != 0 {
		t.Fatalf("%d frames are refused without a limit", u.limited)
	}
	y.s.change(func(s *Settings) { s.FramesPerSecond = 5 })
	y.s.tick(20)
	if y.arrive(flood); !bytes.HasSuffix(y.got, closeOf(wire.CodePolicy, "rate")) {
		t.Errorf("frames beyond the new limit: written %q", y.got)
	}
}

func TestAQueueIsBoundedByTheSettingsOfTheMoment(t *testing.T) {
	x := newFakeServer(t, Options{Settings: Settings{QueueBytes: 8 << 10, SlowConsumer: DropNewest}}).open("u")
	big := strings.Repeat("x", 3<<10)
	for range 5 {
		x.push(big)
	}
	if st := x.s.Stats(); st.Dropped == 0 || st.SlowConsumers != 0 {
		t.Fatalf("%+v", st)
	}
	dropped := x.s.Stats().Dropped
	x.s.change(func(s *Settings) { s.QueueBytes = 64 << 10 })
	if x.push(big); x.s.Stats().Dropped != dropped {
		t.Error("dropped although there is room now")
	}
	x.s.change(func(s *Settings) { s.QueueBytes, s.SlowConsumer = 1<<10, Disconnect })
	if st := x.s.Stats(); st.SlowConsumers != 0 {
		t.Errorf("what waits already is no offence: %+v", st)
	}
	if x.push("x"); x.s.Stats().SlowConsumers != 1 {
		t.Errorf("%+v", x.s.Stats())
	}
}

// pingsIn counts pings within so many ticks, all of which are answered.
func (x *fakeSocket) pingsIn(ticks int) (n uint64) {
	before := x.s.Stats().PingsSent
	for range ticks {
		x.s.tick(1)
		x.give(1 << 20)
		x.arrive(string(frame(ws.OpPong, true, nil)))
	}
	return x.s.Stats().PingsSent - before
}

// A client may rest on the time that its welcome named: it takes a connection for dead that
// is silent for much longer.
func TestOpenConnectionsArePingedNoLessOftenThanTheyWereTold(t *testing.T) {
	const second = 10 // ticks
	x := newFakeServer(t, Options{Settings: Settings{Ping: 10 * time.Second, PingTimeout: time.Second}}).open("u")
	if n := x.pingsIn(60 * second); n < 5 || n > 7 {
		t.Fatalf("%d pings in a minute, want one every 10 s", n)
	}
	x.s.change(func(s *Settings) { s.Ping = time.Minute })
	if n := x.pingsIn(60 * second); n < 5 || n > 7 {
		t.Errorf("%d pings in a minute although its welcome said 10 s", n)
	}
	x.s.change(func(s *Settings) { s.Ping = 2 * time.Second })
	x.pingsIn(11 * second) // the one that is due already
	if n := x.pingsIn(60 * second); n < 28 || n > 31 {
		t.Errorf("%d pings in a minute, want one every 2 s", n)
	}
	if got := x.c.Ping(); got != 10*time.Second {
		t.Errorf("it was told %v", got)
	}

	own := x.s.connect(request("?user=v&ping=app,30"))
	own.c = x.s.hub.told("v").conn
	own.room = 1 << 20
	x.s.change(func(s *Settings) { s.Ping = time.Second })
	own.pingsIn(31 * second)
	before := len(bytes.Split(own.got, []byte(`{"type":"ping"}`)))
	own.pingsIn(60 * second)
	if n := len(bytes.Split(own.got, []byte(`{"type":"ping"}`))) - before; n > 3 {
		t.Errorf("%d pings in a minute to a client that asked for one every 30 s", n)
	}
}

func TestAnotherPingTimeoutDisturbsNoConnection(t *testing.T) {
	x := newFakeServer(t, Options{Settings: Settings{Ping: 2 * time.Second, PingTimeout: time.Second}}).open("u")
	for _, timeout := range []time.Duration{10 * time.Minute, 100 * time.Millisecond, 30 * time.Second} {
		for x.pingsIn(1) == 0 { // and its answer is still to be looked at
		}
		x.s.change(func(s *Settings) { s.PingTimeout = timeout })
		x.pingsIn(15)
		x.s.change(func(s *Settings) { s.PingTimeout = time.Second })
		x.pingsIn(10 * 601) // beyond what the longest one has set
	}
	if n := x.pingsIn(600); n < 28 || n > 31 || x.closed {
		t.Errorf("%d pings in a minute, want one every 2 s; closed %v", n, x.closed)
	}
}

func TestTheAgeOfAConnectionIsOfWhenItOpened(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{MaxAge: time.Hour}})
	old := s.open("u")
	s.change(func(s *Settings) { s.MaxAge = 2 * time.Second })
	young := s.open("v")
	old.give(1 << 20)
	young.give(1 << 20)
	s.tick(30)
	if closeFrom(old.got, CodeGoingAway) >= 0 && len(old.got) > 0 || closeFrom(young.got, CodeGoingAway) != 0 {
		t.Errorf("old %q, young %q", old.got, young.got)
	}
}
