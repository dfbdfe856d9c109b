package hub

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"pushpod/conn"
	"pushpod/presence"
)

// voidPod is a hub whose connections have no socket, without Redis: what comes from
// there is handed to it as bytes.
type voidPod struct {
	*Hub
	server   *conn.Server
	presence *countingPresence
	sub      *subscriber
	conns    []*conn.Conn
}

// newVoidPod holds n connections of as many users.
func newVoidPod(tb testing.TB, n int, o conn.Options) *voidPod {
	tb.Helper()
	p := &voidPod{presence: &countingPresence{}}
	p.Hub = New(Options{Pod: testPod, Keys: presence.NewKeys("push:"), Presence: p.presence, Pods: nowPods{}, Log: zerolog.Nop()})
	o.Handler, o.Void = p.Hub, true
	p.server = conn.New(o)
	p.Attach(p.server)
	if err := p.server.Serve(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.server.Close)
	p.sub = &subscriber{router: p.router, reply: newReader(1 << 20)}
	for i := range n {
		p.server.Introduce(voidUser(i), p.pods.NewUUID(), func(c *conn.Conn) {
			p.gate.enter(c.Remote(), true)
			p.registry.add(c)
		})
	}
	p.conns = p.registry.all()
	return p
}

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
func (p *voidPod) appendToOne(b []byte, c *conn.Conn, by, more, data string) []byte {
	target := `"user":"` + c.User() + `"`
	if by == "to" {
		target = `"to":"` + presence.FormatUUID(c.UUID()) + `"`
	}
	return append(b, message(string(p.router.own), `{`+target+more+`,"data":`+data+`}`)...)
}

// countingPresence counts what would be written to Redis. A renewal makes as much
// garbage as that of the real one (see its BenchmarkRenew).
type countingPresence struct {
	renewals, unregistered atomic.Uint64
	garbage                atomic.Pointer[[renewalGarbage]byte]
}

const renewalGarbage = 59

func (p *countingPresence) Register(presence.Entry, func(presence.Registered)) error { return nil }
func (p *countingPresence) Heal(string, func(conn.UUID) bool)                        {}
func (p *countingPresence) Err() error                                               { return nil }

func (p *countingPresence) Unregister(presence.Entry, func(error)) error {
	p.unregistered.Add(1)
	return nil
}

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
func (nowPods) NewUUID() conn.UUID          { return presence.NewUUID(time.Now().UnixMilli()) }
func (nowPods) Err() error                  { return nil }
