//go:build !linux

package conn

import "errors"

// eventLoops: there are event loops on this system.
const eventLoops = false

func (s *Server) newTransport(l *Loop) (transport, error) { return newPortable(l), nil }

func (s *Server) newAcceptor() (acceptor, error) { return s.newPortableAcceptor(), nil }

func newSender() (sender, error) { return nil, errors.ErrUnsupported }

// Chunks lie in the heap.
func mapRegion(int) []byte { return nil }

func unmapRegion([]byte) {}
