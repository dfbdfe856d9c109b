package sendq

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

// written takes all that Buffers offers, at most so many bytes at once, and
// returns it.
func written(q *Queue, p *Pool, now int64, atOnce int) string {
	var out strings.Builder
	for {
		q.DropLate(p, now)
		var bufs [16][]byte
		n, size := q.Buffers(now, bufs[:])
		if n == 0 {
			return out.String()
		}
		left, took := size, min(atOnce, size)
		for _, b := range bufs[:n] {
			out.Write(b[:min(len(b), max(0, took-(size-left)))])
			left -= len(b)
		}
		if left != 0 {
			panic(fmt.Sprintf("%d bytes, said to be %d", size-left, size))
		}
		q.Took(p, took, now)
	}
}

func newQueue() (*Pool, *Queue) {
	p := new(Pool)
	return p, p.Queue()
}

func text(s string) *Frame { return NewFrame([]byte(s)) }

func TestFramesLeaveInOrderWhateverTheyAreMadeOf(t *testing.T) {
	for _, atOnce := range []int{1, 2, 3, 7, 100, 1 << 20} {
		p, q := newQueue()
		large := strings.Repeat("L", 3*blockBytes)
		var want strings.Builder
		for i := range 200 {
			private := fmt.Sprintf("<private %d>", i)
			q.Append(p, i%5 == 0, 0, []byte(private[:3]), []byte(private[3:]))
			want.WriteString(private)
			if i%3 == 0 {
				q.Push(p, text(large))
				want.WriteString(large)
			}
		}
		if q.Bytes() != want.Len() || p.Bytes != int64(want.Len()) {
			t.Fatalf("%d bytes wait, want %d", q.Bytes(), want.Len())
		}
		if got := written(q, p, 0, atOnce); got != want.String() {
			t.Errorf("%d at once: other bytes, or in another order", atOnce)
		}
		if p.Messages[Written] != 160+67 || !q.Empty() || p.Bytes != 0 {
			t.Errorf("%d at once: %v are counted, %d bytes wait", atOnce, p.Messages, p.Bytes)
		}
		p.Give(q)
		if p.slabs[0].used != 0 {
			t.Errorf("%d blocks are still in use", p.slabs[0].used)
		}
	}
}

func TestAMessageThatIsTooLateIsNotWritten(t *testing.T) {
	p, q := newQueue()
	late := func(s string, at int64) *Frame { f := text(s); f.Expires = at; return f }
	q.Push(p, late("a", 10))
	q.Push(p, late("b", 20))
	q.Append(p, false, 0, []byte("c"))
	q.Push(p, late("d", 10))
	q.Append(p, false, 0, []byte("e"))
	if got := written(q, p, 10, 100); got != "abcde" {
		t.Errorf("at its last millisecond: %q", got)
	}
	q.Push(p, late("a", 10))
	q.Append(p, false, 0, []byte("c"))
	q.Push(p, late("d", 10))
	q.Append(p, false, 0, []byte("e"))
	if got := written(q, p, 11, 100); got != "ce" || p.Messages[Expired] != 2 {
		t.Errorf("later: %q, %v", got, p.Messages)
	}
}

func TestAFrameThatIsBegunIsFinished(t *testing.T) {
	for name, add := range map[string]func(*Pool, *Queue){
		"private": func(p *Pool, q *Queue) { q.Append(p, false, 0, []byte("begun")) },
		"shared":  func(p *Pool, q *Queue) { f := text("begun"); f.Collapse, f.Expires = "k", 5; q.Push(p, f) },
	} {
		p, q := newQueue()
		add(p, q)
		q.Append(p, false, 0, []byte("dropped"))
		q.Append(p, true, 0, []byte("control"))
		var bufs [4][]byte
		q.Buffers(0, bufs[:])
		q.Took(p, 2, 0)
		newer := text("newer")
		newer.Collapse = "k"
		if q.Collapse(p, newer, 1000) {
			t.Errorf("%s: a frame that is begun was replaced", name)
		}
		if !q.DropOldest(p) || q.DropOldest(p) {
			t.Errorf("%s: dropped something else than the one message that is not begun", name)
		}
		if q.Empty() {
			t.Errorf("%s: what is begun and control frames are forgotten", name)
		}
		if got := written(q, p, 100, 100); got != "guncontrol" {
			t.Errorf("%s: %q goes out behind what was begun", name, got)
		}
		if p.Messages != [Fates]uint64{Written: 1, Dropped: 1} || !q.Empty() || p.Bytes != 0 {
			t.Errorf("%s: %v", name, p.Messages)
		}
	}
}

