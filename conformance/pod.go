package conformance

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// pod listens, and tells in one stream what happens on all of its connections.
type pod struct {
	listener net.Listener
	events   chan event
	done     chan struct{}
	running  sync.WaitGroup

	mu    sync.Mutex // protects following
	peers map[*peer]bool
}

// An event is one thing that a client has done.
type event struct {
	peer  *peer
	kind  kind
	at    time.Time
	frame frame  // of said
	text  string // of said and ponged
	code  int    // of closed; 1005: none. Of said: with what the pod has closed the connection for it; 0: it has not
	err   error  // of said: what is wrong with the frame. Of gone: how it ended
}

type kind int

const (
	arrived kind = iota // its handshake has been read
	said                // a text frame
	ponged
	closed // a close frame
	gone   // the end of TCP
)

func listen(address string) (*pod, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	p := &pod{listener: l, events: make(chan event, 64), done: make(chan struct{}), peers: map[*peer]bool{}}
	p.running.Go(p.accept)
	return p, nil
}

// url is where clients connect. start tells a client from one that was started before.
func (p *pod) url(query string, start int) string {
	url := fmt.Sprintf("ws://%s/ws?user=%s&start=%d", p.listener.Addr(), user, start)
	if query != "" {
		url += "&" + query
	}
	return url
}

func (p *pod) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			select {
			case <-p.done:
				return
			case <-time.After(10 * time.Millisecond): // out of descriptors
			}
			continue
		}
		peer := newPeer(p, conn)
		p.mu.Lock()
		p.peers[peer] = true
		p.mu.Unlock()
		p.running.Go(func() {
			peer.run()
			p.mu.Lock()
			delete(p.peers, peer)
			p.mu.Unlock()
		})
	}
}

func (p *pod) tell(e event) {
	e.at = time.Now()
	select {
	case p.events <- e:
	case <-p.done:
	}
}

// hangUp ends the connections that are there, such that clients come again.
func (p *pod) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for peer := range p.peers {
		peer.endWith(1001, "retry_ms=0")
	}
}

// close ends all, and waits for it.
func (p *pod) close() {
	close(p.done)
	_ = p.listener.Close()
	p.mu.Lock()
	for peer := range p.peers {
		peer.shut()
	}
	p.mu.Unlock()
	p.running.Wait()
}
