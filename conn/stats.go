package conn

// result says what became of one message for one connection. Every message
// that is addressed to a connection ends in exactly one of them.
type result uint8

const (
	resultWritten   result = iota // the socket has taken all of it
	resultExpired                 // too late
	resultCollapsed               // a newer one took its place
	resultDropped                 // by the policy for slow consumers
	resultClosed                  // the connection closed first
	results
	resultNone // it goes on elsewhere: in no book here
)

// LatencyBounds are the upper bounds in seconds of the histogram of the time
// from publish to write.
var latencyBounds = [...]int64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000} // ms

// LatencyBounds returns the upper bounds of Stats.Latency, in seconds.
func LatencyBounds() []float64 {
	b := make([]float64, len(latencyBounds))
	for i, ms := range latencyBounds {
		b[i] = float64(ms) / 1000
	}
	return b
}

// Stats is what a server has done, and what it holds. All but the first group
// only grow.
type Stats struct {
	Open        int   // connections that are open or closing
	Pending     int   // accepted, the handshake not complete
	QueuedBytes int64 // waiting in all send queues
	QueuedConns int   // connections for which something waits

	Written, Expired, Collapsed, Dropped, Closed uint64
	SlowConsumers                                uint64 // closed with 1013
	Ended                                        [causes]uint64
	Handshakes                                   map[int]uint64 // by HTTP status; 101: accepted
	Writes, WrittenBytes                         uint64
	FramesReceived, BytesReceived                uint64
	PingsSent, RateLimited                       uint64
	LoopTurns, LoopEvents                        uint64
	AcceptErrors                                 uint64
	Latency                                      [len(latencyBounds) + 1]uint64 // not cumulative
	LatencySum                                   float64                        // seconds
}

// counters is a loop's part of Stats, under its lock.
type counters struct {
	delivered                     [results]uint64
	slow                          uint64
	ended                         [causes]uint64
	handshakes                    map[int]uint64
	writes, writtenBytes          uint64
	framesReceived, bytesReceived uint64
	pings, rateLimited            uint64
	turns, events                 uint64
	acceptErrors                  uint64
	latency                       [len(latencyBounds) + 1]uint64
	latencySum                    int64 // ms
	queued                        int64
	waiting, open, pending        int // connections for which something waits; open; not yet
}

// count books what became of m for one connection.
func (l *Loop) count(m *Message, r result) {
	if m.control {
		return
	}
	l.countPlain(m.at, r)
}

// countPlain is count for a message that was published at a time; 0: not known.
func (l *Loop) countPlain(at int64, r result) {
	if r == resultNone {
		return
	}
	l.delivered[r]++
	if r == resultWritten && at != 0 {
		l.observe(l.clock - at)
	}
}

func (l *Loop) observe(ms int64) {
	if ms < 0 {
		ms = 0 // the producer's clock and Redis's differ
	}
	i := 0
	for i < len(latencyBounds) && ms > latencyBounds[i] {
		i++
	}
	l.latency[i]++
	l.latencySum += ms
}

// Stats adds up all loops. It may be called at any time, from anywhere.
func (s *Server) Stats() Stats {
	t := Stats{Handshakes: map[int]uint64{}}
	for _, l := range s.loops {
		l.mu.Lock()
		t.Open += l.open
		t.Pending += l.pending
		t.QueuedBytes += l.queued
		t.QueuedConns += l.waiting
		t.Written += l.delivered[resultWritten]
		t.Expired += l.delivered[resultExpired]
		t.Collapsed += l.delivered[resultCollapsed]
		t.Dropped += l.delivered[resultDropped]
		t.Closed += l.delivered[resultClosed]
		t.SlowConsumers += l.slow
		for i, n := range l.ended {
			t.Ended[i] += n
		}
		for status, n := range l.handshakes {
			t.Handshakes[status] += n
		}
		t.Writes += l.writes
		t.WrittenBytes += l.writtenBytes
		t.FramesReceived += l.framesReceived
		t.BytesReceived += l.bytesReceived
		t.PingsSent += l.pings
		t.RateLimited += l.rateLimited
		t.LoopTurns += l.turns
		t.LoopEvents += l.events
		t.AcceptErrors += l.acceptErrors
		for i, n := range l.latency {
			t.Latency[i] += n
		}
		t.LatencySum += float64(l.latencySum) / 1000
		l.mu.Unlock()
	}
	return t
}
