package conn

// slab keeps the chunks of one class: a few in the heap, for ordinary times, and
// those of a burst in regions of memory outside of it, which come and go as a
// whole, in large pages where the system has them. A page that is touched for
// the first time costs as much as writing a frame.
type slab struct {
	class   uint8
	heap    freeList[chunk]
	inHeap  int       // chunks in the heap, in use or not
	regions []*region // by chunk.region-1; nil: the place is free
	hint    int       // no region before it has a free chunk
}

// region is a stretch of memory that is cut into chunks.
type region struct {
	mem  []byte
	free []uint16 // places of chunks
	idle bool     // nothing of it was in use at the last trim
}

const (
	regionBytes = 2 << 20
	heapChunks  = 128 << 10 // bytes of chunks in the heap, for each class
	mostRegions = 1<<16 - 1
)

// get returns a chunk, with whatever was in it.
func (s *slab) get() *chunk {
	if s.inHeap*chunkSize(s.class) < heapChunks || len(s.heap.items) > 0 {
		return s.getInHeap()
	}
	for ; s.hint < len(s.regions); s.hint++ {
		if r := s.regions[s.hint]; r != nil && len(r.free) > 0 {
			return s.from(r)
		}
	}
	if r := s.grow(); r != nil {
		return s.from(r)
	}
	return s.getInHeap()
}

// getInHeap is get for a chunk that may be needed for long.
func (s *slab) getInHeap() *chunk {
	if k := s.heap.get(); k != nil {
		return k
	}
	s.inHeap++
	return newChunk(s.class)
}

func (s *slab) from(r *region) *chunk {
	i := r.free[len(r.free)-1]
	r.free = r.free[:len(r.free)-1]
	r.idle = false
	at := int(i) * chunkSize(s.class)
	return chunkAt(r.mem[at:at+chunkSize(s.class)], s.class, uint16(s.hint+1), i)
}

// grow adds a region, and makes it the one to take from; nil: there is no
// memory of that kind.
func (s *slab) grow() *region {
	place := 0
	for place < len(s.regions) && s.regions[place] != nil {
		place++
	}
	if place >= mostRegions {
		return nil
	}
	mem := mapRegion(regionBytes)
	if mem == nil {
		return nil
	}
	r := &region{mem: mem}
	for i := len(mem)/chunkSize(s.class) - 1; i >= 0; i-- {
		r.free = append(r.free, uint16(i))
	}
	if place == len(s.regions) {
		s.regions = append(s.regions, nil)
	}
	s.regions[place], s.hint = r, place
	return r
}

// put takes k back.
func (s *slab) put(k *chunk) {
	if k.region == 0 {
		s.heap.put(k)
		return
	}
	at := int(k.region) - 1
	r := s.regions[at]
	r.free = append(r.free, k.index)
	s.hint = min(s.hint, at)
}

// trim gives up what was not needed since the last call.
func (s *slab) trim() {
	before := len(s.heap.items)
	s.heap.trim()
	s.inHeap -= before - len(s.heap.items)
	for i, r := range s.regions {
		if r == nil || len(r.free) < len(r.mem)/chunkSize(s.class) {
			continue
		}
		if r.idle {
			unmapRegion(r.mem)
			s.regions[i] = nil
		}
		r.idle = true
	}
	n := len(s.regions)
	for n > 0 && s.regions[n-1] == nil {
		n--
	}
	s.regions = s.regions[:n]
	s.hint = 0
}

// close gives up all regions; no chunk is in use any more.
func (s *slab) close() {
	for _, r := range s.regions {
		if r != nil {
			unmapRegion(r.mem)
		}
	}
	s.regions, s.hint = nil, 0
}
