package tlsloop

import (
	"container/list"
	"errors"
	"runtime"
	"sync"
	"time"
)

const (
	// maxBegun is how many handshakes may have begun and not ended: each has a stack
	// and keys, some 20 KB.
	maxBegun = 4096
	// stalled is for how long a peer may keep its handshake waiting while others wait
	// to begin theirs.
	stalled = time.Second
)

var errStalled = errors.New("the client stalled while others waited")

// workers make the handshakes of a network.
//
// Those that are begun come first, so that few are half-done. Where as many are
// begun as may be, those that wait for their peers for longer than a second
// give way to others. Where the handshakes that have not begun wait for longer than
// that, there are more than can be made, and the latest is made first: else all of
// them would have waited until it is too late for them.
type workers struct {
	most int // workers

	mu      sync.Mutex // protects following, and what each handshake says
	work    *sync.Cond // something is to be done, or it is over
	claimed int        // workers
	over    bool
	begun   int        // handshakes with a coroutine
	fresh   *list.List // of *handshake: not begun, their ClientHello is whole
	ready   *list.List // something has come
	parked  *list.List // wait for their peers
}

func newWorkers() *workers {
	w := &workers{most: max(1, runtime.GOMAXPROCS(0)/2), fresh: list.New(), ready: list.New(), parked: list.New()}
	w.work = sync.NewCond(&w.mu)
	return w
}

// claim reports whether the caller is to run one more worker.
func (w *workers) claim() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.claimed++
	return w.claimed <= w.most
}

// stop ends the workers, once nothing is left to be done.
func (w *workers) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.work.Broadcast()
}

// run is a worker.
func (w *workers) run() {
	for h := w.take(); h != nil; h = w.take() {
		if w.put(h, h.resume()) {
			h.tell()
		}
	}
}

// take waits for something to do; nil: it is over.
func (w *workers) take() *handshake {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if h := w.pick(); h != nil {
			h.move(nil, phaseWorking)
			return h
		}
		if w.over {
			return nil
		}
		w.work.Wait()
	}
}

// pick returns the handshake whose turn it is.
func (w *workers) pick() *handshake {
	now := time.Now()
	if h := first(w.ready); h != nil {
		return h
	}
	h := first(w.fresh)
	if h == nil {
		return nil
	}
	if w.begun >= maxBegun {
		return w.giveWay(now)
	}
	if now.Sub(h.since) > stalled {
		h = w.fresh.Back().Value.(*handshake)
	}
	w.begun++
	return h
}

// giveWay returns a handshake that has to end.
func (w *workers) giveWay(now time.Time) *handshake {
	h := first(w.parked)
	if h == nil || now.Sub(h.since) < stalled {
		return nil // tick looks again
	}
	h.err = errStalled
	return h
}

func first(l *list.List) *handshake {
	if e := l.Front(); e != nil {
		return e.Value.(*handshake)
	}
	return nil
}

// put takes back a handshake that a worker had, and reports whether its socket's
// owner is to be told.
func (w *workers) put(h *handshake, ended bool) (tell bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case ended:
		if h.err == nil {
			h.err = h.result
		}
		w.begun--
		h.move(nil, phaseDone)
		w.work.Signal() // one more may begin
		return h.err != errClosed
	case len(h.in) > 0, h.err != nil:
		w.enqueue(h, phaseReady)
	default:
		h.move(w.parked, phaseParked)
	}
	return len(h.out) > 0
}

// enqueue has a worker take h. The caller holds mu.
func (w *workers) enqueue(h *handshake, to phase) {
	if to == phaseFresh {
		h.move(w.fresh, to)
	} else {
		h.move(w.ready, to)
	}
	w.work.Signal()
}

// interrupt has h end with err, unless it has ended.
func (w *workers) interrupt(h *handshake, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.err == nil {
		h.err = err
	}
	switch h.phase {
	case phaseHello, phaseFresh:
		h.move(nil, phaseDone)
	case phaseParked:
		w.enqueue(h, phaseReady)
	}
}

// tick has a worker look for handshakes that have to give way.
func (w *workers) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fresh.Len() > 0 {
		w.work.Signal()
	}
}

// move puts h into another list; nil: into none. The caller holds workers.mu.
func (h *handshake) move(to *list.List, p phase) {
	if h.place != nil {
		h.list.Remove(h.place)
		h.place, h.list = nil, nil
	}
	if h.phase = p; to != nil {
		h.list, h.place, h.since = to, to.PushBack(h), time.Now()
	}
}
