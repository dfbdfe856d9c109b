package netloop

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is a sender that needs one system call for many writes (io_uring(7)).
// Writes that would have to wait are not made (MSG_DONTWAIT), so each has its
// result when the call returns. Few are made one by one, which costs less.
type ring struct {
	fd       int
	sq, cq   []byte // the kernel's queues, in one mapping each
	sqes     []sqe
	sqTail   *uint32
	sqArray  []uint32
	cqHead   *uint32
	cqTail   *uint32
	cqes     []cqe
	mask     uint32 // of both
	sqesMap  []byte
	prepared int
	from     int  // writes from which on the ring is used
	broken   bool // the kernel refused: never again

	results [MaxWrites]int32 // bytes, or -errno
	headers [MaxWrites]unix.Msghdr
	count   [MaxWrites]int
	buffers [MaxWrites][MaxBuffers]unix.Iovec // also keep what the kernel reads from the collector
}

const (
	opSendmsg = 9 // IORING_OP_SENDMSG
	opSend    = 26

	enterGetEvents = 1
	offSQRing      = 0
	offCQRing      = 0x8000000
	offSQEs        = 0x10000000

	noResult = -1 << 31

	// ringFrom writes are the fewest for which the ring costs less than a call each.
	ringFrom = 4
)

// sqe is struct io_uring_sqe of linux/io_uring.h.
type sqe struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	off, addr     uint64
	len           uint32
	msgFlags      uint32
	userData      uint64
	_             [3]uint64
}

// cqe is struct io_uring_cqe.
type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	_                                                                      [3]uint32
	sq                                                                     struct {
		head, tail, ringMask, ringEntries, flags, dropped, array, _ uint32
		_                                                           uint64
	}
	cq struct {
		head, tail, ringMask, ringEntries, overflow, cqes, flags, _ uint32
		_                                                           uint64
	}
}

// newRing makes a ring, and proves it on a pair of sockets: many containers
// forbid it, and what is forbidden answers in many ways.
func newRing() (*ring, error) {
	var p ringParams
	fd, _, errno := syscall.RawSyscall(unix.SYS_IO_URING_SETUP, MaxWrites, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, os.NewSyscallError("io_uring_setup", errno)
	}
	r := &ring{fd: int(fd), from: 1} // while it is proved
	if err := r.mapQueues(&p); err != nil {
		r.close()
		return nil, err
	}
	if err := r.prove(); err != nil {
		r.close()
		return nil, err
	}
	r.from = ringFrom
	return r, nil
}

func (r *ring) mapQueues(p *ringParams) (err error) {
	unix.CloseOnExec(r.fd)
	const shared = unix.MAP_SHARED | unix.MAP_POPULATE
	const both = unix.PROT_READ | unix.PROT_WRITE
	if r.sq, err = unix.Mmap(r.fd, offSQRing, int(p.sq.array+4*p.sqEntries), both, shared); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	if r.cq, err = unix.Mmap(r.fd, offCQRing, int(p.cq.cqes)+int(p.cqEntries)*int(unsafe.Sizeof(cqe{})), both, shared); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	if r.sqesMap, err = unix.Mmap(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})), both, shared); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&r.sqesMap[0])), p.sqEntries)
	r.sqTail = (*uint32)(unsafe.Pointer(&r.sq[p.sq.tail]))
	r.sqArray = unsafe.Slice((*uint32)(unsafe.Pointer(&r.sq[p.sq.array])), p.sqEntries)
	r.cqHead = (*uint32)(unsafe.Pointer(&r.cq[p.cq.head]))
	r.cqTail = (*uint32)(unsafe.Pointer(&r.cq[p.cq.tail]))
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&r.cq[p.cq.cqes])), p.cqEntries)
	r.mask = p.sqEntries - 1
	if p.sqEntries != MaxWrites || p.cqEntries < MaxWrites {
		return errors.New("io_uring has another size than was asked for")
	}
	return nil
}

