package hub

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"pushpod/conn"
	"pushpod/hub/source"
	"pushpod/internal/resp"
	"pushpod/presence"
)

// feedHub runs a subscriber over what Redis sends, in pieces, and returns the
// hub whose books tell what was read, and how the subscriber ended.
func feedHub(t *testing.T, maxPayload int, stream string, piece func() int) (h *Hub, confirmed bool, _ error) {
	t.Helper()
	h = New(Options{Pod: testPod, Keys: presence.NewKeys("push:"), Log: zerolog.Nop()})
	h.Attach(conn.New(conn.Options{Admitter: h, Loops: 1}))
	ours, redis := net.Pipe()
	s := newSubscriber(source.New(ours, new(atomic.Bool)), h.router, testChannels, maxPayload)
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer redis.Close()
		for rest := stream; rest != ""; {
			n := min(piece(), len(rest))
			if _, err := io.WriteString(redis, rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	err := s.run()
	ours.Close()
	<-written
	return h, s.open == 0, err
}

var testChannels = []channel{{"a", roleOwn}, {"b", roleAll}}

// message is what Redis sends for one that is published.
func message(channel, payload string) string {
	return string(resp.AppendCommand(nil, "message", channel, payload))
}

const subscribed = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"

// books are the router's.
func books(h *Hub) string {
	return fmt.Sprint(h.router.ok.Load(), " ok, ", h.router.bad.Load(), " bad, ", h.router.misses.Load(), " misses")
}

// stray is an envelope of n bytes for a UUID that no pod holds: a miss.
func stray(n int) string {
	const empty = `{"to":"` + someUUID + `","data":""}`
	return empty[:len(empty)-2] + strings.Repeat("x", max(0, n-len(empty))) + empty[len(empty)-2:]
}

func TestSubscriberReadsMessagesOfEverySizeInPiecesOfEverySize(t *testing.T) {
	const bound = 300_000
	random := rand.New(rand.NewPCG(5, 5))
	subscriptions := "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"
	for _, size := range []int{1, 7, 100, 4096, 65536, 1 << 20} {
		var b strings.Builder
		b.WriteString(subscriptions)
		good, bad, total := 0, 0, 0
		for limit := min(size*4000, 4<<20); total < limit; {
			n := []int{0, 10, 1000, readBytes - 100, readBytes, readBytes + 1, 2*readBytes - 1000, 2 * readBytes, bound - 1, bound, bound + 1, bound + 2, 3 * bound}[random.IntN(13)]
			if size == 1 && n > 1000 {
				continue // too many pieces
			}
			text := stray(n)
			spoilt := random.IntN(10) == 0
			if spoilt {
				text = "[" + text[1:]
			}
			if spoilt || len(text) > bound {
				bad++
			} else {
				good++
			}
			total += len(text)
			b.WriteString(message("a", text))
			if random.IntN(5) == 0 {
				b.WriteString("*2\r\n$4\r\npong\r\n$0\r\n\r\n")
			}
		}
		h, confirmed, err := feedHub(t, bound, b.String(), func() int { return 1 + random.IntN(size) })
		if !errors.Is(err, io.EOF) || !confirmed {
			t.Fatalf("pieces up to %d: %v, confirmed %v", size, err, confirmed)
		}
		if got, want := books(h), fmt.Sprint(good, " ok, ", bad, " bad, ", good, " misses"); got != want {
			t.Errorf("pieces up to %d: %s, want %s", size, got, want)
		}
	}
}

func TestSubscriberSkipsWhatIsTooLargeWithoutHoldingIt(t *testing.T) {
	const huge = 8 << 20
	stream := message("a", stray(100)) + message("a", strings.Repeat("z", huge)) + message("a", stray(100))
	h := New(Options{Pod: testPod, Keys: presence.NewKeys("push:"), Log: zerolog.Nop()})
	h.Attach(conn.New(conn.Options{Admitter: h, Loops: 1}))
	ours, redis := net.Pipe()
	defer ours.Close()
	s := newSubscriber(source.New(ours, new(atomic.Bool)), h.router, testChannels, 1000)
	go func() { defer redis.Close(); _, _ = io.WriteString(redis, stream) }()
	if err := s.run(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if got := books(h); got != "2 ok, 1 bad, 2 misses" {
		t.Error(got)
	}
	if len(s.buf) > readBytes {
		t.Errorf("the buffer has grown to %d bytes", len(s.buf))
	}
}

func TestSubscriberEndsWithWhatRedisSays(t *testing.T) {
	for stream, want := range map[string]string{
		"-NOPERM this user has no permissions\r\n":                "NOPERM",
		"*3\r\n$7\r\nmessage\r\n":                                 "EOF",
		"HTTP/1.1 400 Bad Request\r\n":                            "malformed",
		message("a", stray(0)) + "*-2\r\n":                        "malformed",
		"*2\r\n$7\r\nmessage\r\n$1\r\na\r\n":                      "malformed",
		"*2\r\n$4\r\npong\r\n$1001\r\n":                           "malformed",
		"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n$1001\r\n":           "malformed",
		">3\r\n$7\r\nmessage\r\n":                                 "malformed", // RESP3 is not spoken
		"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$9999999999999999\r\n": "malformed",
	} {
		_, _, err := feedHub(t, 1000, stream, func() int { return len(stream) })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", stream, err, want)
		}
	}
}

// script is a source that is asked for one part after the other, and told whether the
// reader would wait.
type script func(wait bool) (part string, err error)

func (f script) Read(b []byte, wait bool) (int, error) {
	part, err := f(wait)
	return copy(b, part), err
}
func (script) Write([]byte) error { return nil }
func (script) End()               {}
func (script) Close()             {}

// runScript has a void pod read the script to its end.
func (p *voidPod) runScript(t *testing.T, f script) {
	t.Helper()
	s := newSubscriber(f, p.router, p.channels(), 1<<20)
	if err := s.run(); err != io.EOF {
		t.Errorf("the subscriber ends with %v", err)
	}
}

// Redis is looked at between two slices of a fan-out, and nothing is left to be
// written while the subscriber waits.
func TestAPushPassesALargeFanOut(t *testing.T) {
	const conns = 500
	p := newVoidPod(t, conns, conn.Options{Loops: 1})
	reads := 0
	p.runScript(t, func(wait bool) (string, error) {
		written := p.server.Stats().Written
		switch reads++; {
		case reads == 1:
			return message(p.keysAll(), `{"all":true,"data":1}`), nil
		case reads == 2:
			if wait || written == conns {
				t.Errorf("read again after %d of %d are written, waiting: %v", written, conns, wait)
			}
			return message(p.keysAll(), `{"user":"`+voidUser(7)+`","data":2}`), nil
		case !wait:
			return "", nil
		}
		if written != conns+1 {
			t.Errorf("it waits, though %d of %d are written", written, conns+1)
		}
		return "", io.EOF
	})
}

func TestWhatIsReadBeforeTheEndIsWritten(t *testing.T) {
	const conns = 500
	p := newVoidPod(t, conns, conn.Options{Loops: 1})
	for name, x := range map[string]struct {
		envelope string
		want     uint64
	}{
		"a fan-out": {`{"all":true,"data":1}`, conns},
		"much":      {`{"user":"` + voidUser(7) + `","data":"` + strings.Repeat("x", drainedAt) + `"}`, 1},
	} {
		before := p.server.Stats().Written
		rest := message(p.keysAll(), x.envelope)
		p.runScript(t, func(bool) (part string, err error) {
			if rest == "" {
				return "", io.EOF
			}
			part, rest = rest, ""
			return part, nil
		})
		if n := p.server.Stats().Written - before; n != x.want {
			t.Errorf("%s: %d of %d are written", name, n, x.want)
		}
	}
}

func TestNothingIsReadWhileTooMuchIsOnItsWay(t *testing.T) {
	const conns, messages, size = 300, 400, 250_000
	p := newVoidPod(t, conns, conn.Options{Loops: 1, Settings: conn.Settings{QueueBytes: 1 << 30}})
	stream := message(p.keysAll(), `{"all":true,"data":"`+strings.Repeat("x", size)+`"}`)
	reads, at, full := 0, 0, 0
	p.runScript(t, func(bool) (string, error) {
		if p.deliverer.Full() {
			full++
		}
		if at >= len(stream) {
			at = 0
			reads++
		}
		if reads == messages {
			return "", io.EOF
		}
		part := stream[at:min(at+readBytes/2, len(stream))] // fits in what is free of the buffer
		at += len(part)
		return part, nil
	})
	if full > 0 {
		t.Errorf("read %d times while too much was on its way", full)
	}
	if n := p.server.Stats().Written; n != conns*messages {
		t.Errorf("%d of %d are written", n, conns*messages)
	}
}

func TestTheRoomOfALargeMessageIsGivenBack(t *testing.T) {
	p := newVoidPod(t, 1, conn.Options{Loops: 1})
	s := newSubscriber(nil, p.router, p.channels(), 1<<20)
	rest := message(p.keysAll(), `{"all":true,"data":"`+strings.Repeat("x", 4*readBytes)+`"}`) + message(p.keysAll(), `{"all":true,"data":1}`)
	most := 0
	s.src = script(func(bool) (string, error) {
		most = max(most, len(s.buf))
		if rest == "" {
			return "", io.EOF
		}
		part := rest[:min(len(rest), len(s.buf)-s.to)]
		rest = rest[len(part):]
		return part, nil
	})
	if err := s.run(); err != io.EOF || p.server.Stats().Written != 2 {
		t.Errorf("%v, %d of 2 messages are written", err, p.server.Stats().Written)
	}
	if most <= readBytes || len(s.buf) != readBytes {
		t.Errorf("the buffer had %d bytes, and has %d", most, len(s.buf))
	}
}

func TestASubscriptionIsConfirmedOnceAllChannelsAre(t *testing.T) {
	p := newVoidPod(t, 0, conn.Options{Loops: 1})
	s := newSubscriber(nil, p.router, p.channels(), 1<<20)
	confirmed := func() bool {
		select {
		case <-s.confirmed:
			return true
		default:
			return false
		}
	}
	parts := []string{subscribed, subscribed, subscribed} // the last one is one too many
	s.src = script(func(bool) (part string, err error) {
		if got, want := confirmed(), len(parts) < 2; got != want {
			t.Errorf("%d are to come: confirmed is %v", len(parts), got)
		}
		if len(parts) == 0 {
			return "", io.EOF
		}
		part, parts = parts[0], parts[1:]
		return part, nil
	})
	if err := s.run(); err != io.EOF {
		t.Error(err)
	}
}

func FuzzSubscriber(f *testing.F) {
	f.Add([]byte(message("a", stray(0))+message("a", stray(2000))+subscribed), uint8(3))
	f.Add([]byte(fmt.Sprint("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5000\r\n", strings.Repeat("x", 5000), "\r\n")), uint8(200))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		whole, _, err1 := feedHub(t, 1000, string(b), func() int { return len(b) })
		split, _, err2 := feedHub(t, 1000, string(b), func() int { return 1 + int(piece) })
		if fmt.Sprint(err1) != fmt.Sprint(err2) || books(whole) != books(split) {
			t.Fatalf("whole: %v, %s\nsplit: %v, %s", err1, books(whole), err2, books(split))
		}
	})
}
