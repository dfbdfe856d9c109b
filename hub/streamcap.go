package hub

import "math/bits"

// streamCap says how many entries the uplink's stream may keep so that it takes about
// maxBytes in Redis, and never more than maxLength. It knows what the pod itself has added
// last, about as much as the stream may hold, and takes the average of that for everyone's:
// a client that goes over from small requests to large ones makes the stream shorter as it
// does so, and the stream stays within its size meanwhile.
type streamCap struct {
	maxLength int64
	maxBytes  int64 // 0: no bound

	runs    [capRuns]capRun // a ring: what was added last, as runs of entries
	newest  int
	used    int
	entries int64 // in all runs
	bytes   int64
}

// capRun is some entries that were added one after the other.
type capRun struct{ entries, bytes int64 }

// capRuns is the precision: a run is this part of what may be kept.
const capRuns = 64

// add notes an entry, and returns how many the stream may keep with it.
func (c *streamCap) add(bytes int64) (length int64) {
	if c.maxBytes <= 0 {
		return c.maxLength
	}
	run := &c.runs[c.newest]
	if c.used == 0 || run.bytes > c.maxBytes/capRuns || run.entries > c.maxLength/capRuns {
		run = c.begin()
	}
	run.entries++
	run.bytes += bytes
	c.entries++
	c.bytes += bytes
	return max(1, min(c.maxLength, int64(float64(c.maxBytes)*float64(c.entries)/float64(c.bytes))))
}

// begin begins a run, in place of those that the stream can't hold any more.
func (c *streamCap) begin() *capRun {
	for c.used > 0 {
		oldest := &c.runs[(c.newest+capRuns-c.used+1)%capRuns]
		if c.used < capRuns && c.bytes-oldest.bytes < c.maxBytes && c.entries-oldest.entries < c.maxLength {
			break
		}
		c.entries -= oldest.entries
		c.bytes -= oldest.bytes
		c.used--
	}
	c.newest = (c.newest + 1) % capRuns
	c.used++
	c.runs[c.newest] = capRun{}
	return &c.runs[c.newest]
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
