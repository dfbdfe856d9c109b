//go:build unix

package conn

import "golang.org/x/sys/unix"

// reserve is how many descriptors the connections leave to the rest of the
// process: the Redis client, the admin listener, the loops.
const reserve = 128

// descriptorLimit is how many connections the process's limit allows.
func descriptorLimit() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil || r.Cur > 1<<30 {
		return 1 << 30
	}
	return max(1, int(r.Cur)-reserve-overflowConns)
}
