package conn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

func TestATrimGivesUpOnlyWhatWasNotNeededSinceTheLastOne(t *testing.T) {
	var f freeList[node]
	have := map[*node]bool{}
	fill := func(n int) {
		for range n {
			x := &node{}
			have[x] = true
			f.put(x)
		}
	}
	fill(100)
	f.trim() // the 100 came back since the last one: they may be needed as often
	if len(f.items) != 100 {
		t.Fatalf("%d of 100 are left after they were needed", len(f.items))
	}
	var out []*node
	for range 30 {
		out = append(out, f.get())
	}
	for _, x := range out {
		f.put(x)
	}
	f.trim() // 30 were needed at once
	if want := 30 + fewItems; len(f.items) != want {
		t.Fatalf("%d are left, where 30 were needed: want %d", len(f.items), want)
	}
	f.trim()
	f.trim()
	if len(f.items) != fewItems {
		t.Fatalf("%d are left, where none were needed: want %d", len(f.items), fewItems)
	}
	for i := range fewItems + 1 {
		x := f.get()
		if (x == nil) != (i == fewItems) || x != nil && !have[x] {
			t.Fatalf("the %d. is %p", i+1, x)
		}
		delete(have, x)
	}
	f.trim()
	if len(f.items) != 0 {
		t.Fatal("there is something in an empty list")
	}
}

func TestWhatIsUsedAgainComesBackEmpty(t *testing.T) {
	var p pools
	p.init()
	n, q := p.nodes.take(), p.queues.take()
	n.m, n.next = &Message{}, n
	k := p.chunks[1].get()
	k.reset(true)
	put(k, 10, 'x', 1)
	n.k = k
	q.head, q.tail, q.bytes, q.off, q.flying = n, n, 1, 1, 1
	p.putNode(n)
	p.queues.give(q)
	if p.nodes.take() != n || *n != (node{}) {
		t.Errorf("a node comes back as %+v", *n)
	}
	if p.queues.take() != q || *q != (queue{}) {
		t.Errorf("a queue comes back as %+v", *q)
	}
	in := p.inbounds.take()
	in.buf, in.fragmented, in.asked.protocol = []byte("half"), true, true
	p.inbounds.give(in)
	if p.inbounds.take() != in || in.buf != nil || in.fragmented || in.asked.protocol {
		t.Errorf("what was half-read comes back as %+v", *in)
	}
	if p.chunks[1].get() != k {
		t.Error("another chunk is used, while one is free")
	}
	if k.reset(false); k.left() != 0 || k.timed || len(k.frames()) != 0 {
		t.Errorf("a chunk comes back as %+v", *k)
	}
}

// A burst lies in regions, which come and go as a whole; what is in use stays as
// it is, whatever comes and goes around it.
func TestChunksInUseKeepWhatIsInThem(t *testing.T) {
	for class := range uint8(chunkClasses) {
		s := slab{class: class}
		r := rand.New(rand.NewPCG(3, uint64(class)))
		type used struct {
			k    *chunk
			want []byte
		}
		var all []used
		most := heapChunks/chunkSize(class) + 3*regionBytes/chunkSize(class)
		for round := range 12 {
			target := r.IntN(most)
			if round%3 == 2 {
				target = r.IntN(5)
			}
			for len(all) < target {
				k := s.get()
				if r.IntN(9) == 0 {
					s.put(k)
					k = s.getInHeap()
				}
				k.reset(false)
				all = append(all, used{k, put(k, 2+r.IntN(100), byte(r.IntN(256)), 0)})
			}
			r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for len(all) > target {
				s.put(all[len(all)-1].k)
				all = all[:len(all)-1]
			}
			s.trim()
			seen := map[*chunk]bool{}
			for _, u := range all {
				if !bytes.Equal(u.k.frames(), u.want) || u.k.class != class || seen[u.k] {
					t.Fatalf("class %d, round %d: a chunk holds %q, want %q", class, round, u.k.frames(), u.want)
				}
				seen[u.k] = true
			}
		}
		for _, u := range all {
			s.put(u.k)
		}
		for range 3 {
			s.trim()
		}
		if len(s.regions) != 0 || s.inHeap != len(s.heap.items) || s.inHeap > fewItems {
			t.Errorf("class %d: %d regions and %d chunks are left", class, len(s.regions), s.inHeap)
		}
		s.close()
	}
}

func TestRegionsStayUntilTwoTrimsFindThemUnused(t *testing.T) {
	if b := mapRegion(regionBytes); b == nil {
		t.Skip("no memory outside the heap here")
	} else {
		unmapRegion(b)
	}
	s := slab{class: chunkClasses - 1}
	defer s.close()
	regions := func() (n int) {
		for _, r := range s.regions {
			if r != nil {
				n++
			}
		}
		return n
	}
	burst := func() {
		var ks []*chunk
		for range (heapChunks + regionBytes + regionBytes/2) / largestChunk {
			ks = append(ks, s.get())
		}
		for _, k := range ks {
			s.put(k)
		}
	}
	for range 5 {
		burst()
		burst() // what has come back is used first
		if s.trim(); regions() != 2 {
			t.Fatalf("%d regions while there are bursts, want 2", regions())
		}
	}
	if s.trim(); regions() != 0 {
		t.Fatalf("%d regions after a time without", regions())
	}
	burst()
	if regions() != 2 {
		t.Fatalf("%d regions for the next burst, want 2", regions())
	}
}

