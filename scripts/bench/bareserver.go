//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// bareCommand is the argument that makes this program the bare server.
const bareCommand = "bare-server"

const bareAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
	handshakeAccept + "\r\n\r\n"

// orderLimit bounds the time that one order may take.
const orderLimit = 2 * time.Minute

// bareServer is the limit of fan-out on this machine: it upgrades whoever asks
// without a look, and sends each frame with one write(2). It has no queues, no
// presence, no limits. It runs as a process of its own, so that its CPU time
// is read like a pod's. One goroutine owns it.
type bareServer struct {
	ep     *epoll
	listen int
	conns  []int // descriptors, in the order in which they came
	in     []byte
	orders []byte // read and not yet obeyed
}

const (
	idListen = -1
	idOrders = -2
)

// runBareServer listens on a free port of 127.0.0.1, says which ("port N\n"),
// and obeys orders from the descriptor until its end. An order is a line "all
// SIZE COUNT RATE" (COUNT frames of SIZE bytes of data to every connection) or
// "one SIZE COUNT RATE" (COUNT frames, each to the next connection), RATE in
// frames/s, or 0 for as fast as possible. Each is answered with "done\n".
func runBareServer(orders int, say io.Writer) error {
	b := &bareServer{in: make([]byte, 16<<10)}
	var err error
	if b.ep, err = newEpoll(); err != nil {
		return err
	}
	defer b.close()
	port, err := b.bind()
	if err != nil {
		return err
	}
	if err := b.ep.add(orders, idOrders, unix.EPOLLIN); err != nil {
		return fmt.Errorf("bench: bare server: watch the orders: %w", err)
	}
	if _, err := fmt.Fprintf(say, "port %d\n", port); err != nil {
		return fmt.Errorf("bench: bare server: %w", err)
	}
	for {
		for _, e := range b.ep.wait(100 * time.Millisecond) {
			switch id := int(e.Fd); id {
			case idListen:
				b.accept()
			case idOrders:
				if err := b.obey(orders, say); err != nil {
					if errors.Is(err, io.EOF) {
						return nil
					}
					return err
				}
			default:
				b.receive(id)
			}
		}
	}
}

func (b *bareServer) close() {
	for _, fd := range b.conns {
		_ = unix.Close(fd)
	}
	_ = unix.Close(b.listen)
	b.ep.close()
}

func (b *bareServer) bind() (port uint16, err error) {
	fail := func(err error) (uint16, error) { return 0, fmt.Errorf("bench: bare server: listen: %w", err) }
	if b.listen, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return fail(err)
	}
	_, sa := sockaddr(netip.MustParseAddrPort("127.0.0.1:0"))
	if err := unix.Bind(b.listen, sa); err != nil {
		return fail(err)
	}
	if err := unix.Listen(b.listen, 4096); err != nil {
		return fail(err)
	}
	bound, err := unix.Getsockname(b.listen)
	if err != nil {
		return fail(err)
	}
	if err := b.ep.add(b.listen, idListen, unix.EPOLLIN); err != nil {
		return fail(err)
	}
	return uint16(bound.(*unix.SockaddrInet4).Port), nil
}

func (b *bareServer) accept() {
	for {
		fd, _, err := unix.Accept4(b.listen, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return // nobody waits, or there is no descriptor left: the client notices
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if b.ep.add(fd, fd, unix.EPOLLIN) != nil {
			_ = unix.Close(fd)
		}
	}
}

// receive upgrades a connection that sends a request, and ignores all else.
func (b *bareServer) receive(fd int) {
	n, err := read(fd, b.in)
	if errors.Is(err, errWouldBlock) {
		return
	}
	if err != nil || n == 0 {
		b.drop(fd)
		return
	}
	if bytes.HasPrefix(b.in[:n], []byte("GET ")) {
		if _, err := write(fd, []byte(bareAnswer)); err == nil {
			b.conns = append(b.conns, fd)
		}
	}
}

func (b *bareServer) drop(fd int) {
	for i, c := range b.conns {
		if c == fd {
			b.conns = append(b.conns[:i], b.conns[i+1:]...)
			break
		}
	}
	_ = unix.Close(fd)
}

// obey reads the orders' descriptor once and does what it can of it.
func (b *bareServer) obey(orders int, say io.Writer) error {
	n, err := unix.Read(orders, b.in)
	if err != nil || n == 0 {
		return io.EOF
	}
	b.orders = append(b.orders, b.in[:n]...)
	for {
		line, rest, ok := bytes.Cut(b.orders, []byte{'\n'})
		if !ok {
			return nil
		}
		b.orders = rest
		var what string
		var size, count int
		var rate float64
		if _, err := fmt.Sscan(string(line), &what, &size, &count, &rate); err != nil {
			return fmt.Errorf("bench: bare server: order %q: want all|one SIZE COUNT RATE", line)
		}
		if err := b.send(what == "all", size, count, rate); err != nil {
			return err
		}
		if _, err := io.WriteString(say, "done\n"); err != nil {
			return fmt.Errorf("bench: bare server: %w", err)
		}
	}
}

// send writes count messages: what a pod would write, byte for byte.
func (b *bareServer) send(toAll bool, size, count int, rate float64) error {
	if len(b.conns) == 0 {
		return errors.New("bench: bare server: there is no connection to write to")
	}
	data := newPayloads(size, rand.New(rand.NewPCG(1, 1)))
	pace := pacer{start: time.Now().UnixNano(), rate: rate}
	end := time.Now().Add(orderLimit)
	k := single
	if toAll {
		k = broadcast
	}
	var message, frame []byte
	for i := range count {
		if rate > 0 {
			sleepUntil(pace.due(i))
		}
		message = append(message[:0], `{"type":"message","data":`...)
		message = append(data.append(message, k, time.Now().UnixNano()), '}')
		frame = appendServerFrame(frame[:0], opText, message)
		to := b.conns
		if !toAll {
			to = b.conns[i%len(b.conns):][:1]
		}
		for _, fd := range to {
			if err := writeAll(fd, frame, end); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeAll writes a frame, and waits where the socket is full.
func writeAll(fd int, frame []byte, end time.Time) error {
	for len(frame) > 0 {
		n, err := write(fd, frame)
		frame = frame[n:]
		switch {
		case err == nil:
			continue
		case !errors.Is(err, errWouldBlock):
			return fmt.Errorf("bench: bare server: write: %w", err)
		case time.Now().After(end):
			return fmt.Errorf("bench: bare server: not done within %v", orderLimit)
		}
		poll(fd, unix.POLLOUT, 10*time.Millisecond)
	}
	return nil
}
