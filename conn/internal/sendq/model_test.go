package sendq

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is a queue made of a plain list.
type model struct {
	t     *testing.T
	list  []modelFrame
	begun bool // the first of list is
	out   []byte
	fates [Fates]uint64
}

type modelFrame struct {
	bytes           []byte
	control, closes bool
	expires         int64
	collapse        string
	memory          int // of a shared one
}

func (m *model) bytes() (n int) {
	for _, f := range m.list {
		n += len(f.bytes)
	}
	return n
}

func (m *model) fate(f modelFrame, fate Fate) {
	if !f.control {
		m.fates[fate]++
	}
}

func (m *model) droppable() int {
	from := 0
	if m.begun {
		from = 1
	}
	for i := from; i < len(m.list); i++ {
		if !m.list[i].control {
			return i
		}
	}
	return -1
}

func (m *model) drop(i int, fate Fate) {
	m.fate(m.list[i], fate)
	m.list = slices.Delete(m.list, i, i+1)
}

// write takes n bytes, as a socket does; late messages before them are dropped.
func (m *model) write(n int, now int64) (took int) {
	for len(m.list) > 0 {
		f := &m.list[0]
		if !m.begun && f.expires != 0 && f.expires < now {
			m.drop(0, Expired)
			continue
		}
		k := min(n-took, len(f.bytes))
		m.out = append(m.out, f.bytes[:k]...)
		took += k
		if k < len(f.bytes) {
			if k > 0 {
				f.bytes, m.begun = f.bytes[k:], true
			}
			return took
		}
		m.fate(*f, Written)
		m.list, m.begun = m.list[1:], false
		if took == n && n > 0 {
			return took
		}
	}
	return took
}

// collapse is given how much memory is free.
func (m *model) collapse(f modelFrame, free int) bool {
	for i, old := range m.list {
		if i == 0 && m.begun || old.control || old.closes || old.collapse != f.collapse {
			continue
		}
		m.fate(old, Collapsed)
		if f.closes || f.memory > old.memory && f.memory-old.memory > free {
			m.list = slices.Delete(m.list, i, i+1)
			return false
		}
		m.list[i] = f
		return true
	}
	return false
}

// recount is the memory of what is in q.
func recount(q *Queue) (n int) {
	for b := q.head; b != nil; b = b.next {
		n += blockBytes
	}
	for _, f := range q.frames[q.popped:] {
		n += f.memory()
	}
	switch {
	case q.rest.frame != nil:
		n += q.rest.frame.memory()
	case q.rest.memory >= len(q.rest.bytes):
		n += q.rest.memory // its own, of which a part may be written
	}
	return n + len(q.urgent)
}

// A queue and the plain list are treated alike, at random; then the same bytes
// have left both, and the same fates are counted.
func TestTheQueueDoesWhatAPlainListDoes(t *testing.T) {
	runs := 100
	if testing.Short() {
		runs = 30
	}
	p := new(Pool)
	defer p.Close()
	var frames Frames
	for seed := range runs {
		compare(t, p, &frames, uint64(seed))
		if t.Failed() {
			return
		}
	}
	for i, s := range p.slabs {
		if s != nil && s.used != 0 {
			t.Errorf("%d blocks of slab %d are still in use", s.used, i)
		}
	}
}

func compare(t *testing.T, p *Pool, frames *Frames, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	m, q := &model{t: t}, p.Queue()
	before := p.Messages
	var out []byte
	now, closed := int64(100), false
	sizes := []int{2, 30, 160, 500, MaxPrivate, MaxPrivate + 1, 3000}
	made := 0
	next := func() modelFrame {
		made++
		name := fmt.Sprintf("[%d]", made)
		size := max(sizes[random.IntN(len(sizes))], len(name))
		return modelFrame{bytes: append([]byte(name), bytes.Repeat([]byte{byte('a' + made%26)}, size-len(name))...)}
	}
	push := func(f modelFrame) *Frame {
		shared := frames.New(len(f.bytes))
		shared.Bytes = append(shared.Bytes, f.bytes...)
		shared.Expires, shared.Collapse, shared.Closes, shared.Control = f.expires, f.collapse, f.closes, f.control
		return shared
	}
	for step := range 400 {
		now += int64(random.IntN(3))
		switch op := random.IntN(20); {
		case op < 6 && !closed:
			f := next()
			f.control = random.IntN(6) == 0
			m.list = append(m.list, f)
			if len(f.bytes) <= MaxPrivate {
				cut := random.IntN(len(f.bytes) + 1)
				q.Append(p, f.control, 0, f.bytes[:cut], f.bytes[cut:])
			} else {
				q.Push(p, push(f))
			}
		case op < 11 && !closed:
			f := next()
			switch random.IntN(3) {
			case 0:
				f.expires = now + int64(random.IntN(30))
			case 1:
				f.collapse = string(rune('a' + random.IntN(3)))
			}
			f.closes = random.IntN(80) == 0
			shared := push(f)
			if f.collapse != "" {
				limit := []int{0, 2000, 1 << 20}[random.IntN(3)]
				f.memory = shared.memory()
				replaced := m.collapse(f, limit-q.Memory())
				if got := q.Collapse(p, shared, limit); got != replaced {
					t.Fatalf("seed %d, step %d: replaced: %v", seed, step, got)
				}
				if replaced {
					break
				}
			}
			closed = f.closes
			m.list = append(m.list, f)
			q.Push(p, shared)
		case op < 16:
			q.DropLate(p, now)
			var bufs [mostBuffers][]byte
			n, size := q.Buffers(now, bufs[:1+random.IntN(mostBuffers)])
			took := 0
			if size > 0 {
				took = 1 + random.IntN(size)
				if random.IntN(2) == 0 {
					took = size
				}
			}
			out = append(out, bytes.Join(bufs[:n], nil)[:took]...)
			q.Took(p, took, now)
			if got := m.write(took, now); got != took {
				t.Fatalf("seed %d, step %d: took %d bytes, the list %d", seed, step, took, got)
			}
		case op == 16:
			i := m.droppable()
			if i >= 0 {
				m.drop(i, Dropped)
			}
			if got := q.DropOldest(p); got != (i >= 0) {
				t.Fatalf("seed %d, step %d: dropped: %v", seed, step, got)
			}
		case op == 17 && random.IntN(20) == 0:
			for i := m.droppable(); i >= 0; i = m.droppable() {
				m.drop(i, Closed)
			}
			q.DropMessages(p, Closed)
		case op == 18:
			p.Trim() // what is in use stays as it is
		}
		q.DropLate(p, now)
		m.write(0, now)
		if got, want := q.Memory(), recount(q); got != want {
			t.Fatalf("seed %d, step %d: it takes %d bytes, counted anew %d", seed, step, got, want)
		}
		if q.Bytes() != m.bytes() || !bytes.Equal(out, m.out) {
			t.Fatalf("seed %d, step %d: %d bytes wait, in the list %d; the same bytes have left: %v", seed, step, q.Bytes(), m.bytes(), bytes.Equal(out, m.out))
		}
	}
	for _, f := range m.list {
		m.fate(f, Closed)
	}
	q.Clear(p, Closed)
	for fate := range before {
		if got := p.Messages[fate] - before[fate]; got != m.fates[fate] {
			t.Errorf("seed %d: fate %d: %d, in the list %d", seed, fate, got, m.fates[fate])
		}
	}
	if !q.Empty() || p.Bytes != 0 || q.Memory() != 0 {
		t.Errorf("seed %d: %d bytes are left", seed, p.Bytes)
	}
	p.Give(q)
}

const mostBuffers = 16
