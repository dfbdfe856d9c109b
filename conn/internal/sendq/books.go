package sendq

// Fate says what became of one message for one connection. Every message that
// is addressed to a connection has exactly one.
type Fate uint8

const (
	Written   Fate = iota // the socket has taken all of it
	Expired               // it was too late
	Collapsed             // a newer message took its place
	Dropped               // by the policy for slow consumers
	Closed                // the connection closed first
	Fates
)

// latencyBounds are the upper bounds in ms of the histogram of the time from
// publish to write.
var latencyBounds = [...]int64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000}

// LatencyBuckets is how many buckets the histogram has; the last one has no bound.
const LatencyBuckets = len(latencyBounds) + 1

// LatencyBounds returns the upper bounds in seconds of all buckets but the last.
func LatencyBounds() []float64 {
	b := make([]float64, len(latencyBounds))
	for i, ms := range latencyBounds {
		b[i] = float64(ms) / 1000
	}
	return b
}

// Books counts what became of messages. They only grow.
type Books struct {
	Messages     [Fates]uint64
	Latency      [LatencyBuckets]uint64 // not cumulative
	LatencySumMs int64
}

// Count counts n messages.
func (b *Books) Count(f Fate, n int) { b.Messages[f] += uint64(n) }

// Observe counts n messages that were written ms after they were published. A
// time before that counts as none: the producer's clock is another one.
func (b *Books) Observe(ms int64, n int) {
	ms = max(ms, 0)
	i := 0
	for i < len(latencyBounds) && ms > latencyBounds[i] {
		i++
	}
	b.Latency[i] += uint64(n)
	b.LatencySumMs += ms * int64(n)
}
