package conn

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pushpod/conn/internal/wire"
)

func TestTheOldestAreDroppedBehindTheFrameThatIsBegun(t *testing.T) {
	x := newFakeServer(t, Options{Settings: Settings{QueueBytes: 4 << 10, SlowConsumer: DropOldest}}).open("u")
	block := func(s string) string { return strings.Repeat(s, 700) } // which has a block of 1 KiB for itself
	x.give(3)
	x.push(block("0"))
	x.push(block("1"), block("2"), block("3"))
	large := strings.Repeat("4", 1500)
	x.push(large) // room for it is made by two
	if d := x.s.Stats().Dropped; d != 2 {
		t.Fatalf("%d were dropped", d)
	}
	x.give(2)
	x.want("the frame that is begun stays whole, and the first", textOf(block("0")), textOf(block("3")), textOf(large))
	if st := x.s.Stats(); st.Written != 3 || st.Dropped != 2 || st.QueuedBytes != 0 || st.QueuedConns != 0 {
		t.Errorf("%+v", st)
	}
}

// What waits is bounded by the memory that it takes, whatever it is made of, and as much
// of it waits as fits.
func TestTheQueueIsBoundedByWhatItTakes(t *testing.T) {
	const limit = 16 << 10
	for name, p := range map[string]Push{"for one": {}, "collapsing": {Collapse: "k"}, "expiring": {Expires: 1 << 60}} {
		for _, policy := range []Policy{DropNewest, DropOldest} {
			for _, size := range []int{1, 16, 100, 500, 600, 900, 1100, 5000} {
				x := newFakeServer(t, Options{Settings: Settings{QueueBytes: limit, SlowConsumer: policy}}).open("u")
				for i := range 2 * limit / size {
					if p.Collapse != "" {
						p.Collapse = fmt.Sprint(i) // which takes nobody's place
					}
					text := strings.Repeat("x", size)
					if name == "for one" {
						x.s.d.Plain(x.c, 0, []byte(text))
					} else {
						f := x.s.d.Frame(p, []byte(text))
						x.s.d.To(x.c, f)
						f.Release()
					}
					if flushAll(x.s.d); x.c.out.Memory() > limit {
						t.Fatalf("%s, %d bytes each: %d bytes are taken", name, size, x.c.out.Memory())
					}
				}
				took, st := x.c.out.Memory(), x.s.Stats()
				if took < limit-size-2<<10 || st.Dropped == 0 {
					t.Errorf("%s, %d bytes each: %d bytes are taken of %d, %d messages were dropped", name, size, took, limit, st.Dropped)
				}
				t.Logf("%s, %d bytes each, policy %d: %d wait", name, size, policy, uint64(2*limit/size)-st.Dropped)
			}
		}
	}
}

func TestALoneFrameThatIsBegunIsNotDropped(t *testing.T) {
	x := newFakeServer(t, Options{Settings: Settings{QueueBytes: 20, SlowConsumer: DropOldest}}).open("u")
	x.give(1)
	x.push("begun, and alone in it")
	x.push("does not fit") // and nothing can be dropped for it
	x.want("the one that is begun", textOf("begun, and alone in it"))
}

func TestThePeersCloseIsAnsweredBehindTheFrameThatIsBegun(t *testing.T) {
	x := newFakeServer(t, Options{}).open("u")
	x.give(3)
	x.push("begun", "not wanted", "any more")
	x.arrive(string(closeFrame(wire.CodeNormal, "bye")))
	x.want("what is begun is finished", textOf("begun"), closeOf(wire.CodeNormal, ""))
	if st := x.s.Stats(); st.Written != 1 || st.Closed != 2 || st.QueuedBytes != 0 || !x.closed {
		t.Errorf("%+v", st)
	}
}

