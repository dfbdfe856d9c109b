package conn

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestAPushReachesItsConnectionAndNoOther(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o)
		a, b := s.connect(t, "a"), s.connect(t, "b")
		s.push(t, Push{}, "for a", "a")
		s.push(t, Push{}, "for all")
		s.flush()
		a.wantText("its own", "for a")
		a.wantText("everyone's", "for all")
		b.wantText("everyone's, and nothing before it", "for all")
		a.closeNow()
		b.closeNow()
		s.wantBooks(t, Stats{Written: 3})
	})
}

func (s *testServer) wantBooks(t *testing.T, want Stats) {
	t.Helper()
	var got Stats
	for range 400 {
		got = s.Stats()
		if got.Written == want.Written && got.Expired == want.Expired && got.Collapsed == want.Collapsed && got.Dropped == want.Dropped && got.Closed == want.Closed {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("books: written %d expired %d collapsed %d dropped %d closed %d, want %d %d %d %d %d",
		got.Written, got.Expired, got.Collapsed, got.Dropped, got.Closed, want.Written, want.Expired, want.Collapsed, want.Dropped, want.Closed)
}

// What each connection is sent arrives in order, whatever mixture of pushes
// and broadcasts, small and large, comes in batches of whatever size.
func TestEachConnectionGetsItsMessagesInOrder(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.QueueBytes, o.Ping = 64<<20, time.Hour })
		const users, messages = 40, 3000
		clients := map[string]*client{}
		expect := map[string][]string{}
		var names []string
		for i := range users {
			u := fmt.Sprint("u", i)
			names = append(names, u)
			clients[u] = s.connect(t, u)
		}
		r := rand.New(rand.NewPCG(1, 2))
		done := make(chan error, users)
		total := uint64(0)
		for i := range messages {
			body := fmt.Sprint(i, strings.Repeat("x", r.IntN(2000)))
			switch r.IntN(4) {
			case 0:
				s.push(t, Push{}, body)
				for _, u := range names {
					expect[u] = append(expect[u], body)
				}
			default:
				to := names[r.IntN(users):]
				to = to[:min(len(to), 1+r.IntN(5))]
				s.push(t, Push{}, body, to...)
				for _, u := range to {
					expect[u] = append(expect[u], body)
				}
			}
			if r.IntN(10) == 0 {
				s.d.Flush()
			}
			if r.IntN(20) == 0 {
				s.d.Work()
			}
		}
		s.flush()
		for u, c := range clients {
			total += uint64(len(expect[u]))
			go func() {
				for i, want := range expect[u] {
					f, err := c.next()
					if err != nil || string(f.Payload) != want {
						done <- fmt.Errorf("%s, message %d: got %.20q %v, want %.20q", u, i, f.Payload, err, want)
						return
					}
				}
				done <- nil
			}()
		}
		for range users {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		s.wantBooks(t, Stats{Written: total})
	})
}

// jam fills the connection's socket until something waits in its queue.
func (s *testServer) jam(t *testing.T, user string) (sent int) {
	t.Helper()
	return s.jamTo(t, user, 40<<10)
}

func (s *testServer) jamTo(t *testing.T, user string, queued int64) (sent int) {
	t.Helper()
	big := strings.Repeat("j", 32<<10)
	for {
		s.push(t, Push{}, big, user)
		s.flush()
		sent++
		time.Sleep(time.Millisecond) // the portable transport writes beside us
		if s.Stats().QueuedBytes > queued {
			time.Sleep(50 * time.Millisecond)
			if s.Stats().QueuedBytes > queued { // and it stays so
				return sent
			}
		}
		if sent > 4000 {
			t.Fatal("the socket takes everything")
		}
	}
}

func TestABroadcastJamsNoOne(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.QueueBytes, o.SlowConsumer = 64<<10, DropNewest })
		s.connect(t, "stuck")
		fast := s.connect(t, "fast")
		body := strings.Repeat("b", 10<<10) // twice three of them fit
		for range 400 {
			for range 3 {
				s.push(t, Push{}, body)
			}
			s.flush()
			for range 3 {
				fast.wantText("the fast one gets every message", body)
			}
		}
		// The fast one's last messages may still be in a writer's hands.
		eventually(t, "only the stuck one's queue is left, within its bound", func() bool { return s.Stats().QueuedBytes <= 64<<10 })
		if s.Stats().Dropped == 0 {
			t.Fatal("nothing was dropped for the stuck one")
		}
	})
}

