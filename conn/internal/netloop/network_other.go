//go:build !linux

package netloop

// Supported: there are event loops on this system.
const Supported = false

// New returns a network with goroutines; there is no io_uring.
func New(bool) Network { return NewPortable() }
