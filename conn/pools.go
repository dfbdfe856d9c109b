package conn

// pools keeps what queues are made of, for one loop, under its lock.
type pools struct {
	nodes    freeList[node]
	queues   freeList[queue]
	inbounds freeList[inbound]
	chunks   [chunkClasses]slab
}

func (p *pools) init() {
	for i := range p.chunks {
		p.chunks[i].class = uint8(i)
	}
}

func (p *pools) putNode(n *node) {
	if n.k != nil {
		p.chunks[n.k.class].put(n.k)
	}
	p.nodes.give(n)
}

// trim gives up what was not needed since the last call.
func (p *pools) trim() {
	p.nodes.trim()
	p.queues.trim()
	p.inbounds.trim()
	for i := range p.chunks {
		p.chunks[i].trim()
	}
}

// close gives up what lies outside the heap; nothing is in use any more.
func (p *pools) close() {
	for i := range p.chunks {
		p.chunks[i].close()
	}
}

// roomKept is how much room a slice that is empty for now may keep, in elements.
const roomKept = 1 << 10

// trimmed gives up the room of a slice that is empty, where it is large.
func trimmed[T any](s []T) []T {
	if len(s) == 0 && cap(s) > roomKept {
		return nil
	}
	return s
}

// freeList keeps things that are not in use now, for the next who needs one. It
// keeps all that come back, until trim finds that they were not needed.
type freeList[T any] struct {
	items []*T
	least int // how many there were at least, since the last trim
}

// get returns nil where there is none.
func (f *freeList[T]) get() *T {
	n := len(f.items) - 1
	if n < 0 {
		return nil
	}
	x := f.items[n]
	f.items[n] = nil
	f.items = f.items[:n]
	f.least = min(f.least, n)
	return x
}

func (f *freeList[T]) put(x *T) { f.items = append(f.items, x) }

// take is get of a zero value, which is made where there is none; give gives it back.
func (f *freeList[T]) take() *T {
	if x := f.get(); x != nil {
		return x
	}
	return new(T)
}

func (f *freeList[T]) give(x *T) {
	*x = *new(T)
	f.put(x)
}

// fewItems are not worth giving up.
const fewItems = 4

// trim gives up those that were not needed since the last call.
func (f *freeList[T]) trim() {
	if f.least > fewItems {
		f.items = append([]*T(nil), f.items[f.least-fewItems:]...)
	}
	f.least = len(f.items)
}
