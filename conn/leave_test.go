package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pushpod/conn/internal/netloop"
	"pushpod/conn/internal/wire"
)

const asking = "&goaway=1"

var goaway = textOf(`{"type":"goaway","within_ms":3000}`)

// noticeTicks are those from a goaway to the close.
const noticeTicks = int(3 * time.Second / netloop.Tick)

// wantGone gives the socket room, and holds that what was written begins with these frames
// and ends with a close 1001 that says when to come back within a second.
func (x *fakeSocket) wantGone(why string, frames ...[]byte) {
	x.t.Helper()
	x.give(1 << 20)
	before, ms := bytes.Join(frames, nil), -1
	at := closeFrom(x.got, CodeGoingAway)
	if !bytes.HasPrefix(x.got, before) || at != len(before) || at == len(x.got) {
		x.t.Fatalf("%s: written %.300q, want %.300q and a close 1001", why, x.got, before)
	}
	reason := string(x.got[at+4:])
	if _, err := fmt.Sscanf(reason, "retry_ms=%d", &ms); err != nil || ms < 0 || ms > 1000 {
		x.t.Fatalf("%s: closed with %q", why, reason)
	}
}

// drained is a drain under way.
type drained struct {
	cancel context.CancelFunc
	result chan error
}

func (s *fakeServer) drain(d time.Duration) *drained {
	ctx, cancel := context.WithCancel(context.Background())
	r := &drained{cancel: cancel, result: make(chan error, 1)}
	var running sync.WaitGroup
	running.Go(func() { r.result <- s.Drain(ctx, d) })
	s.t.Cleanup(func() { cancel(); running.Wait() })
	return r
}

// wrote waits until something was written to the socket, which takes all from now on.
func (x *fakeSocket) wrote(why string) {
	x.t.Helper()
	eventually(x.t, why, func() bool {
		l := x.s.loops[0]
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(x.got) > 0
	})
}

func TestWhoHasAskedForItIsToldThreeSecondsBeforeAnAgedConnectionIsClosed(t *testing.T) {
	const age = 100 // ticks, of which a tenth is jitter
	s := newFakeServer(t, Options{Settings: Settings{MaxAge: age * netloop.Tick, Ping: time.Hour}})
	x, other := s.open("u"+asking), s.open("v")
	x.give(1 << 20)
	other.give(1 << 20)
	for s.ticks < age*12/10 && len(x.got) == 0 {
		s.tick(1)
	}
	told := s.ticks
	if x.want("told", goaway); told < age*9/10-noticeTicks-1 || told > age*11/10-noticeTicks+2 {
		t.Errorf("told after %d ticks", told)
	}
	if s.tick(noticeTicks - 2); len(x.got) > len(goaway) {
		t.Fatalf("closed less than 3 s after that: %q", x.got)
	}
	s.tick(4)
	x.wantGone("3 s later", goaway)
	s.tick(age)
	other.wantGone("who has not asked is not told")
	if n := s.Stats().Goaways; n != 1 {
		t.Errorf("%d are told", n)
	}
}

// An age of less than the notice is no reason not to give it.
func TestAShortAgeStillHasItsNotice(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{MaxAge: time.Second, Ping: time.Hour}})
	x := s.open("u" + asking)
	s.tick(2)
	x.want("told at once", goaway)
	s.tick(noticeTicks + 2)
	x.wantGone("3 s later", goaway)
}

func TestOnlyOneIsAskedForByGoaway(t *testing.T) {
	for value, status := range map[string]int{"1": 101, "0": 400, "": 400, "true": 400, "11": 400} {
		x := newFakeServer(t, Options{}).connect(request("?user=u&goaway=" + value))
		if !strings.HasPrefix(string(x.got), fmt.Sprint("HTTP/1.1 ", status)) {
			t.Errorf("goaway=%s: answered %q", value, x.got)
		}
	}
}

// What waits when the notice is given goes out before it, and what comes later behind it,
// before the close.
func TestANoticeHasItsPlaceInTheQueue(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{Ping: time.Hour}})
	x := s.open("u" + asking)
	x.push("first")
	send(s.d, Push{}, []byte("for everyone"))
	s.d.Flush() // it stands in the log, and is not swept
	if !x.c.leave() {
		t.Fatal("closed without a notice")
	}
	x.push("meanwhile")
	s.tick(noticeTicks + 2)
	x.wantGone("in order", textOf("first"), textOf("for everyone"), goaway, textOf("meanwhile"))
	if st := s.Stats(); st.Written != 3 || st.Closed != 0 {
		t.Errorf("a notice is in the books: %+v", st)
	}
}