func TestAMessageLargerThanTheQueueIsWrittenWhereNothingWaits(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.QueueBytes = 4 << 10 })
		c := s.connect(t, "u")
		large := strings.Repeat("l", 8<<20) // more than the socket takes at once
		s.push(t, Push{}, large, "u")
		s.flush()
		c.wantText("large", large)
		s.push(t, Push{}, large)
		s.flush()
		c.wantText("large for all", large)
		s.wantBooks(t, Stats{Written: 2})
	})
}

func TestPooledMessagesAreNotMixedUp(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o, func(o *Options, _ *fakeHub) { o.QueueBytes = 16 << 20 })
		stuck, c := s.connect(t, "stuck"), s.connect(t, "u")
		n := s.jam(t, "stuck")
		for i := range 5000 {
			s.push(t, Push{}, fmt.Sprintf("message %d", i), "stuck", "u")
			if i%7 == 0 {
				s.flush()
			}
		}
		s.flush()
		for i := range 5000 {
			c.wantText("at once", fmt.Sprintf("message %d", i))
		}
		for range n {
			stuck.want("jam", ws.OpText)
		}
		for i := range 5000 {
			stuck.wantText("after a long wait", fmt.Sprintf("message %d", i))
		}
	})
}

func TestDeliveringAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has pools forget")
	}
	s, conns := voidServer(t, 100, Options{})
	d := s.NewDeliverer()
	body := []byte(strings.Repeat("x", 128))
	sendAll := func() {
		for i, c := range conns {
			if i%2 == 0 {
				d.Plain(c, 1, body[:1], body[1:])
			} else {
				send(d, Push{}, body, c)
			}
		}
		send(d, Push{}, body)
		flushAll(d)
	}
	sendAll()
	if n := testing.AllocsPerRun(100, sendAll); n > 0.5 {
		t.Errorf("%v allocations for 200 deliveries", n)
	}
}

// A batch that is handed over by itself, because it is large, leaves nothing for
// Flush; and once it is out, a lone push needs no worker.
func TestAWorkerRestsOnceALargeBatchIsOut(t *testing.T) {
	s, conns := voidServer(t, 2, Options{Loops: 2, Settings: Settings{QueueBytes: 64 << 20}})
	d, l := s.NewDeliverer(), conns[0].loop
	for i := range uint64(100) {
		send(d, Push{}, []byte(large), conns[0])
		d.Flush()
		eventually(t, "it is out, and the worker rests", func() bool {
			return s.Stats().Written == 2*i+1 && l.atRest() && !l.box.busy.Load() && s.behind.Load() == 0
		})
		d.Plain(conns[0], 0, []byte("alone"))
		if d.Flush(); s.Stats().Written != 2*i+2 {
			t.Fatal("a lone push is left to the worker")
		}
	}
}

func TestWhatCollapsesStaysWithinTheBound(t *testing.T) {
	const limit = 32 << 10 // into which a hundred small ones fit
	x := newFakeServer(t, Options{Settings: Settings{QueueBytes: limit, SlowConsumer: DropNewest}}).open("u")
	for _, size := range []int{1, limit / 4} {
		for i := range 100 {
			x.message(Push{Collapse: string(rune('A' + i))}, strings.Repeat("x", size))
		}
	}
	if st := x.s.Stats(); x.c.out.Memory() > limit || st.Collapsed != 100 {
		t.Errorf("%d bytes wait, want %d at most; %d are replaced", st.QueuedBytes, limit, st.Collapsed)
	}
}

// It is one message, and its reader takes it as fast as it can.
func TestNobodyIsSlowBecauseOfAPingBehindALargeMessage(t *testing.T) {
	x := newFakeServer(t, Options{Settings: Settings{SlowConsumer: DropNewest, Ping: time.Second, PingTimeout: time.Second}}).open("u")
	x.message(Push{}, strings.Repeat("z", 1<<20)) // alone, so it is taken
	x.give(600 << 10)
	x.s.tick(12)
	if st := x.s.Stats(); st.SlowConsumers != 0 || st.PingsSent == 0 {
		t.Errorf("%+v", st)
	}
}
