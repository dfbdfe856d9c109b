package hub

import (
	"strconv"
	"sync/atomic"

	"pushpod/hub/source"
	"pushpod/internal/resp"
)

// subscriber reads what is published on the pod's channels, and hands each message
// with its channel's role to the router.
type subscriber struct {
	src       source.Source
	router    *router
	channels  []channel
	open      int           // channels that are not confirmed yet
	confirmed chan struct{} // closed once all are
	heard     atomic.Uint64 // reads in which something came

	reply    resp.Reader
	buf      []byte
	from, to int // of buf: what is read and not parsed
	messages int // read, and not flushed
	skip     int // bytes of a message that is too large, still to come
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

// newSubscriber reads src, on which all channels have been asked for.
func newSubscriber(src source.Source, r *router, channels []channel, maxEnvelope int) *subscriber {
	return &subscriber{
		src: src, router: r, channels: channels, open: len(channels), confirmed: make(chan struct{}),
		reply: resp.Reader{MaxString: maxEnvelope, MaxFields: 4}, buf: make([]byte, readBytes),
	}
}

// run reads until the connection ends, with the error that ended it. A lone
// message is written at once; of many, as many as there are are read first, so
// that what goes to the same connection goes in one write. While a large
// fan-out is under way it looks for new messages between its slices.
func (s *subscriber) run() error {
	d, mu := s.router.h.deliverer, &s.router.h.delivering
	mu.Lock() // but while it waits for what comes
	defer mu.Unlock()
	defer func() {
		d.Flush()
		for d.Work() {
		}
	}()
	gathered, more := 0, false
	for {
		if more && d.Full() {
			more = d.Work()
			continue
		}
		idle := !more && gathered == 0
		if idle {
			d.Idle()
		}
		n, all, err := s.read(idle)
		if err != nil {
			return err
		}
		gathered += n
		if !all && gathered < min(gatherMost, max(gatherLarge, s.messages*largeOnes)) {
			continue
		}
		if gathered > 0 {
			d.Flush()
			gathered, s.messages = 0, 0
		}
		more = d.Work()
	}
}

// read reads n bytes, and routes the messages in them. all: there was no more.
func (s *subscriber) read(wait bool) (n int, all bool, err error) {
	s.makeRoom()
	asked := len(s.buf) - s.to
	if wait {
		mu := &s.router.h.delivering
		mu.Unlock()
		n, err = s.src.Read(s.buf[s.to:], wait)
		mu.Lock()
	} else {
		n, err = s.src.Read(s.buf[s.to:], wait)
	}
	if err != nil {
		return 0, false, err
	}
	s.to += n
	s.heard.Add(1)
	return n, n < asked && n < drainedAt, s.parse()
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

// take takes what Redis says on a subscription. What is neither a message nor a
// confirmation, such as a pong, says nothing; neither does an error once all channels
// are confirmed: it answers a PING (MISCONF, NOPERM, BUSY), and the subscription goes on.
func (s *subscriber) take(r *resp.Reader) error {
	if r.Kind == '-' && s.open > 0 {
		return r.Err()
	}
	if r.Kind != '*' || len(r.Fields) == 0 {
		return nil
	}
	kind, whole := string(r.Fields[0]), r.Skip == 0
	switch {
	case (kind == "message" || kind == "smessage") && len(r.Fields) == 3:
		s.messages++
		s.router.route(s.role(r.Fields[1]), r.Fields[2])
	case (kind == "message" || kind == "smessage") && len(r.Fields) == 2 && !whole:
		s.router.refuse("over "+strconv.Itoa(r.MaxString)+" bytes (redis.max_envelope)", r.Skip)
		s.skip = r.Skip
	case kind == "message", kind == "smessage", !whole:
		return resp.ErrMalformed
	case kind == "sunsubscribe":
		return errSlotMoved
	case kind == "subscribe", kind == "ssubscribe":
		if s.open--; s.open == 0 {
			close(s.confirmed)
		}
	}
	return nil
}

// role is that of the channel with this name.
func (s *subscriber) role(name []byte) role {
	for _, c := range s.channels {
		if string(name) == c.name {
			return c.role
		}
	}
	return roleAll // Redis does not send what nobody has asked for
}
