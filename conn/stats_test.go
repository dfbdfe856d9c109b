package conn

import (
	"testing"

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
