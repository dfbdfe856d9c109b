//go:build !linux

package source

import (
	"errors"
	"net"
	"sync/atomic"
)

func newSocket(net.Conn, *atomic.Bool) (Source, error) { return nil, errors.ErrUnsupported }
