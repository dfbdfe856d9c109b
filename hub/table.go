package hub

// table is a set of sessions that are found by a hash: open addressing with
// linear probing, 8 bytes a slot. A map of Go's needs four times as much for
// the same, since it holds the keys, which the sessions hold already.
//
// It consists of shards that grow and shrink each for itself, so that with a
// million connections none of these moves more than a few thousand at once.
type table struct {
	hash   func(*session) uint64 // of one that is in the table
	shards [tableShards]shard
	n      int
}

type shard struct {
	slots []*session // a power of two of them; nil: free
	n     int
}

const (
	tableShards   = 256
	shardSlots    = 8 // at least, where there are any
	shardBits     = 8
	shardAt       = 64 - shardBits // the shard is chosen by the hash's first bits, the slot by its last
	shardFullest  = 4              // fifths of the slots that are taken, at most
	shardEmptiest = 8              // shrinks where fewer than one in so many is taken
)

func (t *table) shard(h uint64) *shard { return &t.shards[h>>shardAt] }

// find returns the session of the hash for which is answers true; nil: none.
func (t *table) find(h uint64, is func(*session) bool) *session {
	s := t.shard(h)
	if s.n == 0 {
		return nil
	}
	mask := uint64(len(s.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		x := s.slots[i]
		if x == nil || is(x) {
			return x
		}
	}
}

// add puts x in, which must not be in.
func (t *table) add(x *session) {
	h := t.hash(x)
	s := t.shard(h)
	if 5*(s.n+1) > shardFullest*len(s.slots) {
		s.resize(max(shardSlots, 2*len(s.slots)), t.hash)
	}
	s.put(x, h)
	s.n++
	t.n++
}

// replace puts x in the place of old, which is in and has the same hash.
func (t *table) replace(old, x *session) {
	h := t.hash(old)
	s := t.shard(h)
	s.slots[s.at(old, h)] = x
}

// remove takes x out, which must be in.
func (t *table) remove(x *session) {
	h := t.hash(x)
	s := t.shard(h)
	mask := uint64(len(s.slots) - 1)
	hole := s.at(x, h)
	// Those behind it move up where a search for them would stop at the hole.
	for i := (hole + 1) & mask; s.slots[i] != nil; i = (i + 1) & mask {
		home := t.hash(s.slots[i]) & mask
		if (i-home)&mask >= (i-hole)&mask {
			s.slots[hole] = s.slots[i]
			hole = i
		}
	}
	s.slots[hole] = nil
	s.n--
	t.n--
	if len(s.slots) > shardSlots && shardEmptiest*s.n < len(s.slots) {
		s.resize(len(s.slots)/2, t.hash)
	}
}

// all calls f for each session.
func (t *table) all(f func(*session)) {
	for i := range t.shards {
		for _, x := range t.shards[i].slots {
			if x != nil {
				f(x)
			}
		}
	}
}

func (s *shard) at(x *session, h uint64) uint64 {
	mask := uint64(len(s.slots) - 1)
	i := h & mask
	for s.slots[i] != x {
		i = (i + 1) & mask
	}
	return i
}

func (s *shard) put(x *session, h uint64) {
	mask := uint64(len(s.slots) - 1)
	i := h & mask
	for s.slots[i] != nil {
		i = (i + 1) & mask
	}
	s.slots[i] = x
}

func (s *shard) resize(n int, hash func(*session) uint64) {
	old := s.slots
	s.slots = make([]*session, n)
	for _, x := range old {
		if x != nil {
			s.put(x, hash(x))
		}
	}
}