func TestAClosingMessageThatCollapsesIsTheLastOne(t *testing.T) {
	for name, waiting := range map[string][]string{"alone": {"k"}, "before another": {"k", ""}, "behind another": {"", "k"}, "between": {"", "k", ""}} {
		t.Run(name, func(t *testing.T) {
			x := newFakeServer(t, Options{}).open("u")
			x.push("waits")
			want := [][]byte{textOf("waits")}
			for _, collapse := range waiting {
				x.message(Push{Collapse: collapse}, "one")
				if collapse == "" {
					want = append(want, textOf("one"))
				}
			}
			x.message(Push{Collapse: "k", Close: true, CloseCode: 4500, Reason: "go"}, "last")
			x.push("too late")
			x.want("nothing comes behind the close frame", append(want, textOf("last"), closeOf(4500, "go"))...)
			if st := x.s.Stats(); st.Written != uint64(len(want)+1) || st.Collapsed != 1 || st.Closed != 1 || st.QueuedBytes != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestACollapsingMessageTakesItsPlaceBetweenChunks(t *testing.T) {
	x := newFakeServer(t, Options{}).open("u")
	x.push("one", "two")
	x.message(Push{Collapse: "k"}, "old")
	x.push("three", "four")
	x.message(Push{Collapse: "k"}, "newer, and longer")
	x.push("five")
	x.want("in the old one's place", textOf("one"), textOf("two"), textOf("newer, and longer"), textOf("three"), textOf("four"), textOf("five"))
}

// large is so much that the Deliverer queues it at once, and does not write it yet.
var large = strings.Repeat("x", batchBytes)

// What was not tried to be written yet says nothing about the peer.
func TestAReceiptEndsNobodyWhoTakesAll(t *testing.T) {
	x := newFakeServer(t, Options{Settings: Settings{QueueBytes: 1 << 10}}).open("u")
	x.room = 1 << 20
	send(x.s.d, Push{}, []byte(large), x.c) // the first one, so it has no bound
	x.c.Send([]byte("receipt"))
	flushAll(x.s.d)
	x.want("both", textOf(large), textOf("receipt"))
	if st := x.s.Stats(); st.SlowConsumers != 0 || st.Written != 1 {
		t.Errorf("%+v", st)
	}
}

func TestACloseBringsOutTheClosingMessageForEveryone(t *testing.T) {
	x := newFakeServer(t, Options{}).open("u")
	x.room = 1 << 20
	send(x.s.d, Push{Close: true, CloseCode: 4500}, []byte(large))
	x.c.Close(CodeGoingAway, "") // before a sweep has come here
	flushAll(x.s.d)
	x.want("the producer's close", textOf(large), closeOf(4500, ""))
	if st := x.s.Stats(); st.Written != 1 || st.QueuedBytes != 0 {
		t.Errorf("%+v", st)
	}
}

func TestWhatIsForEveryoneGoesOnAtAFramesEnd(t *testing.T) {
	x := newFakeServer(t, Options{}).open("u")
	x.room = len(textOf("one"))
	send(x.s.d, Push{}, []byte("one"))
	send(x.s.d, Push{}, []byte("two"))
	flushAll(x.s.d)
	if st := x.s.Stats(); st.Written != 1 || st.QueuedBytes != int64(len(textOf("two"))) {
		t.Errorf("%+v", st)
	}
	x.want("both", textOf("one"), textOf("two"))
}

// registering returns a connection that is not answered, and what it is told by it.
func registering(t *testing.T, set ...func(*Options, *fakeHub)) (x *fakeSocket, accept func()) {
	s := newFakeServer(t, Options{}, append(set, func(_ *Options, h *fakeHub) { h.hold = make(chan struct{}) })...)
	x = s.connect(request("?user=u"))
	x.c = s.hub.told("u").conn
	return x, func() {
		close(s.hub.hold)
		s.hub.pending.Wait()
		_, rest, _ := bytes.Cut(x.got, []byte("\r\n\r\n"))
		x.got = rest
	}
}

func TestAClosingMessageBeforeTheWelcomeIsTheLastOne(t *testing.T) {
	x, accept := registering(t)
	x.message(Push{Close: true, CloseCode: 4500}, "leave")
	x.push("too late")
	accept()
	x.want("the welcome, and the close", textOf(welcome), textOf("leave"), closeOf(4500, ""))
	if st := x.s.Stats(); st.Written != 1 || st.Closed != 1 {
		t.Errorf("%+v", st)
	}
}

func TestMessagesBeforeTheWelcomeWaitForIt(t *testing.T) {
	x, accept := registering(t, echoing)
	x.push("early")
	send(x.s.d, Push{}, []byte("early for all"))
	flushAll(x.s.d)
	x.arrive(string(text("before the answer")))
	accept()
	x.want("the welcome, what waited, and the answer to what came early", textOf(welcome), textOf("early"), textOf("early for all"), textOf("before the answer"))
	if st := x.s.Stats(); st.Written != 2 {
		t.Errorf("%+v", st)
	}
}

func TestAPeerThatGoesAwayWhileItRegistersIsForgotten(t *testing.T) {
	x, accept := registering(t)
	x.push("early")
	x.end()
	told := x.s.hub.told("u").closed
	if accept(); !told || !x.closed || x.s.Stats().Closed != 1 {
		t.Errorf("told %v, closed %v, %+v", told, x.closed, x.s.Stats())
	}
}

func TestWhatIsForEveryoneIsInNoBookOfARefusedRequest(t *testing.T) {
	s := newFakeServer(t, Options{})
	s.open("u").room = 1 << 20
	send(s.d, Push{}, []byte("for all"))
	flushAll(s.d)
	s.connect("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
	if st := s.Stats(); st.Written != 1 || st.Closed != 0 {
		t.Errorf("%+v", st)
	}
}

func TestWhatIsForEveryoneIsInTheBooksOfOneThatIsRefused(t *testing.T) {
	x, accept := registering(t)
	send(x.s.d, Push{}, []byte(large)) // no sweep has come here yet
	x.s.Answer(Answer{Conn: x.c, Refusal: &Refusal{Status: 503, Error: "unavailable", Reason: "Redis"}})
	flushAll(x.s.d)
	if accept(); x.s.Stats().Closed != 1 {
		t.Errorf("%+v", x.s.Stats())
	}
}

// 16 KiB of what is no message wait beside a full queue, and take twice as much at most:
// half of a block may be left empty.
func TestControlFramesStayWithinTheirOwnBound(t *testing.T) {
	const limit = 64 << 10
	x := newFakeServer(t, Options{Settings: Settings{QueueBytes: limit, SlowConsumer: DropNewest}}).open("u")
	for range limit >> 10 {
		x.push(strings.Repeat("x", 600)) // which has a block of 1 KiB for itself
	}
	for i := 0; x.s.Stats().SlowConsumers == 0; i++ {
		if took := x.c.out.Memory(); i == 100 || took > limit+2*controlSlack {
			t.Fatalf("after %d of them what waits takes %d bytes", i, took)
		}
		x.c.Send([]byte(strings.Repeat("y", 900)))
	}
	if x.c.state == stateOpen {
		t.Error("it is still open")
	}
}

// Whom too much waits for is told to the owner, with what follows.
func TestTheOwnerIsToldOfASlowConsumer(t *testing.T) {
	for _, policy := range []Policy{Disconnect, DropNewest, DropOldest} {
		x := newFakeServer(t, Options{Settings: Settings{QueueBytes: 4 << 10, SlowConsumer: policy}}).open("u")
		if o := x.s.hub.told("u"); !o.opened || len(o.slow) > 0 {
			t.Errorf("%v: before: opened %v, slow %v", policy, o.opened, o.slow)
		}
		for range 10 {
			x.push(strings.Repeat("x", 600))
		}
		told, st := x.s.hub.told("u").slow, x.s.Stats()
		if want := policy.String() + " true"; len(told) == 0 || told[0] != want {
			t.Errorf("the owner was told %q, want %q", told, want)
		}
		if st.Dropped == 0 || policy == Disconnect && len(told) != 1 {
			t.Errorf("%v: told %d times, %d messages dropped", policy, len(told), st.Dropped)
		}
	}
}
