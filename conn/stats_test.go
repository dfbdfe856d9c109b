package conn

import (
	"testing"
	"time"

	"pushpod/conn/internal/netloop"
)

func TestWhatGoesOverTheWireIsCounted(t *testing.T) {
	s := startServer(t, Options{Loops: 1})
	in := request("?user=u") + string(text("one")) + string(text("two"))
	c := s.dial(t)
	c.send([]byte(in))
	c.wantUpgrade()
	c.wantText("the welcome", welcome)
	head := s.Stats().WrittenBytes - uint64(len(textOf(welcome)))
	s.push(t, Push{}, "three", "u")
	s.flush()
	c.wantText("a push", "three")
	eventually(t, "the frames are received", func() bool { return s.Stats().FramesReceived == 2 })
	st := s.Stats()
	if st.BytesReceived != uint64(len(in)) || st.WrittenBytes != head+uint64(len(textOf(welcome))+len(textOf("three"))) || head < 100 {
		t.Errorf("%d bytes received, %d written", st.BytesReceived, st.WrittenBytes)
	}
	if netloop.Supported && (st.LoopTurns == 0 || st.LoopEvents < st.LoopTurns) {
		t.Errorf("%d events in %d turns", st.LoopEvents, st.LoopTurns)
	}
	if st.Writes != 2 || st.Open != 1 || st.Handshakes[101] != 1 {
		t.Errorf("%+v", st)
	}
}

func TestTheAgeOfMessagesIsKnownHoweverTheyAreSent(t *testing.T) {
	const now = 1_700_000_000_000
	s := newFakeServer(t, Options{Now: func() int64 { return now }})
	x := s.open("u")
	age := func(ms int64) Push { return Push{At: now - ms} }
	x.room = 50
	x.message(age(1), "to one")
	s.d.Plain(x.c, now-1, []byte("plain"))
	send(s.d, age(1), []byte("to all, behind another"))
	flushAll(s.d)
	send(s.d, age(1), []byte("to all"))
	send(s.d, age(20), []byte("to all, in part"))
	send(s.d, Push{}, []byte("of unknown age"))
	flushAll(s.d)
	x.give(1000)
	st := s.Stats()
	if st.Written != 6 || st.Latency[0] != 4 || st.Latency[4] != 1 || st.LatencySum != (24*time.Millisecond).Seconds() {
		t.Errorf("%d are written; by age %d, in all %v s", st.Written, st.Latency, st.LatencySum)
	}
}
