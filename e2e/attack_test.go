package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

const (
	attackers = 200 // loopback addresses
	perIP     = 5
)

// attack is what goes on at a pod from many addresses until it ends.
type attack struct {
	pod      *pod
	ctx      context.Context
	all      sync.WaitGroup
	statuses sync.Map // HTTP status -> *atomic.Int64
}

// from connects from one of the attackers' addresses.
func (a *attack) from(i int) (net.Conn, error) {
	d := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i/200), byte(1+i%200))}}
	return d.DialContext(a.ctx, "tcp", a.pod.listen)
}

// do sends from an address, and returns the status of the answer; 0: none came.
func (a *attack) do(i int, request string, then func(net.Conn)) {
	conn, err := a.from(i)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return
	}
	head := make([]byte, 512)
	n, _ := conn.Read(head)
	if status, ok := strings.CutPrefix(string(head[:n]), "HTTP/1.1 "); ok {
		count, _ := a.statuses.LoadOrStore(status[:3], new(atomic.Int64))
		count.(*atomic.Int64).Add(1)
	}
	if then != nil {
		then(conn)
	}
}

// pause lasts up to so many milliseconds: the attackers' own work must not be what good
// clients wait for.
func (a *attack) pause(ms int) {
	select {
	case <-a.ctx.Done():
	case <-time.After(time.Duration(rand.IntN(ms)) * time.Millisecond):
	}
}

// ways are what an attacker does, over and over.
func (a *attack) ways() []func(i int) {
	user := func(i int) string { return fmt.Sprint("/ws?user=attacker", i) }
	wait := func(net.Conn) { a.pause(300) }
	return []func(i int){
		func(i int) { a.do(i, upgradeRequest(user(i)), wait) },                       // opens
		func(i int) { a.do(i, "GET /ws?user=x HTTP/1.1\r\nHost: x\r\nX: ", wait) },   // half-opens
		func(i int) { a.do(i, "", wait) },                                            // says nothing
		func(i int) { a.do(i, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", nil) }, // speaks TLS
		func(i int) { a.do(i, upgradeRequest("/ws?user=%7D"), nil) },                 // lies
		func(i int) { a.do(i, upgradeRequest("/ws?token="+strings.Repeat("x", 20<<10)), nil) },
		func(i int) { // floods
			a.do(i, upgradeRequest(user(i)), func(conn net.Conn) {
				frame := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`{"type":"ping","id":"1"}`))))
				burst := bytes.Repeat(frame, 200)
				for a.ctx.Err() == nil {
					if _, err := conn.Write(burst); err != nil {
						return
					}
					a.pause(20)
				}
			})
		},
		func(i int) { // breaks the protocol
			a.do(i, upgradeRequest(user(i)), func(conn net.Conn) { _, _ = conn.Write([]byte{0xff, 0xff, 0xff, 0xff, 0xff}); wait(conn) })
		},
	}
}

// begin attacks from all addresses until the test ends or end is called.
func begin(t *testing.T, p *pod) (a *attack, end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	a = &attack{pod: p, ctx: ctx}
	ways := a.ways()
	for i := range attackers {
		a.all.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				ways[n%len(ways)](i)
				a.pause(100)
			}
		})
	}
	end = func() { cancel(); a.all.Wait() }
	t.Cleanup(end)
	return a, end
}

// goodClients connect one after the other, send a ping each and leave; it returns how
// long each took from dialling to its receipt.
func goodClients(t *testing.T, p *pod, n int) (took []time.Duration) {
	t.Helper()
	for range n {
		start := time.Now()
		c := dial(t, p, "alice")
		c.check("a good client")
		took = append(took, time.Since(start))
		c.leave()
	}
	slices.Sort(took)
	return took
}

// 200 addresses open, half-open, flood and lie, while good clients come and go.
func TestGoodClientsGetInWhileOthersAttack(t *testing.T) {
	r := startRedis(t)
	p := startPod(t, r, quick().with("limits.per_ip", fmt.Sprint(perIP), "limits.per_user", "3", "conn.handshake_timeout", "1s", "limits.frames_per_second", "50"))
	before := goodClients(t, p, 50)
	stays := dial(t, p, "bob")
	a, end := begin(t, p)
	eventually(t, "the attack is on", settle, func() (bool, any) {
		n, _ := a.statuses.Load("400")
		return n != nil && n.(*atomic.Int64).Load() > attackers, n
	})
	during := goodClients(t, p, 100)
	t.Logf("a good client's median: %v, and %v while others attack", before[len(before)/2], during[len(during)/2])
	publish(t, p.redisClient(), p.channel, `{"user":"bob","data":1}`)
	stays.wantMessage("a push meanwhile", "1")
	end()

	for _, status := range []string{"101", "400", "431", "408"} {
		if _, seen := a.statuses.Load(status); !seen {
			t.Errorf("nobody got %s", status)
		}
	}
	a.statuses.Range(func(status, n any) bool {
		t.Log(status, n.(*atomic.Int64).Load())
		if !slices.Contains([]string{"101", "400", "408", "429", "431"}, status.(string)) {
			t.Errorf("status %s", status)
		}
		return true
	})
	// All that they took is free again, and each address may connect as often as before.
	eventually(t, "the attackers are forgotten", settle, func() (bool, any) {
		n := p.metric("pushpod_connections")
		return n == 1, n
	})
	again := &attack{pod: p, ctx: t.Context()}
	for range perIP {
		conn, err := again.from(7)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, upgradeRequest("/ws?user=attacker7"+fmt.Sprint(rand.Int()))); err != nil {
			t.Fatal(err)
		}
		if got := awaitAnswer(conn); got.status != http.StatusSwitchingProtocols {
			t.Errorf("an attacker's address afterwards: %d, want 101", got.status)
		}
	}
	stays.check("who was there all the time")
}
