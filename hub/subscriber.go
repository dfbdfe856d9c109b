package hub

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/presence"
)

// Redis says what the hub needs to reach Redis.
type Redis struct {
	// Client says how to reach it; the subscription has a client of its own.
	Client presence.ClientOptions
	// MaxEnvelope bounds a published message, in bytes.
	MaxEnvelope int
	// Timeout bounds each command.
	Timeout time.Duration
	// Probe is how often the subscription is proved.
	Probe time.Duration
}

// dial connects, authenticates and selects the database by the client library,
// and takes the connection over from it: what is published is read by the hub
// itself, since the library's own reader drops messages where it stalls, and
// says nothing of what is lost when it reconnects.
func dial(ctx context.Context, o presence.ClientOptions) (net.Conn, io.Closer, error) {
	var taken net.Conn
	o.NoRetry, o.PoolSize = true, 1
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{Timeout: o.Timeout}).DialContext(ctx, network, addr)
		taken = c
		return c, err
	}
	client := presence.NewClient(o)
	single, ok := client.(*redis.Client)
	if !ok {
		client.Close()
		return nil, nil, errors.New("hub: a subscription needs one server to speak to")
	}
	one := single.Conn()
	if err := one.Ping(ctx).Err(); err != nil {
		one.Close()
		client.Close()
		return nil, nil, err
	}
	if err := taken.SetDeadline(time.Time{}); err != nil {
		client.Close()
		return nil, nil, err
	}
	return taken, closers{one, client}, nil
}

type closers []io.Closer

func (c closers) Close() error {
	var errs []error
	for _, one := range c {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// subscriber reads what is published on the pod's channels.
type subscriber struct {
	src        source
	router     *router
	maxPayload int
	subscribed func() // called once both subscriptions are confirmed

	buf       []byte
	from, to  int // of buf: what is read and not parsed
	messages  int // read, and not flushed
	skip      int // bytes of a message that is too large, still to come
	confirmed int
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
		p, n, err := parsePublished(s.buf[s.from:s.to], s.maxPayload)
		if err != nil {
			return err
		}
		switch p.kind {
		case respIncomplete:
			s.need(n)
			return nil
		case respTooLarge:
			s.router.refuse("over "+strconv.Itoa(s.maxPayload)+" bytes (redis.max_envelope)", p.size)
			s.skip = p.size + 2
		case respSubscribed:
			if s.confirmed++; s.confirmed == 2 {
				s.subscribed()
			}
		case respMessage:
			s.messages++
			s.router.route(p.channel, p.payload)
		}
		s.from += n
	}
	return nil
}

// appendCommand appends a command as Redis reads it (RESP).
func appendCommand(b []byte, args ...string) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(len(args)), 10)
	for _, a := range args {
		b = append(b, "\r\n$"...)
		b = strconv.AppendInt(b, int64(len(a)), 10)
		b = append(b, "\r\n"...)
		b = append(b, a...)
	}
	return append(b, "\r\n"...)
}