func TestASegmentIsUsedAgainOnceNoMessageInItIsHeld(t *testing.T) {
	s := &Server{}
	d := s.NewDeliverer()
	text := func(n int) []byte { return bytes.Repeat([]byte{'x'}, n) }
	message := func(n int) *Message {
		m, b := d.Message(Push{Size: n})
		_ = append(b, text(n)...)
		return m
	}
	const large = segmentBytes / 3
	one, two := message(large), message(large)
	first := d.own
	three := message(large) // does not fit with its header
	second := d.own
	if first == second || one.seg != first || two.seg != first || three.seg != second {
		t.Fatal("three thirds and their headers lie in one segment")
	}
	one.retain() // waits in a queue
	one.release()
	two.release()
	three.release()
	if len(d.arena.free.items) != 0 {
		t.Fatal("a segment is free while a message in it is held")
	}
	message(large).release()
	if four := message(large); four.seg != second || second.used != 1 {
		t.Fatal("a full segment in which nothing is held was not used again from its beginning")
	}
	if !bytes.Equal(one.frame[len(one.frame)-large:], text(large)) {
		t.Fatal("a message that is held has changed")
	}
	one.release()
	if len(d.arena.free.items) != 1 {
		t.Fatal("a segment does not come back with the last message in it")
	}
	message(large)
	if six := message(large); six.seg != first {
		t.Fatal("the free segment was not used: in the one at hand something is held")
	}
}

// The copy that waits in queues is not touched by what the segment is used for
// next, nor handed to that.
func TestACopyThatIsKeptOutlivesItsSegment(t *testing.T) {
	s := &Server{}
	d := s.NewDeliverer()
	var kept []*Message
	for i := range 3 * segmentBytes / 1000 {
		want := fmt.Sprint("message ", i)
		m, b := d.Message(Push{Size: 1000, Collapse: want, At: int64(i), Expires: int64(i + 1)})
		_ = append(append(b, want...), make([]byte, 1000-len(want))...)
		m.retain()
		m.retain() // for two queues
		k := m.kept()
		if k == m || m.kept() != k {
			t.Fatalf("message %d was copied twice", i)
		}
		if k.seg != nil || k.kept() != k || k.collapse != want || k.at != int64(i) || k.expires != int64(i+1) {
			t.Fatalf("the copy of message %d: %+v", i, k)
		}
		kept = append(kept, k)
		d.Done(m)
	}
	for i, k := range kept {
		if want := fmt.Appendf(nil, "message %d\x00", i); !bytes.Contains(k.frame, want) {
			t.Fatalf("the copy of message %d has changed: %.40q", i, k.frame)
		}
	}
	if len(d.arena.free.items) != 0 || !d.own.empty() {
		t.Error("nothing was held, and still more than one segment was needed")
	}
}

func TestALargeMessagesMemoryIsNotKept(t *testing.T) {
	s := &Server{}
	d := s.NewDeliverer()
	m, _ := d.Message(Push{Size: 5 * segmentBytes})
	if len(m.frame) < 5*segmentBytes {
		t.Fatalf("%d bytes", len(m.frame))
	}
	d.Idle()
	if d.own != m.seg {
		t.Fatal("it was given up while it is held")
	}
	d.Done(m)
	d.Idle()
	if d.own != nil || len(d.arena.free.items) != 0 {
		t.Fatal("it is kept")
	}
	m, _ = d.Message(Push{Size: 10})
	if len(m.seg.buf) != segmentBytes {
		t.Fatalf("the next segment has %d bytes", len(m.seg.buf))
	}
	d.Done(m)
}

// Queues let go of messages from any goroutine, while the next ones are made.
func TestSegmentsAreSharedByLoops(t *testing.T) {
	s := &Server{}
	d := s.NewDeliverer()
	const loops = 4
	var queues [loops]chan *Message
	var running sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan *Message, 300)
		running.Go(func() {
			for m := range queues[i] {
				for _, c := range m.frame[len(m.frame)-900:] {
					if c != m.frame[len(m.frame)-1] {
						t.Errorf("a message that is held has changed")
						break
					}
				}
				if m.at%7 == 0 {
					m.kept()
				} else {
					m.release()
				}
			}
		})
	}
	for i := range 20_000 {
		m, b := d.Message(Push{Size: 900, At: int64(i)})
		_ = append(b, bytes.Repeat([]byte{byte(i)}, 900)...)
		for _, q := range queues[:i%(loops+1)] {
			m.retain()
			q <- m
		}
		d.Done(m)
		if i%1000 == 0 {
			d.Trim()
		}
	}
	for _, q := range queues {
		close(q)
	}
	running.Wait()
	if !d.own.empty() {
		t.Error("something is still held")
	}
}