func TestADrainTellsWhoHasAskedForItAndClosesTheOthersAtOnce(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{Ping: time.Hour}})
	x, other, gone := s.open("u"+asking), s.open("v"), s.open("w"+asking)
	for _, one := range []*fakeSocket{x, other, gone} {
		one.give(1 << 20)
	}
	d := s.drain(0)
	x.wrote("told")
	other.wrote("closed")
	gone.wrote("told, too")
	other.wantGone("who has not asked")
	x.want("who has asked", goaway)
	gone.arrive(string(closeFrame(wire.CodeNormal, "")))
	gone.want("closed by itself", goaway, closeOf(wire.CodeNormal, ""))
	select {
	case err := <-d.result:
		t.Fatalf("the drain has ended before the notice is over: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	other.arrive(string(closeFrame(CodeGoingAway, "")))
	s.tick(noticeTicks + 2)
	x.wantGone("3 s later", goaway)
	x.arrive(string(closeFrame(CodeGoingAway, "")))
	if err := <-d.result; err != nil || s.Len() != 0 { // well before 3 s of the clock are over
		t.Errorf("%v, and %d connections are left", err, s.Len())
	}
}

func TestADrainIsGivenUpAtOnce(t *testing.T) {
	for name, begin := range map[string]func(*fakeServer) *fakeSocket{
		"between two turns": func(s *fakeServer) *fakeSocket { s.open("a"); return s.open("b") },
		"after the notice":  func(s *fakeServer) *fakeSocket { return s.open("a" + asking) },
	} {
		s := newFakeServer(t, Options{Settings: Settings{Ping: time.Hour}})
		begin(s)
		d := s.drain(time.Hour)
		time.Sleep(20 * time.Millisecond)
		d.cancel()
		if err := <-d.result; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestADrainEndsWhenNobodyIsLeft(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{Ping: time.Hour}})
	first, second := s.open("a"), s.open("b")
	first.give(1 << 20)
	second.give(1 << 20)
	d := s.drain(time.Hour)
	first.wrote("closed")
	first.arrive(string(closeFrame(CodeGoingAway, "")))
	second.arrive(string(closeFrame(wire.CodeNormal, "")))
	select {
	case err := <-d.result:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
	}
}

// Turns are spread over the drain; notices so that the last one is over by its end.
func TestTheTurnsOfADrainAreSpread(t *testing.T) {
	start := time.Now()
	for _, c := range []struct {
		n        int
		over     time.Duration
		turns    []time.Duration
		untilEnd bool
	}{
		{n: 4, over: 12 * time.Second, turns: []time.Duration{0, 3 * time.Second, 6 * time.Second, 9 * time.Second}},
		{n: 1, over: time.Hour, turns: []time.Duration{0}},
		{n: 3, over: 0, turns: []time.Duration{0, 0, 0}},
	} {
		s := schedule{conns: make([]*Conn, c.n)}
		s.spread(start, c.over)
		var turns []time.Duration
		for !s.empty() {
			turns = append(turns, s.due().Sub(start))
			s.take()
		}
		if !slices.Equal(turns, c.turns) {
			t.Errorf("%d over %v: %v, want %v", c.n, c.over, turns, c.turns)
		}
	}
}

// One that is still registering is told behind its welcome.
func TestADrainTellsWhoIsJustBeingLetIn(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{Ping: time.Hour}}, func(_ *Options, h *fakeHub) { h.hold = make(chan struct{}) })
	x := s.connect(request("?user=u" + asking))
	x.give(1 << 20)
	if !s.hub.told("u").conn.leave() {
		t.Error("closed without a notice")
	}
	close(s.hub.hold)
	s.hub.pending.Wait()
	s.tick(3)
	if want := string(textOf(welcome)) + string(goaway); !strings.HasSuffix(string(x.got), want) {
		t.Fatalf("written %q", x.got)
	}
	before := len(x.got)
	s.tick(noticeTicks + 2)
	if closeFrom(x.got[before:], CodeGoingAway) != 0 {
		t.Errorf("then written %q", x.got[before:])
	}
}

// A connection whose place another one has taken is sent what is addressed to it, is not told, and goes
// by itself, or after a while.
func TestAReplacedConnectionIsKeptForAWhile(t *testing.T) {
	for _, query := range []string{"", asking} {
		s := newFakeServer(t, Options{Settings: Settings{Ping: time.Hour, Renew: time.Second}})
		x := s.open("u" + query)
		x.c.MarkReplaced()
		x.push("still")
		s.tick(int(replacedFor/netloop.Tick) - 2)
		if x.want("for a minute", textOf("still")); !x.c.LeavesLocked() {
			t.Error("it is not known that it is replaced")
		}
		s.tick(4)
		x.wantGone("then", textOf("still"))
	}
	s := newFakeServer(t, Options{Settings: Settings{Ping: time.Hour, MaxAge: 10 * time.Second}})
	x := s.open("u" + asking)
	x.give(1 << 20)
	x.c.MarkReplaced()
	s.tick(10*11 + 2)
	x.wantGone("its age comes first, and it is not told")
}

// In a drain a replaced connection is closed 3 s later, so that what was addressed to it
// just before arrives; one that was told already, 3 s after that.
func TestADrainLeavesTimeToThoseWhoHaveAnother(t *testing.T) {
	s := newFakeServer(t, Options{Settings: Settings{Ping: time.Hour}})
	x, told := s.open("u"), s.open("v"+asking)
	x.c.MarkReplaced()
	if !told.c.leave() {
		t.Fatal("it is not told")
	}
	s.tick(noticeTicks / 2)
	if !x.c.leave() || !told.c.leave() {
		t.Fatal("closed at once")
	}
	x.want("nothing is said")
	s.tick(noticeTicks/2 + 2)
	told.wantGone("3 s after it was told", goaway)
	x.want("not yet")
	s.tick(noticeTicks / 2)
	x.wantGone("after 3 s")
}
