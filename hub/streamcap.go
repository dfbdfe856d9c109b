package hub

import "math/bits"

// streamCap says how many entries the uplink's stream may keep so that it takes about
// maxBytes in Redis, and never more than maxLength. It knows what the pod itself has added
// last, as much as the stream may hold. The stream may keep as many entries: of one pod's they
// are the same; of several pods', they are taken to be as large on average.
type streamCap struct {
	caps

	runs    [2 * capRuns]capRun // a ring: what was added last, as runs of entries
	newest  int
	used    int
	entries int64 // in all runs
	bytes   int64
	full    bool // there was more than the stream may hold
}

// caps are the bounds of the stream.
type caps struct {
	maxLength int64
	maxBytes  int64 // 0: no bound
}

// capRun is some entries that were added one after the other.
type capRun struct{ entries, bytes int64 }

// capRuns is the precision: a run is this part of what may be kept, of the bytes or of the
// length. So twice as many are as much as may be kept in any case.
const capRuns = 64

// add notes an entry, and returns how many the stream may keep with it.
func (c *streamCap) add(bytes int64) (length int64) {
	if c.maxBytes <= 0 {
		return c.maxLength
	}
	run := &c.runs[c.newest]
	if c.used == 0 || run.bytes > c.maxBytes/capRuns || run.entries > c.maxLength/capRuns {
		c.newest = (c.newest + 1) % len(c.runs)
		c.used++
		run = &c.runs[c.newest]
		*run = capRun{}
	}
	run.entries++
	run.bytes += bytes
	c.entries++
	c.bytes += bytes
	for c.used > 1 && (c.bytes > c.maxBytes || c.entries > c.maxLength || c.used == len(c.runs)) {
		c.drop()
	}
	if c.full {
		return c.entries
	}
	// What others added before is taken to be as large, too.
	return max(1, min(c.maxLength, int64(float64(c.maxBytes)*float64(c.entries)/float64(c.bytes))))
}

// drop forgets the oldest run, which the stream can't hold any more.
func (c *streamCap) drop() {
	oldest := &c.runs[(c.newest+len(c.runs)-c.used+1)%len(c.runs)]
	c.entries -= oldest.entries
	c.bytes -= oldest.bytes
	c.used--
	c.full = true
}

// Of an entry, in bytes, measured on Redis 7.0: what stands beside its values; from which
// size on a node of the stream (stream-node-max-bytes) holds so few that the rest of it is
// lost; and from which size on an entry has a node to itself, which takes what the
// allocator gives for it.
const (
	entryOverhead = 48
	fewBytes      = 512
	nodeBytes     = 2 << 10
	nodeOverhead  = 192
)

// entryBytes is about what an entry with so many bytes of values takes in Redis.
func entryBytes(values int) int64 {
	n := values + entryOverhead
	switch {
	case n < fewBytes:
		return int64(n)
	case n < nodeBytes:
		return int64(n + n/8)
	}
	// The allocator (jemalloc) has four sizes between two powers of two.
	step := 1 << (bits.Len(uint(n-1)) - 3)
	return int64((n+step-1)/step*step + nodeOverhead)
}