func TestANewerMessageTakesTheOldersPlace(t *testing.T) {
	p, q := newQueue()
	keyed := func(s string) *Frame { f := text(s); f.Collapse = "key"; return f }
	q.Append(p, false, 0, []byte("1"))
	q.Push(p, keyed("old"))
	q.Append(p, false, 0, []byte("2"))
	if !q.Collapse(p, keyed("newer"), 1000) {
		t.Fatal("not replaced")
	}
	other := text("x")
	other.Collapse = "another key"
	if q.Collapse(p, other, 1000) {
		t.Error("replaced a message with another key")
	}
	closing := keyed("close")
	closing.Closes = true
	if q.Collapse(p, closing, 1000) {
		t.Error("a closing message took a place in the middle")
	}
	q.Push(p, closing)
	if got := written(q, p, 0, 100); got != "12close" {
		t.Errorf("%q", got)
	}
	if p.Messages != [Fates]uint64{Written: 3, Collapsed: 2} {
		t.Errorf("%v", p.Messages)
	}
}

func TestWhatGoesFirstGoesBeforeWhatWaits(t *testing.T) {
	p, q := newQueue()
	q.Append(p, false, 0, []byte("message"))
	q.First(p, []byte("answer,"))
	if q.Bytes() != len("answer,message") || p.Bytes != int64(q.Bytes()) {
		t.Errorf("%d bytes wait", q.Bytes())
	}
	if got := written(q, p, 0, 3); got != "answer,message" {
		t.Errorf("%q", got)
	}
}

func TestWhatIsOnTheWireAlreadyIsNotWrittenAgain(t *testing.T) {
	p, q := newQueue()
	q.Push(p, text("half written"))
	q.Began(p, 5)
	q.Append(p, false, 0, []byte(", next"))
	if q.Bytes() != len("written, next") || !q.DropOldest(p) || q.DropOldest(p) {
		t.Errorf("%d bytes wait", q.Bytes())
	}
	if got := written(q, p, 0, 100); got != "written" || p.Messages != [Fates]uint64{Written: 1, Dropped: 1} || p.Bytes != 0 {
		t.Errorf("%q, %v", got, p.Messages)
	}
}

func TestTheAgeOfMessagesIsObservedWhenTheyAreWritten(t *testing.T) {
	for _, atOnce := range []int{2, 1000} {
		p, q := newQueue()
		q.Append(p, false, 1000, []byte("a")) // 30 ms old
		q.Append(p, false, 1020, []byte("b")) // in the same block: counts as its first one
		q.Append(p, false, 0, []byte("c"))    // not known
		q.Append(p, true, 1000, []byte("control"))
		written(q, p, 1030, atOnce)
		q.Append(p, false, 0, []byte("no time at all"))
		written(q, p, 1030, atOnce)
		for i, at := range []int64{930, 5000} { // 100 ms, and ahead of our clock
			shared := text("d")
			shared.At = at
			q.Push(p, shared)
			q.Append(p, false, 1028, []byte{byte(i)}) // 2 ms
			written(q, p, 1030, atOnce)
		}
		dropped := text("e")
		dropped.At = 1
		q.Push(p, dropped)
		q.Clear(p, Closed)
		want := map[int]uint64{0: 1, 1: 2, 5: 2, 6: 1} // ≤ 1, 2, 50, 100 ms
		for i, n := range p.Latency {
			if n != want[i] {
				t.Errorf("%d at once, bucket %d: %d, want %d", atOnce, i, n, want[i])
			}
		}
		if p.LatencySumMs != 30+30+100+2+2 {
			t.Errorf("%d at once: %d ms in all", atOnce, p.LatencySumMs)
		}
	}
}

func TestAFrameReleasedTooOftenPanics(t *testing.T) {
	for name, f := range map[string]*Frame{"its own": text("x"), "pooled": new(Frames).New(300)} {
		f.Retain()
		f.Release()
		f.Release()
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f.Release()
		}()
	}
}

// Queues of several loops let go of frames while the next ones are made.
func TestAFrameIsUsedAgainOnceNobodyHoldsIt(t *testing.T) {
	var frames Frames
	var queues [4]chan *Frame
	var running sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan *Frame, 100)
		running.Go(func() {
			for f := range queues[i] {
				if !bytes.Equal(f.Bytes, bytes.Repeat(f.Bytes[:1], len(f.Bytes))) || f.At != int64(len(f.Bytes)) {
					t.Error("a frame that is held has changed")
				}
				f.Release()
			}
		})
	}
	for i := range 20_000 {
		n := 1 + i*7919%2000
		f := frames.New(n)
		f.Bytes = append(f.Bytes, bytes.Repeat([]byte{byte(i)}, n)...)
		f.At = int64(n)
		for _, q := range queues[:i%(len(queues)+1)] {
			f.Retain()
			q <- f
		}
		f.Release()
	}
	for _, q := range queues {
		close(q)
	}
	running.Wait()
}

func TestFramesHaveRoomForWhatWasAskedFor(t *testing.T) {
	var frames Frames
	for _, n := range []int{0, 1, 255, 256, 257, 4096, 4097, 1 << 20, 1<<20 + 1} {
		f := frames.New(n)
		if len(f.Bytes) != 0 || cap(f.Bytes) < n || n > 256 && n <= 1<<20 && cap(f.Bytes) >= 2*n {
			t.Errorf("%d bytes: length %d, room %d", n, len(f.Bytes), cap(f.Bytes))
		}
		f.Bytes = append(f.Bytes, 1)
		f.Expires, f.At, f.Collapse, f.Closes, f.Control = 1, 2, "k", true, true
		f.Release()
		if g := frames.New(n); len(g.Bytes) != 0 || g.Expires != 0 || g.At != 0 || g.Collapse != "" || g.Closes || g.Control {
			t.Errorf("%d bytes: used again with what was in it: %+v", n, g)
		}
	}
}