// prove sends through the ring: to a socket that takes it, to one that is full,
// and to one whose peer has gone.
func (r *ring) prove() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[0])
	r.Add(int32(pair[0]), [][]byte{[]byte("one")})
	r.Add(int32(pair[0]), [][]byte{[]byte(" and "), []byte("two")})
	r.Send()
	var got [16]byte
	n, err := unix.Read(pair[1], got[:])
	if err != nil || string(got[:n]) != "one and two" {
		unix.Close(pair[1])
		return errors.New("io_uring does not send")
	}
	full := make([]byte, 64<<10)
	for taken := len(full); taken == len(full) && !r.broken; {
		r.Add(int32(pair[0]), [][]byte{full})
		r.Send()
		if taken, err = r.Result(0); err != nil {
			unix.Close(pair[1])
			return errors.New("io_uring does not say that a socket is full: " + err.Error())
		}
	}
	unix.Close(pair[1])
	r.Add(int32(pair[0]), [][]byte{full})
	r.Send()
	if _, err = r.Result(0); err != syscall.EPIPE && err != syscall.ECONNRESET || r.broken {
		return errors.New("io_uring does not say that the peer has gone")
	}
	return nil
}

// Add prepares a write.
func (r *ring) Add(fd int32, bufs [][]byte) {
	i := r.prepared
	r.prepared++
	r.count[i] = setBuffers(&r.buffers[i], bufs)
	r.sqes[i] = sqe{fd: fd, msgFlags: unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL, userData: uint64(i)}
}

// Send makes the writes that were prepared. What the ring does not make is
// written one by one.
func (r *ring) Send() {
	n := r.prepared
	r.prepared = 0
	for i := range n {
		r.results[i] = noResult
	}
	if n >= r.from && !r.broken {
		r.submit(n)
	}
	for i := range n {
		if r.results[i] == noResult {
			r.results[i] = sendBuffers(r.sqes[i].fd, r.buffers[i][:r.count[i]])
		}
		clear(r.buffers[i][:r.count[i]]) // what they point at may go
	}
}

// submit makes n writes by the ring.
func (r *ring) submit(n int) {
	tail := *r.sqTail
	for i := range n {
		r.fill(i)
		r.sqArray[(tail+uint32(i))&r.mask] = uint32(i)
	}
	atomic.StoreUint32(r.sqTail, tail+uint32(n))
	for submitted, done := 0, 0; done < n && !r.broken; {
		k, _, errno := syscall.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n-submitted), uintptr(n-done), enterGetEvents, 0, 0)
		switch errno {
		case 0:
			submitted += int(k)
		case syscall.EINTR:
		default:
			r.broken = true
		}
		done += r.reap()
	}
	runtime.KeepAlive(r)
}

// fill completes the entry of write i.
func (r *ring) fill(i int) {
	e, bufs := &r.sqes[i], &r.buffers[i]
	if r.count[i] == 1 {
		e.opcode, e.addr, e.len = opSend, uint64(uintptr(unsafe.Pointer(bufs[0].Base))), uint32(bufs[0].Len)
		return
	}
	h := &r.headers[i]
	*h = unix.Msghdr{Iov: &bufs[0], Iovlen: uint64(r.count[i])}
	e.opcode, e.addr, e.len = opSendmsg, uint64(uintptr(unsafe.Pointer(h))), 1
}

// reap takes the results that there are.
func (r *ring) reap() (n int) {
	head, tail := *r.cqHead, atomic.LoadUint32(r.cqTail)
	mask := uint32(len(r.cqes) - 1)
	for ; head != tail; head++ {
		e := &r.cqes[head&mask]
		if e.userData < MaxWrites {
			r.results[e.userData] = e.res
		}
		n++
	}
	atomic.StoreUint32(r.cqHead, head)
	return n
}

// Result says what became of a write.
func (r *ring) Result(i int) (int, error) { return resultOf(r.results[i]) }

func (r *ring) close() {
	for _, m := range [][]byte{r.sq, r.cq, r.sqesMap} {
		if m != nil {
			_ = unix.Munmap(m)
		}
	}
	unix.Close(r.fd)
}
