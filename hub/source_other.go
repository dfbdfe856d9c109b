//go:build !linux

package hub

import (
	"errors"
	"net"
)

func newSocket(net.Conn) (source, error) { return nil, errors.ErrUnsupported }
