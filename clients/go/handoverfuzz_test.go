package client

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

// FuzzHandovers: whatever pods do to connections, and when, each message that was sent over one is handed to the
// application, and none twice; each request gets its receipt; and the client ends.
func FuzzHandovers(f *testing.F) {
	f.Add([]byte{0, 1, 4, 1, 5, 0, 1, 4, 1, 0, 1, 3, 1})
	f.Add([]byte{0, 1, 4, 1, 1, 4, 2, 4, 3, 0, 3, 3, 4, 255, 1, 7, 0, 1, 4})
	f.Add([]byte{0, 0x15, 0x0c, 0x09, 0x55, 0x11, 0x0e, 0x03, 0x01, 0x00, 0x4d, 0x04, 0x08, 0x03, 0x01, 0x0b, 0x3d, 0x07, 0x08, 0x01, 0x04, 0x05})
	random := rand.New(rand.NewPCG(20, 20))
	for range 40 {
		moves := make([]byte, random.IntN(60))
		for i := range moves {
			moves[i] = byte(random.Uint32())
		}
		f.Add(moves)
	}
	f.Fuzz(func(t *testing.T, moves []byte) {
		const most = 200
		synctest.Test(t, func(t *testing.T) {
			w := &handovers{t: t, moves: moves[:min(len(moves), most)]}
			w.run()
		})
	})
}

// handovers is a world of pods that do what moves say. A move belongs to whichever connection asks for the next one.
type handovers struct {
	t *testing.T

	mu    sync.Mutex // guards what follows
	moves []byte
	over  bool     // the client is being closed: what is pushed now is not its business
	sent  []string // ids of all messages that the client's side has read from the network
	got   map[string]int
}

func (w *handovers) run() {
	scripts := make([]func(p *peer), len(w.moves)+10)
	for i := range scripts {
		scripts[i] = func(p *peer) { w.play(p, fmt.Sprint("uuid-", i)) }
	}
	o := newFakePod(w.t, scripts...).options()
	w.got = map[string]int{}
	o.OnMessage = func(m Message) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.got[m.ID]++
	}
	r := run(w.t.Context(), w.t, o)
	var requests sync.WaitGroup
	for i := range 5 {
		requests.Go(func() {
			time.Sleep(time.Duration(i) * time.Second)
			if err := r.Request(w.t.Context(), []byte("1")); err != nil {
				w.t.Errorf("request %d: %v", i, err)
			}
		})
	}
	requests.Wait()
	for left := 1; left > 0; time.Sleep(time.Minute) {
		w.mu.Lock()
		left = len(w.moves)
		w.mu.Unlock()
	}
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	r.Close()
	r.wantResult(isNil)
	for _, id := range w.sent {
		if w.got[id] != 1 {
			w.t.Errorf("message %s was handed to the application %d times, want 1", id, w.got[id])
		}
	}
}

// move returns the next move; 0 where there is none any more, which is harmless.
func (w *handovers) move() (move byte, last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.moves) == 0 {
		return 0, true
	}
	move, w.moves = w.moves[0], w.moves[1:]
	return move, false
}

func (w *handovers) play(p *peer, uuid string) {
	switch m, _ := w.move(); m % 16 {
	case 1:
		p.refuse(503, "")
	case 2:
		p.readRequest()
	case 3:
		p.upgrade()
		time.Sleep(time.Duration(m) * 10 * time.Millisecond)
	default:
		p.welcomeAs(uuid)
		w.serve(p, uuid)
	}
}

// serve plays a connection after its welcome. Until the client says goodbye, moves decide.
func (w *handovers) serve(p *peer, uuid string) {
	left := make(chan struct{})
	defer func() { _ = p.conn.Close(); <-left }()
	go func() {
		defer close(left)
		for {
			op, payload, err := p.read()
			if err != nil || op == ws.OpClose {
				return
			}
			if f, err := parseFrame(payload); err == nil {
				_, _ = p.conn.Write(text(receipt(f.ID, `"status":"accepted"`)))
			}
		}
	}()
	for n := 0; ; n++ {
		wait := time.Duration(0)
		m, last := w.move()
		switch {
		case last:
			wait = 24 * time.Hour
		case m%8 == 1, m%8 == 2:
			w.push(p, fmt.Sprint(uuid, "-", n))
		case m%8 == 3:
			w.push(p, "the same of all")
		case m%8 == 4:
			_, _ = p.conn.Write(text(goaway))
		case m%8 == 6:
			return
		case m%8 == 7:
			_, _ = p.conn.Write(closeFrame(1001, fmt.Sprint("retry_ms=", int(m)*5)))
			<-left
			return
		default:
			wait = time.Duration(m) * 10 * time.Millisecond
		}
		select {
		case <-time.After(wait):
		case <-left:
			w.push(p, fmt.Sprint(uuid, "-", n, "-late"))
			_, _ = p.conn.Write(closeFrame(1000, ""))
			return
		}
	}
}

// push counts a message only if the client has taken it from the network: whoever hangs up before has not lost it.
func (w *handovers) push(p *peer, id string) {
	if _, err := p.conn.Write(text(`{"type":"message","id":"` + id + `","data":0}`)); err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.over {
			w.sent = append(w.sent, id)
		}
	}
}