// waiting makes n queues in each of which a block waits.
func waiting(p *Pool, n int) (queues []*Queue) {
	for range n {
		q := p.Queue()
		q.Append(p, false, 0, make([]byte, MaxPrivate))
		queues = append(queues, q)
	}
	return queues
}

// Slabs come for a burst and go when it is over.
func TestMemoryOfABurstIsGivenBack(t *testing.T) {
	p := new(Pool)
	t.Cleanup(p.Close)
	queues := waiting(p, firstBytes/blockBytes)
	if len(p.slabs) != 1 {
		t.Fatalf("%d slabs, where one holds all", len(p.slabs))
	}
	queues = append(queues, waiting(p, 5*slabBytes/blockBytes)...)
	if len(p.slabs) != 6 {
		t.Fatalf("%d slabs for five times the size of one, and the first", len(p.slabs))
	}
	p.Trim()
	p.Trim()
	for i, s := range p.slabs {
		if s == nil || s.used == 0 {
			t.Errorf("slab %d was given up while in use", i)
		}
	}
	for _, q := range queues {
		q.Clear(p, Closed)
		p.Give(q)
	}
	p.Trim()
	if len(p.slabs) != 6 {
		t.Error("given up at once: the next burst may come soon")
	}
	p.Trim()
	if n := len(p.slabs); n != 1 || len(p.idle) > idleQueues {
		t.Errorf("%d slabs and %d queues are left", n, len(p.idle))
	}
	q := p.Queue()
	q.Append(p, false, 0, []byte("again"))
	if got := written(q, p, 0, 100); got != "again" {
		t.Errorf("%q", got)
	}
}

func TestAQueueThatNeverEmptiesKeepsNoPlaces(t *testing.T) {
	p, q := newQueue()
	q.Push(p, text("x"))
	for range 10_000 {
		q.Push(p, text("x"))
		var bufs [1][]byte
		q.Buffers(0, bufs[:])
		q.Took(p, 1, 0)
	}
	if n := cap(q.frames); n > 4*keptFrames {
		t.Errorf("%d places, for one frame that waits", n)
	}
	for range 10 * keptFrames {
		q.Push(p, text("x"))
	}
	q.Clear(p, Closed)
	p.Give(q)
	if again := p.Queue(); again != q || cap(q.frames) > keptFrames {
		t.Errorf("an empty queue keeps %d places", cap(q.frames))
	}
}

func TestALonePushMakesNoGarbage(t *testing.T) {
	p := new(Pool)
	var frames Frames
	frame := bytes.Repeat([]byte("x"), 200)
	var bufs [16][]byte
	allocated := testing.AllocsPerRun(1000, func() {
		q := p.Queue()
		q.Append(p, false, 5, frame[:4], frame[4:])
		f := frames.New(100)
		f.Bytes = append(f.Bytes, frame[:100]...)
		q.Push(p, f)
		q.DropLate(p, 10)
		_, size := q.Buffers(10, bufs[:])
		q.Took(p, size, 10)
		p.Give(q)
	})
	if allocated >= 1 && !raceEnabled {
		t.Errorf("%.1f allocations", allocated)
	}
}

func BenchmarkAppendAndTake(b *testing.B) {
	p := new(Pool)
	head, data := []byte(`{"type":"message","data":`), bytes.Repeat([]byte("x"), 128)
	var bufs [16][]byte
	b.ReportAllocs()
	for b.Loop() {
		q := p.Queue()
		for range 10 {
			q.Append(p, false, 5, head, data)
		}
		for {
			n, size := q.Buffers(10, bufs[:])
			if n == 0 {
				break
			}
			q.Took(p, size, 10)
		}
		p.Give(q)
	}
}

func TestClassesHoldWhatIsAskedForAndLittleMore(t *testing.T) {
	last := -1
	for n := range 1<<mostBits + 2 {
		number, size := class(n)
		if n > 64 && size-n > n/8 || size < n || number < last || number > last+1 && last >= 0 {
			t.Fatalf("%d bytes: class %d of %d bytes, behind class %d", n, number, size, last)
		}
		if number >= classes != (n > 1<<mostBits) {
			t.Fatalf("%d bytes: class %d of %d", n, number, classes)
		}
		last = number
	}
}

func TestAFrameIsNoLargerThanWhatItIsChargedFor(t *testing.T) {
	if n := unsafe.Sizeof(Frame{}); n > 80 {
		t.Errorf("%d bytes", n)
	}
	var frames Frames
	for _, n := range []int{1, 100, 600, 1600, 3500, 36 << 10, 2 << 20} {
		if f := frames.New(n); f.memory() < n+frameBytes || f.memory() > (n+64)*5/4+frameBytes {
			t.Errorf("a frame of %d bytes is charged as %d", n, f.memory())
		}
	}
}
