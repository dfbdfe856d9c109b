package netloop

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// portableNetwork is a network with goroutines: one that reads for each socket,
// and one that writes while something is on its way.
type portableNetwork struct {
	mu      sync.Mutex // protects following
	sockets map[int32]*socket
	last    int32
}

// NewPortable returns a network that needs nothing but package net.
func NewPortable() Network { return &portableNetwork{sockets: map[int32]*socket{}} }

// IOUring says that it is off.
func (n *portableNetwork) IOUring() (used bool, err error) { return false, nil }

// Loop makes one more loop.
func (n *portableNetwork) Loop() (Loop, error) {
	l := &portable{net: n, started: make(chan struct{}), done: make(chan struct{})}
	l.sender.l = l
	return l, nil
}

func (n *portableNetwork) add(c *net.TCPConn) int32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	n.sockets[n.last] = &socket{conn: c}
	return n.last
}

func (n *portableNetwork) socket(fd int32) *socket {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sockets[fd]
}

// Accept accepts with a goroutine.
func (n *portableNetwork) Accept(l net.Listener, take func(fd int32, remote [16]byte), failed func()) (stop func(), err error) {
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // no descriptor is to be had
				failed()
				time.Sleep(acceptAgain)
				continue
			}
			var remote [16]byte
			if addr, ok := c.RemoteAddr().(*net.TCPAddr); ok {
				remote = addr.AddrPort().Addr().As16()
			}
			take(n.add(c.(*net.TCPConn)), remote)
		}
	})
	return func() {
		l.Close()
		running.Wait()
	}, nil
}

const (
	acceptAgain = 50 * time.Millisecond
	lastWrites  = 5 * time.Second // for what is on its way when a socket is closed
	socketReads = 4 << 10
	socketSends = 64 << 10 // bytes that a socket takes at once
)

// portable is a loop of a portableNetwork.
type portable struct {
	net     *portableNetwork
	to      Events // since started is closed
	started chan struct{}
	done    chan struct{}
	running sync.WaitGroup // readers and writers
	sender  portableSender

	ticking bool
	mu      sync.Mutex // protects ticking
}

// Run lets the time go on until Stop.
func (p *portable) Run(to Events) {
	p.to = to
	close(p.started)
	t := time.NewTicker(Tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.mu.Lock()
			ticking := p.ticking
			p.mu.Unlock()
			if ticking {
				to.Tick()
			}
		case <-p.done:
			p.running.Wait() // their sockets have been closed
			return
		}
	}
}

// Stop ends Run.
func (p *portable) Stop() { close(p.done) }

// Timer starts or stops the calls of Tick.
func (p *portable) Timer(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ticking = on
}

// Add starts to read.
func (p *portable) Add(fd int32, r Ref) error {
	s := p.net.socket(fd)
	s.p, s.ref = p, r
	p.running.Go(s.reader)
	return nil
}

// Read takes what the reader has read.
func (p *portable) Read(fd int32, b []byte) (int, error) { return p.net.socket(fd).take(b) }

// Abandon does nothing: what is not acknowledged is left to the system's own patience.
func (p *portable) Abandon(int32, time.Duration) {}

// NotifyWritable tells when the socket takes more.
func (p *portable) NotifyWritable(fd int32, r Ref, on bool) {
	s := p.net.socket(fd)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notify = on
	if on && !s.writing {
		s.writing = true
		p.running.Go(s.writer)
	}
}

// FinishWrites shuts the socket down behind what is on its way.
func (p *portable) FinishWrites(fd int32) { p.net.socket(fd).end(false) }

// Close closes the socket behind what is on its way.
func (p *portable) Close(fd int32) {
	s := p.net.socket(fd)
	p.net.mu.Lock()
	delete(p.net.sockets, fd)
	p.net.mu.Unlock()
	s.end(true)
}

// Sender returns the loop's sender.
func (p *portable) Sender() Sender { return &p.sender }

// portableSender hands bytes over to the sockets' writers.
type portableSender struct {
	l        *portable
	prepared int
	results  [MaxWrites]int
	errs     [MaxWrites]error
}

// Add writes.
func (w *portableSender) Add(fd int32, bufs [][]byte) {
	w.results[w.prepared], w.errs[w.prepared] = w.l.net.socket(fd).put(bufs)
	w.prepared++
}

// Send has nothing left to do.
func (w *portableSender) Send() { w.prepared = 0 }

// Result says what became of a write.
func (w *portableSender) Result(i int) (int, error) { return w.results[i], w.errs[i] }

// socket is a socket of a portableNetwork. It never keeps its loop's owner waiting.
type socket struct {
	conn *net.TCPConn
	p    *portable // and ref: since Add
	ref  Ref

	mu       sync.Mutex // protects following
	in       []byte     // that was read and not taken
	out      []byte     // that is being written
	err      error      // of the reader
	writeErr error
	writing  bool // the writer runs
	notify   bool // tell when out is empty
	closing  bool // close behind out
	shutting bool // shut down behind out
}

// reader reads until the end.
func (s *socket) reader() {
	<-s.p.started
	buf := make([]byte, socketReads)
	for {
		n, err := s.conn.Read(buf)
		s.mu.Lock()
		s.in, s.err = buf[:n], err
		s.mu.Unlock()
		for more := true; more; {
			s.p.to.Ready(s.ref, true, false)
			s.mu.Lock()
			more = len(s.in) > 0 && !s.closing
			s.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// take is read without a wait.
func (s *socket) take(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := copy(b, s.in)
	s.in = s.in[n:]
	switch {
	case n > 0:
		return n, nil
	case s.err == nil:
		return 0, ErrAgain
	default:
		return 0, io.EOF
	}
}

// put is write without a wait: it takes what fits.
func (s *socket) put(bufs [][]byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writeErr != nil {
		return 0, s.writeErr
	}
	if s.writing {
		return 0, nil
	}
	for _, b := range bufs {
		k := min(len(b), socketSends-len(s.out))
		s.out = append(s.out, b[:k]...)
		n += k
	}
	s.writing = true
	s.p.running.Go(s.writer)
	return n, nil
}

// writer writes what was put, and then what has to follow.
func (s *socket) writer() {
	s.mu.Lock()
	out := s.out
	s.mu.Unlock()
	_, err := s.conn.Write(out)
	s.mu.Lock()
	s.out, s.writing, s.writeErr = nil, false, err
	notify := s.notify
	s.finish()
	s.mu.Unlock()
	if notify {
		s.p.to.Ready(s.ref, false, true)
	}
}

func (s *socket) end(closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shutting = true
	if closing {
		s.closing = true
		_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // the reader ends
		_ = s.conn.SetWriteDeadline(time.Now().Add(lastWrites))
	}
	if !s.writing {
		s.finish()
	}
}

// finish ends what has to be ended. The caller holds mu.
func (s *socket) finish() {
	if s.closing {
		_ = s.conn.Close()
	} else if s.shutting {
		_ = s.conn.CloseWrite()
	}
}
