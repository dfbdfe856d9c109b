//go:build unix

package conn

import (
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// boundSendBuffers sets SO_SNDBUF of the listener, which the sockets that it accepts
// inherit, also on other systems than Linux (socket(7), tcp(7)). Linux keeps twice as much
// for them, for its own needs, and reports that.
func (s *Server) boundSendBuffers(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		if failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, s.opts.SendBuffer); failed != nil {
			return
		}
		s.sendBuffer, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		if runtime.GOOS == "linux" {
			s.sendBuffer /= 2
		}
	})
	if err != nil {
		return err
	}
	return failed
}
