//go:build !linux

package hub

import (
	"errors"
	"net"
	"sync/atomic"
)

func newSocket(net.Conn, *atomic.Bool) (source, error) { return nil, errors.ErrUnsupported }
