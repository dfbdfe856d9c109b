package conn

import (
	"pushpod/conn/internal/sendq"
	"pushpod/conn/internal/tlsloop"
)

// LatencyBounds returns the upper bounds of Stats.Latency, in seconds.
func LatencyBounds() []float64 { return sendq.LatencyBounds() }

// Stats is what a server has done, and what it holds. All but the first group
// only grow.
type Stats struct {
	Open        int   // connections that are open or closing
	OpenEvents  int   // of them, those that get server-sent events
	Pending     int   // accepted, the handshake not complete
	MaxConns    int   // Options.MaxConns
	QueuedBytes int64 // waiting in all send queues
	QueuedConns int   // connections for which something waits

	Written, Expired, Collapsed, Dropped, Closed uint64
	SlowConsumers                                uint64 // closed with 1013
	Ended                                        [causes]uint64
	Handshakes                                   map[int]uint64 // by HTTP status; 101: accepted, of whatever kind
	TLSHandshakes                                TLSHandshakes
	Writes, WrittenBytes                         uint64
	FramesReceived, BytesReceived                uint64
	PingsSent, Goaways, RateLimited              uint64
	LoopTurns, LoopEvents                        uint64
	AcceptErrors                                 uint64
	Latency                                      [sendq.LatencyBuckets]uint64 // not cumulative
	LatencySum                                   float64                      // seconds
}

// counters is a loop's part of Stats that is in no queue's books, under its lock.
type counters struct {
	slow                          uint64
	ended                         [causes]uint64
	handshakes                    map[int]uint64
	writes, writtenBytes          uint64
	framesReceived, bytesReceived uint64
	pings, goaways, rateLimited   uint64
	turns, events                 uint64
	acceptErrors                  uint64
	open, openEvents, pending     int
}

// Stats adds up all loops. It may be called at any time, from anywhere.
func (s *Server) Stats() Stats {
	t := Stats{Handshakes: map[int]uint64{}, MaxConns: s.opts.MaxConns}
	for _, l := range s.loops {
		l.mu.Lock()
		t.add(l)
		l.mu.Unlock()
	}
	if n, ok := s.network.(*tlsloop.Network); ok {
		t.TLSHandshakes = TLSHandshakes(n.Stats())
	}
	return t
}

func (t *Stats) add(l *Loop) {
	t.Open += l.open
	t.OpenEvents += l.openEvents
	t.Pending += l.pending
	t.addQueues(&l.pool)
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
	t.Goaways += l.goaways
	t.RateLimited += l.rateLimited
	t.LoopTurns += l.turns
	t.LoopEvents += l.events
	t.AcceptErrors += l.acceptErrors
}

func (t *Stats) addQueues(p *sendq.Pool) {
	t.QueuedBytes += p.Bytes
	t.QueuedConns += p.Queues
	t.Written += p.Messages[sendq.Written]
	t.Expired += p.Messages[sendq.Expired]
	t.Collapsed += p.Messages[sendq.Collapsed]
	t.Dropped += p.Messages[sendq.Dropped]
	t.Closed += p.Messages[sendq.Closed]
	for i, n := range p.Latency {
		t.Latency[i] += n
	}
	t.LatencySum += float64(p.LatencySumMs) / 1000
}
