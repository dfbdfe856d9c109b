package conn

import (
	"bytes"
	"encoding/json"
	"testing"
)

// sipping is an open connection whose socket takes as many bytes as it is told.
type sipping struct {
	*modelSocket
	t *testing.T
	s *Server
	d *Deliverer
	c *Conn
}

type sippingTransport struct {
	sink
	socket *modelSocket
}

func (x sippingTransport) write(_ *Conn, b []byte) (int, error) { return x.socket.write(b) }

func newSipping(t *testing.T, o Options) *sipping {
	o.Handler, o.Loops = newFakeHub(), 1
	s := New(o)
	s.inline = true
	l := s.loops[0]
	x := &sipping{modelSocket: &modelSocket{}, t: t, s: s, d: s.NewDeliverer()}
	l.io = sippingTransport{socket: x.modelSocket}
	x.c = l.add(-1, [16]byte{})
	s.conns.Add(1)
	l.pending--
	l.open++
	x.c.state = stateOpen
	return x
}

// push sends texts to the connection alone.
func (x *sipping) push(texts ...string) {
	for _, s := range texts {
		x.d.Plain(x.c, nil, []byte(s[:len(s)-1]), s[len(s)-1], 0)
	}
	x.flush()
}

// message sends a message as one with anything special to it is sent.
func (x *sipping) message(p Push, text string) {
	p.Size = len(text)
	m, b := x.d.Message(p)
	_ = append(b, text...)
	x.d.To(x.c, m)
	x.d.Done(m)
	x.flush()
}

func (x *sipping) flush() {
	x.d.Flush()
	for x.d.Work() {
	}
}

// take gives the socket room for n bytes more.
func (x *sipping) take(n int) {
	l := x.c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	x.room += n
	if x.c.has(flagWantWrite) {
		x.c.writable()
	}
}

// want holds that these frames, and nothing else, were written from the beginning on.
func (x *sipping) want(why string, frames ...[]byte) {
	x.t.Helper()
	x.take(1 << 20)
	if want := bytes.Join(frames, nil); !bytes.Equal(x.written, want) {
		x.t.Fatalf("%s: written %q, want %q", why, x.written, want)
	}
}

func textOf(s string) []byte { return appendFrame(nil, opText, []byte(s)) }

func TestTheOldestAreDroppedBehindTheFrameThatIsBegun(t *testing.T) {
	x := newSipping(t, Options{QueueBytes: 36, SlowConsumer: DropOldest})
	x.take(3)
	x.push("begun")
	x.push("second", "third", "fourth", "fifth") // one chunk, 34 bytes
	if k := x.c.out.head.k; k == nil || k.left() != 5 || x.c.out.off != 3 {
		t.Fatalf("waiting: %+v", x.c.out)
	}
	x.push("the sixth") // room for it is made by two
	if d := x.s.Stats().Dropped; d != 2 {
		t.Fatalf("%d were dropped", d)
	}
	x.take(2)
	x.want("the frame that is begun stays whole, and the first", textOf("begun"), textOf("fourth"), textOf("fifth"), textOf("the sixth"))
	if st := x.s.Stats(); st.Written != 4 || st.Dropped != 2 || st.QueuedBytes != 0 || st.QueuedConns != 0 {
		t.Errorf("%+v", st)
	}
}

func TestALoneFrameThatIsBegunIsNotDropped(t *testing.T) {
	x := newSipping(t, Options{QueueBytes: 20, SlowConsumer: DropOldest})
	x.take(1)
	x.push("begun, and alone in it")
	x.push("does not fit") // and nothing can be dropped for it
	x.want("the one that is begun", textOf("begun, and alone in it"))
}

func TestThePeersCloseIsAnsweredBehindTheFrameThatIsBegun(t *testing.T) {
	x := newSipping(t, Options{})
	x.take(3)
	x.push("begun", "not wanted", "any more")
	l := x.c.loop
	l.mu.Lock()
	x.c.peerClosed(CodeNormal)
	l.mu.Unlock()
	x.want("what is begun is finished", textOf("begun"), appendClose(nil, CodeNormal, ""))
	if st := x.s.Stats(); st.Written != 1 || st.Closed != 2 || st.QueuedBytes != 0 || x.c.state != stateClosed {
		t.Errorf("%+v", st)
	}
}

