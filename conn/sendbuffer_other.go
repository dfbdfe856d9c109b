//go:build !unix

package conn

import (
	"errors"
	"syscall"
)

func (*Server) boundSendBuffers(_, _ string, _ syscall.RawConn) error {
	return errors.ErrUnsupported
}
