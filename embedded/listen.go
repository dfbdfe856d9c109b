package embedded

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/alicebob/miniredis/v2"
)

const (
	portTries = 100
	maxPort   = 1<<16 - 1
)

// listen starts a miniredis on addr, or on the next port that is free.
func listen(addr string, logf func(string, ...any)) (*miniredis.Miniredis, error) {
	host, digits, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("embedded: address %q: %w", addr, err)
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("embedded: address %q: the port is not a number from 0 to %d", addr, maxPort)
	}
	for _, candidate := range candidates(int(port)) {
		redis := miniredis.NewMiniRedis()
		err := redis.StartAddr(net.JoinHostPort(host, strconv.Itoa(candidate)))
		switch {
		case err == nil:
			if candidate != int(port) && logf != nil {
				logf("embedded: %s is taken; listening on %s", addr, redis.Addr())
			}
			return redis, nil
		case !errors.Is(err, syscall.EADDRINUSE):
			return nil, fmt.Errorf("embedded: listening on %s: %w", addr, err)
		}
	}
	return nil, fmt.Errorf("embedded: listening on %s: %w", addr, syscall.EADDRINUSE)
}

// candidates are the ports to try, in order; 0 is any free one.
func candidates(port int) []int {
	var ports []int
	for p := port; p < port+portTries && p <= maxPort && p != 0; p++ {
		ports = append(ports, p)
	}
	return append(ports, 0)
}
