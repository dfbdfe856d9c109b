package hub

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"pushpod/conn"
	"pushpod/conn/conntest"
	"pushpod/presence"
)

// voidPod is a hub whose connections have no socket, without Redis: what comes from
// there is handed to it as bytes.
type voidPod struct {
	*Hub
	server   *conn.Server
	void     *conntest.Void
	presence *countingPresence
	sub      *subscriber
	conns    []*session
}

// newVoidPod holds n connections of as many users.
func newVoidPod(tb testing.TB, n int, o conn.Options) *voidPod {
	tb.Helper()
	p := &voidPod{presence: &countingPresence{}, void: conntest.NewVoid()}
	p.Hub = New(Options{Pod: testPod, Keys: presence.NewKeys("push:"), Presence: p.presence, Pods: nowPods{}, Log: zerolog.Nop()})
	p.status.update(func(s *status) { s.asked, s.claimed, s.subscribed, s.proved = true, true, true, true })
	o.Admitter, o.Network, o.MaxConns = p.Hub, p.void, 2*n+100 // they take no descriptors
	p.server = conn.New(o)
	p.Attach(p.server)
	if err := p.server.Serve(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.server.Close)
	p.sub = newSubscriber(nil, p.router, p.channels(), 1<<20)
	const atOnce = 1000
	for i := range n {
		p.connectVoid(i)
		if i%atOnce == 0 || i == n-1 {
			for end := time.Now().Add(patience); p.presence.answer() < i+1; time.Sleep(100 * time.Microsecond) {
				if time.Now().After(end) {
					tb.Fatalf("%d of %d connections are registered", p.Len(), i+1)
				}
			}
		}
	}
	p.conns = p.registry.all()
	return p
}

// connectVoid has one more user connect, who waits for the answer.
func (p *voidPod) connectVoid(i int) {
	p.void.Connect("GET /ws?user=" + voidUser(i) + " HTTP/1.1\r\nHost: void\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
}

// keysAll is the channel of all pods.
func (p *voidPod) keysAll() string { return p.opts.Keys.AllChannel() }

func voidUser(i int) string { return fmt.Sprintf("user-%07d", i) }

// bring takes bytes as Redis sends them all the way. With one loop they are written
// when it returns.
func (p *voidPod) bring(b []byte) error {
	s := p.sub
	s.buf, s.from, s.to = b, 0, len(b)
	if err := s.parse(); err != nil {
		return err
	}
	p.deliverer.Flush()
	for p.deliverer.Work() {
	}
	p.deliverer.Idle()
	return nil
}

// appendToOne appends a message for one connection, as Redis sends it.
func (p *voidPod) appendToOne(b []byte, c *session, by, more, data string) []byte {
	target := `"user":"` + c.user + `"`
	if by == "to" {
		target = `"to":"` + presence.FormatUUID(c.uuid) + `"`
	}
	return append(b, message(p.channels()[0].name, `{`+target+more+`,"data":`+data+`}`)...)
}

// countingPresence counts what would be written to Redis. A renewal makes as much
// garbage as that of the real one (see its BenchmarkRenew).
type countingPresence struct {
	renewals, unregistered atomic.Uint64
	garbage                atomic.Pointer[[renewalGarbage]byte]

	mu       sync.Mutex // protects following
	waiting  []func(presence.Registered)
	answered int
}

const renewalGarbage = 59

func (p *countingPresence) Register(_ presence.Entry, done func(presence.Registered)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, done)
	return nil
}

// answer says of all that wait that they are registered, and returns how many
// were told so in all.
func (p *countingPresence) answer() int { return p.answerWith(presence.Registered{}) }

// answerWith answers all that wait, and returns how many were answered in all.
func (p *countingPresence) answerWith(r presence.Registered) int {
	p.mu.Lock()
	waiting := p.waiting
	p.waiting = nil
	p.mu.Unlock()
	for i, done := range waiting {
		r.More = i < len(waiting)-1
		done(r)
	}
	p.answered += len(waiting)
	return p.answered
}
func (p *countingPresence) Unregister(presence.Entry, func(error)) error {
	p.unregistered.Add(1)
	return nil
}
func (p *countingPresence) Check(presence.Entry, bool, func(error)) error { return nil }
func (p *countingPresence) Heal(string, func(presence.UUID) bool)         {}
func (p *countingPresence) Err() error                                    { return nil }
func (p *countingPresence) Failing() error                                { return nil }

func (p *countingPresence) Renew(presence.Entry) {
	p.renewals.Add(1)
	p.garbage.Store(new([renewalGarbage]byte))
}

// nowPods knows the time and makes UUIDs.
type nowPods struct{}

func (nowPods) Claim(context.Context) error { return nil }
func (nowPods) Beat(context.Context) error  { return nil }
func (nowPods) Run(context.Context) error   { return nil }
func (nowPods) Leave(context.Context) error { return nil }
func (nowPods) NowMs() int64                { return time.Now().UnixMilli() }
func (nowPods) NewUUID() presence.UUID      { return presence.NewUUID(time.Now().UnixMilli()) }
func (nowPods) Err() error                  { return nil }
func (nowPods) Fleet() int                  { return 1 }
