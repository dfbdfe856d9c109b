package conn

import "time"

// void is the transport of connections without a socket; see Options.Void.
type void struct {
	l    *Loop
	done chan struct{}

	// Under the loop's lock.
	ticking bool
	pinged  []*Conn // whose peers owe an answer
}

func newVoid(l *Loop) *void { return &void{l: l, done: make(chan struct{})} }

// transportFor makes the loop's transport.
func (s *Server) transportFor(l *Loop) (transport, error) {
	if s.opts.Void {
		return newVoid(l), nil
	}
	return s.newTransport(l)
}

// Introduce makes an open connection of a server with Options.Void; there is no
// handshake, and no welcome. introduce is called once, with the loop locked: the
// handler makes the connection known there. Its pings, renewals and age fall due
// as those of any other. It may be called from anywhere, after Serve and before
// Close.
func (s *Server) Introduce(user string, uuid UUID, introduce func(*Conn)) {
	l := s.loops[int(s.conns.Add(1))%len(s.loops)]
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.add(-1, [16]byte{})
	c.fillBucket()
	c.Identify(uuid, user)
	c.pingEach, _, _ = s.pingOf(&Request{}) // as one who asks for nothing
	c.set(flagIdentified)
	c.seen = l.log.end
	c.opened()
	introduce(c)
}

// run lets the loop's time go on until stop, and brings the answers to pings.
func (v *void) run() {
	t := time.NewTicker(tick)
	defer t.Stop()
	var pinged []*Conn
	for {
		select {
		case <-t.C:
		case <-v.done:
			return
		}
		v.l.mu.Lock()
		pinged, v.pinged = v.pinged, pinged[:0]
		ticking := v.ticking
		v.l.mu.Unlock()
		if ticking {
			v.l.tick()
		}
		for i, c := range pinged {
			v.answer(c)
			pinged[i] = nil
		}
	}
}

// answer comes in as an answer does over a socket: by itself, under the lock.
func (v *void) answer(c *Conn) {
	pong := [...]byte{0x80 | opPong, 0x80, 0, 0, 0, 0} // masked
	v.l.mu.Lock()
	defer v.l.mu.Unlock()
	if c.has(flagAwaiting) {
		c.input(pong[:])
	}
}

func (v *void) stop() { close(v.done) }

func (v *void) timer(on bool) { v.ticking = on }

func (v *void) write(c *Conn, b []byte) (int, error) {
	if c.has(flagAwaiting) {
		v.pinged = append(v.pinged, c)
	}
	return len(b), nil
}

func (v *void) armWrite(*Conn, bool) {}
func (v *void) finish(*Conn)         {}
func (v *void) close(*Conn)          {}