func TestAClosingMessageThatCollapsesIsTheLastOne(t *testing.T) {
	for name, waiting := range map[string][]string{"alone": {"=k"}, "before another": {"=k", ""}, "behind another": {"", "=k"}, "between": {"", "=k", ""}} {
		t.Run(name, func(t *testing.T) {
			x := newSipping(t, Options{})
			x.push("waits")
			want := [][]byte{textOf("waits")}
			for _, collapse := range waiting {
				x.message(Push{Collapse: collapse}, "one"+collapse)
				if collapse == "" {
					want = append(want, textOf("one"))
				}
			}
			x.message(Push{Collapse: "=k", Close: true, CloseCode: 4500, Reason: "go"}, "last")
			x.push("too late")
			x.want("nothing comes behind the close frame", append(want, textOf("last"), appendClose(nil, 4500, "go"))...)
			if st := x.s.Stats(); st.Written != uint64(len(want)+1) || st.Collapsed != 1 || st.Closed != 1 || st.QueuedBytes != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestACollapsingMessageTakesItsPlaceBetweenChunks(t *testing.T) {
	x := newSipping(t, Options{})
	x.push("one", "two")
	x.message(Push{Collapse: "=k"}, "old")
	x.push("three", "four")
	x.message(Push{Collapse: "=k"}, "newer, and longer")
	x.push("five")
	x.want("in the old one's place", textOf("one"), textOf("two"), textOf("newer, and longer"), textOf("three"), textOf("four"), textOf("five"))
}

func TestWhatIsPutInFrontComesFirst(t *testing.T) {
	for _, before := range [][]string{nil, {"one"}, {"one", "two"}} {
		x := newSipping(t, Options{})
		l := x.c.loop
		var want [][]byte
		l.mu.Lock()
		for _, s := range before {
			x.c.push(&Message{frame: textOf(s)})
			want = append(want, textOf(s))
		}
		x.c.pushFront(&Message{frame: textOf("front"), control: true})
		x.c.plain(nil, []byte("behin"), 'd', 0)
		x.c.flush()
		l.mu.Unlock()
		x.want("the front, and what waited", append(append([][]byte{textOf("front")}, want...), textOf("behind"))...)
	}
}

func TestAQueueOfChunksGoesOnElsewhere(t *testing.T) {
	const now, begun = 1_700_000_000_000, 4
	clock := func() int64 { return now }
	x := newSipping(t, Options{Now: clock})
	x.take(begun)
	for i, at := range []int64{now - 2, 0, now - 3000, now - 400} {
		x.d.Plain(x.c, []byte(`{"n":`), []byte{byte('0' + i)}, '}', at)
	}
	x.flush()
	x.message(Push{At: now - 7, Expires: now + 1}, "with others")
	l := x.c.loop
	l.mu.Lock()
	b, err := x.c.snapshot()
	l.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	want := [][]byte{textOf(`{"n":0}`), textOf(`{"n":1}`), textOf(`{"n":2}`), textOf(`{"n":3}`), textOf("with others")}
	if s.Written != begun || len(s.Queue) != len(want) {
		t.Fatalf("the snapshot holds %d messages, %d bytes written", len(s.Queue), s.Written)
	}
	for i, q := range s.Queue {
		if at := []int64{now - 2, 0, now - 3000, now - 400, now - 7}[i]; !bytes.Equal(q.Frame, want[i]) || q.At != at {
			t.Errorf("message %d is %q, published %d, want %q, %d", i, q.Frame, q.At, want[i], at)
		}
	}

	y := newSipping(t, Options{Now: clock})
	yl := y.c.loop
	yl.mu.Lock()
	yl.pending++ // as Adopt leaves it
	yl.open--
	err = y.c.restore(b)
	yl.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	y.push("new")
	y.take(1 << 20)
	if got, want := append(x.written, y.written...), append(bytes.Join(want, nil), textOf("new")...); !bytes.Equal(got, want) {
		t.Errorf("the peer gets %q, want %q", got, want)
	}
	st := y.s.Stats()
	if st.Written != 6 || st.QueuedBytes != 0 || st.LatencySum != 3.409 {
		t.Errorf("%+v", st)
	}
}

// What was not tried to be written yet says nothing about the peer.
func TestAReceiptEndsNobodyWhoTakesAll(t *testing.T) {
	x := newSipping(t, Options{QueueBytes: 1 << 10})
	x.room = 1 << 20
	text := string(bytes.Repeat([]byte("x"), 64<<10))
	m, b := x.d.Message(Push{Size: len(text)})
	_ = append(b, text...)
	x.d.To(x.c, m) // the first one, so it has no bound; it is not flushed yet
	x.d.Done(m)
	x.c.Send([]byte("receipt"))
	x.flush()
	x.want("both", textOf(text), textOf("receipt"))
	if st := x.s.Stats(); st.SlowConsumers != 0 || st.Written != 1 {
		t.Errorf("%+v", st)
	}
}

func TestACloseBringsOutTheClosingMessageForEveryone(t *testing.T) {
	x := newSipping(t, Options{})
	x.room = 1 << 20
	m, b := x.d.Message(Push{Size: 5, Close: true, CloseCode: 4500})
	_ = append(b, "leave"...)
	x.d.All(m)
	x.d.Done(m)
	x.c.Close(CodeGoingAway, "") // before a sweep has come here
	x.flush()
	x.want("the producer's close", textOf("leave"), appendClose(nil, 4500, ""))
	if st := x.s.Stats(); st.Written != 1 || st.QueuedBytes != 0 {
		t.Errorf("%+v", st)
	}
}
