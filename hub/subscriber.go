package hub

import (
	"strconv"
	"time"

	"pushpod/internal/resp"
	"pushpod/redisconn"
)

// Redis says what the hub needs to reach Redis.
type Redis struct {
	// Client says how to reach it; the subscription has a client of its own.
	Client redisconn.Options
	// MaxEnvelope bounds a published message, in bytes.
	MaxEnvelope int
	// Timeout bounds each command.
	Timeout time.Duration
	// Probe is how often the subscription is proved.
	Probe time.Duration
}

// subscriber reads what is published on the pod's channels.
type subscriber struct {
	src        source
	router     *router
	subscribed func() // called once both subscriptions are confirmed

	reply     resp.Reader
	buf       []byte
	from, to  int // of buf: what is read and not parsed
	messages  int // read, and not flushed
	skip      int // bytes of a message that is too large, still to come
	confirmed int
}

func newReader(maxEnvelope int) resp.Reader {
	return resp.Reader{MaxString: maxEnvelope, MaxFields: 4}
}

const (
	readBytes = 128 << 10 // what fits into a core's cache
	drainedAt = 16 << 10  // a read below it, and below what was asked for, got all there was

	// What is read before anything of it is written, in bytes: of small messages
	// much, for what goes to one connection then goes in one write. Large ones
	// are rather written while they are in the cache: memory that is touched for
	// the first time costs more than the write.
	gatherMost  = 32 << 20
	gatherLarge = 256 << 10
	largeOnes   = 2 << 10 // on average
)

// run reads until the connection ends, with the error that ended it. A lone
// message is written at once; of many, as many as there are are read first, so
// that what goes to the same connection goes in one write. While a large
// fan-out is under way it looks for new messages between its slices.
func (s *subscriber) run() error {
	d := s.router.h.deliverer
	defer func() {
		d.Flush()
		for d.Work() {
		}
	}()
	s.buf = make([]byte, readBytes)
	gathered, more := 0, false
	for {
		if more && d.Full() {
			more = d.Work()
			continue
		}
		s.makeRoom()
		asked := len(s.buf) - s.to
		if !more && gathered == 0 {
			d.Idle()
		}
		n, err := s.src.read(s.buf[s.to:], !more && gathered == 0)
		if err != nil {
			return err
		}
		s.to += n
		if err := s.parse(); err != nil {
			return err
		}
		gathered += n
		if (n == asked || n >= drainedAt) && gathered < min(gatherMost, max(gatherLarge, s.messages*largeOnes)) {
			continue
		}
		if gathered > 0 {
			d.Flush()
			gathered, s.messages = 0, 0
		}
		more = d.Work()
	}
}

// makeRoom moves what is left to the front of the buffer.
func (s *subscriber) makeRoom() {
	switch {
	case s.from < s.to:
		s.to = copy(s.buf, s.buf[s.from:s.to])
	case len(s.buf) > readBytes: // a large message has passed
		s.buf, s.to = make([]byte, readBytes), 0
	default:
		s.to = 0
	}
	s.from = 0
}

// need makes the buffer large enough for n bytes.
func (s *subscriber) need(n int) {
	if n > len(s.buf) {
		bigger := make([]byte, max(n, 2*len(s.buf)))
		s.to = copy(bigger, s.buf[s.from:s.to])
		s.from, s.buf = 0, bigger
	}
}

// parse routes all whole messages in the buffer.
func (s *subscriber) parse() error {
	for s.from < s.to {
		if s.skip > 0 {
			k := min(s.skip, s.to-s.from)
			s.skip -= k
			s.from += k
			continue
		}
		n, err := s.reply.Parse(s.buf[s.from:s.to])
		if err != nil {
			return err
		}
		if n == 0 {
			s.need(s.reply.Need)
			return nil
		}
		if err := s.take(&s.reply); err != nil {
			return err
		}
		s.from += n
	}
	return nil
}

// take handles what Redis says on a subscription. Anything unknown is a pong.
func (s *subscriber) take(r *resp.Reader) error {
	if r.Kind != '*' || len(r.Fields) == 0 {
		return r.Err()
	}
	switch kind := string(r.Fields[0]); {
	case r.Skip > 0 && (kind != "message" || len(r.Fields) != 2), kind == "message" && r.Skip == 0 && len(r.Fields) != 3:
		return resp.ErrMalformed
	case r.Skip > 0:
		s.router.refuse("over "+strconv.Itoa(s.reply.MaxString)+" bytes (redis.max_envelope)", r.Skip)
		s.skip = r.Skip
	case kind == "message":
		s.messages++
		s.router.route(r.Fields[1], r.Fields[2])
	case kind == "subscribe":
		if s.confirmed++; s.confirmed == 2 {
			s.subscribed()
		}
	}
	return nil
}
