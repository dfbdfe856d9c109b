package sendq

import "unsafe"

// Pool is what the queues of one loop are made of, and their books. Whoever
// guards the loop guards it.
type Pool struct {
	Books
	Bytes  int64 // that wait in all queues
	Queues int   // queues in which something waits

	slabs []*slab // by block.slab; nil: the place is free
	hint  int     // no slab before it has a free block
	idle  []*Queue
}

// slab is a stretch of memory that is cut into blocks.
type slab struct {
	mem    []byte
	mapped bool   // outside of the heap
	free   *block // those not in use, by block.next
	used   int    // blocks that are
	unused bool   // no block was taken since the last Trim
}

const (
	slabBytes  = 2 << 20
	firstBytes = 64 << 10 // of the first slab, which is in the heap and stays
	mostSlabs  = 1 << 16

	idleQueues = 64 // that Trim keeps
	keptFrames = 16 // places for shared frames that an empty queue keeps
)

// Queue returns an empty queue, to be given back once it is empty again.
func (p *Pool) Queue() *Queue {
	p.Queues++
	if n := len(p.idle); n > 0 {
		q := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return q
	}
	return new(Queue)
}

// Give takes back an empty queue.
func (p *Pool) Give(q *Queue) {
	p.Queues--
	frames := q.frames[:0]
	if cap(frames) > keptFrames {
		frames = nil
	}
	*q = Queue{frames: frames}
	p.idle = append(p.idle, q)
}

// block returns a block with nothing in it.
func (p *Pool) block() *block {
	for ; p.hint < len(p.slabs); p.hint++ {
		if s := p.slabs[p.hint]; s != nil && s.free != nil {
			break
		}
	}
	if p.hint == len(p.slabs) {
		p.grow()
	}
	s := p.slabs[p.hint]
	b := s.free
	s.free = b.next
	s.used++
	s.unused = false
	*b = block{slab: uint16(p.hint)}
	return b
}

// put takes back a block.
func (p *Pool) put(b *block) {
	at := int(b.slab)
	s := p.slabs[at]
	b.next, s.free = s.free, b
	s.used--
	p.hint = min(p.hint, at)
}

// grow adds a slab, and makes it the one to take from.
func (p *Pool) grow() {
	s := new(slab)
	if len(p.slabs) == 0 {
		s.mem = make([]byte, firstBytes)
	} else if s.mem = mapSlab(slabBytes); s.mem != nil {
		s.mapped = true
	} else {
		s.mem = make([]byte, slabBytes)
	}
	at := 0
	for at < len(p.slabs) && p.slabs[at] != nil {
		at++
	}
	switch {
	case at == mostSlabs:
		panic("sendq: 128 GiB wait")
	case at == len(p.slabs):
		p.slabs = append(p.slabs, nil)
	}
	for i := len(s.mem) - blockBytes; i >= 0; i -= blockBytes {
		b := (*block)(unsafe.Pointer(&s.mem[i]))
		b.next, s.free = s.free, b
	}
	p.slabs[at], p.hint = s, at
}

// Trim gives up memory that was not used since the last call.
func (p *Pool) Trim() {
	for i, s := range p.slabs {
		if i == 0 || s == nil || s.used > 0 {
			continue
		}
		if s.unused {
			p.drop(i)
		}
		s.unused = true // unless a block is taken until the next call
	}
	for n := len(p.slabs); n > 0 && p.slabs[n-1] == nil; n-- {
		p.slabs = p.slabs[:n-1]
	}
	p.hint = 0
	if p.Queues < len(p.idle) && len(p.idle) > idleQueues {
		p.idle = append([]*Queue(nil), p.idle[:max(p.Queues, idleQueues)]...)
	}
}

// Close gives up all memory; no queue is in use any more.
func (p *Pool) Close() {
	for i := range p.slabs {
		p.drop(i)
	}
	p.slabs, p.idle, p.hint = nil, nil, 0
}

func (p *Pool) drop(at int) {
	if s := p.slabs[at]; s != nil && s.mapped {
		unmapSlab(s.mem)
	}
	p.slabs[at] = nil
}
