//go:build !linux

package conn

func (s *Server) newTransport(l *Loop) (transport, error) { return newPortable(l), nil }

func (s *Server) newAcceptor() (acceptor, error) { return s.newPortableAcceptor(), nil }
