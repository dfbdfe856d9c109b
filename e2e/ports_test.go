package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Pods listen below the range from which the kernel gives ports to outgoing
// connections (and, by default, the redis-servers of tests are given theirs), so
// that a port found free is not taken before the pod has it.
const (
	firstPort = 10000
	lastPort  = 19999
)

// usedPorts are the ports this process has given out, so that no two pods of
// tests that run at the same time are given the same.
var usedPorts struct {
	sync.Mutex
	given map[int]bool
}

// freeAddr returns 127.0.0.1 and a port on which nothing listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	return freeAddrs(t, 1)[0]
}

// freeAddrs returns the addresses of n successive free ports.
func freeAddrs(t testing.TB, n int) []string {
	t.Helper()
	usedPorts.Lock()
	defer usedPorts.Unlock()
	if usedPorts.given == nil {
		usedPorts.given = make(map[int]bool)
	}
search:
	for range 1000 {
		first := firstPort + rand.IntN(lastPort-firstPort-n)
		var addrs []string
		for port := first; port < first+n; port++ {
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			if usedPorts.given[port] || !isFree(addr) {
				continue search
			}
			addrs = append(addrs, addr)
		}
		for port := first; port < first+n; port++ {
			usedPorts.given[port] = true
		}
		return addrs
	}
	t.Fatalf("no %d free ports from %d to %d", n, firstPort, lastPort)
	return nil
}

func isFree(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	return l.Close() == nil
}
