package conn

import (
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketMemory is what the kernel keeps for a socket (SO_MEMINFO, Linux 4.12), in bytes.
type socketMemory struct {
	rmem, rcvbuf, wmem, sndbuf, forward, queued, optmem, backlog, drops uint32
}

func memoryOf(t *testing.T, fd int) (m socketMemory) {
	t.Helper()
	size := uint32(unsafe.Sizeof(m))
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&m)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		t.Skip("the kernel does not tell: ", errno)
	}
	return m
}

// resident is the memory of this process, in bytes, without garbage.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

func TestTheSendBufferIsInheritedByWhatIsAccepted(t *testing.T) {
	const asked = 32 << 10
	for name, o := range map[string]Options{"epoll": {}, "portable": {Portable: true}} {
		o.SendBuffer = asked
		s := startServer(t, o)
		if got := s.SendBuffer(); got != asked {
			t.Errorf("%s: it says %d", name, got)
		}
		s.connect(t, "u")
		if o.Portable {
			continue // it has no descriptor to look at
		}
		if m := memoryOf(t, int(s.hub.conn(t, "u").fd)); m.sndbuf != 2*asked {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if got := startServer(t, Options{}).SendBuffer(); got != 0 {
		t.Errorf("without it: %d", got)
	}
}

// TestSleepersCostNoMoreThanTheirBuffers has clients that never read, and sends them more
// and more. The policy is one that keeps them.
func TestSleepersCostNoMoreThanTheirBuffers(t *testing.T) {
	sleepers(t, 1000, 16<<10, 16<<10, 2<<10, false)
}

// As people may have it: the default queue, and messages that are kept in each way.
func TestFaultsSleepersCostNoMoreThanTheirBuffers(t *testing.T) {
	if os.Getenv("PUSHPOD_FAULTS") == "" {
		t.Skip("make test-faults runs it")
	}
	for _, size := range []int{16, 100, 600, 2 << 10} {
		for name, special := range map[string]bool{"plain": false, "expiring": true} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				n := 1000
				if size < 600 {
					n = 300
				}
				sleepers(t, n, 256<<10, 32<<10, size, special)
			})
		}
	}
}

// The messages expire where they are special.
func sleepers(t *testing.T, n, queueBytes, sendBuffer, size int, special bool) {
	t.Helper()
	s := startServer(t, Options{Loops: 2, SendBuffer: sendBuffer, Settings: Settings{QueueBytes: queueBytes, SlowConsumer: DropOldest, Ping: time.Hour}})
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		// The peer's own memory is not ours to bound: it is small here.
		return raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) })
	}}
	var conns []*Conn
	for i := range n {
		sock, err := dialer.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer sock.Close()
		user := fmt.Sprint("u", i)
		if _, err := sock.Write([]byte(request("?user=" + user))); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, s.hub.conn(t, user))
	}
	eventually(t, "all are open", func() bool { return s.Stats().Open == n })
	var before int64
	for range 3 { // what is kept from a test before, pools keep until the second collection
		before = resident(t)
	}
	text := []byte(strings.Repeat("x", size))
	queued := int64(0)
	for s.Stats().Dropped < uint64(100*n) {
		for _, c := range conns {
			if !special {
				s.d.Plain(c, 0, text)
				continue
			}
			f := s.d.Frame(Push{Expires: 1 << 60}, text)
			s.d.To(c, f)
			f.Release()
		}
		s.flush()
		queued = max(queued, s.Stats().QueuedBytes)
	}
	if s.Stats().Open != n {
		t.Fatalf("%d of %d are left", s.Stats().Open, n)
	}
	took := resident(t) - before
	var kernel, most int64
	for _, c := range conns {
		m := memoryOf(t, int(c.fd))
		kernel += int64(m.queued)
		most = max(most, int64(m.queued))
	}
	if queued > int64(n*queueBytes) {
		t.Errorf("%d bytes are queued for each, of %d", queued/int64(n), queueBytes)
	}
	// The connection itself takes 1 KiB, and two slabs of 2 MiB, batches and pools are
	// everybody's.
	if bound := int64(n)*int64(queueBytes+1<<10) + 8<<20; took > bound && !raceEnabled {
		t.Errorf("the process took %d bytes, want %d at most", took, bound)
	}
	if most > int64(2*sendBuffer)+64<<10 || kernel > int64(n)*int64(2*sendBuffer)*11/10 {
		t.Errorf("the kernel keeps %d bytes for each, and up to %d, of %d", kernel/int64(n), most, 2*sendBuffer)
	}
	t.Logf("%d clients that do not read, for each of whom %d bytes wait: the process took %d bytes for each (queues of %d), the kernel %d, at most %d (send buffer %d, of which it may take twice as much)",
		n, queued/int64(n), took/int64(n), queueBytes, kernel/int64(n), most, sendBuffer)
}
