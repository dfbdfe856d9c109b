package tlsloop

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"

	"pushpod/conn/internal/netloop"
)

// Network speaks TLS over another network.
type Network struct {
	over    netloop.Network
	config  func() *tls.Config
	workers *workers
	loops   atomic.Int32 // that run

	// Handshakes by result; see Stats.
	ok, notTLS, failed, closed atomic.Uint64
}

// New returns a network that speaks TLS over another one. config is asked for each
// connection, with its loop's owner's lock held.
func New(over netloop.Network, config func() *tls.Config) *Network {
	return &Network{over: over, config: config, workers: newWorkers()}
}

// Stats is how many handshakes ended in which way. They only grow.
type Stats struct {
	OK     uint64
	NotTLS uint64 // what came was not TLS
	Failed uint64 // no version or cipher in common, no good certificate, nonsense, stalled while others waited
	Closed uint64 // the connection ended meanwhile: the client has gone, or the time was up
}

// Stats may be called from anywhere.
func (n *Network) Stats() Stats {
	return Stats{OK: n.ok.Load(), NotTLS: n.notTLS.Load(), Failed: n.failed.Load(), Closed: n.closed.Load()}
}

// Loop makes one more loop.
func (n *Network) Loop() (netloop.Loop, error) {
	over, err := n.over.Loop()
	if err != nil {
		return nil, err
	}
	l := &Loop{net: n, over: over, out: over.Sender(), sockets: map[int32]*socket{}}
	l.sender.loop = l
	n.loops.Add(1)
	return l, nil
}

// Accept hands sockets to take as the other network does. They are as over that one
// until Begin.
func (n *Network) Accept(l net.Listener, take func(fd int32, remote [16]byte), failed func()) (stop func(), err error) {
	return n.over.Accept(l, take, failed)
}

// IOUring reports what the other network does. Records are written one by one.
func (n *Network) IOUring() (used bool, err error) { return n.over.IOUring() }

// HandshakeError is returned by Loop.Read where a handshake has failed. What says so
// to the peer has been sent, and the socket is then to be ended (FinishWrites, Close).
type HandshakeError struct{ Err error }

func (e *HandshakeError) Error() string { return fmt.Sprintf("TLS handshake: %v", e.Err) }

// Unwrap returns the reason.
func (e *HandshakeError) Unwrap() error { return e.Err }
