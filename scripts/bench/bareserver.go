//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
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
	ep    *epoll
	conns []int // descriptors, in the order in which they came
	in    []byte
	say   io.Writer
}

const (
	idListen = -1
	idOrders = -2
)

// runBareServer listens on a free port of 127.0.0.1, says which ("port N\n"),
// and obeys orders from its standard input until that ends. An order is a line "all
// SIZE COUNT RATE" (COUNT frames of SIZE bytes of data to every connection) or
// "one SIZE COUNT RATE" (COUNT frames, each to the next connection), RATE in
// frames/s, or 0 for as fast as possible. Each is answered with "done\n", before
// which there is no other.
func runBareServer(say io.Writer) error {
	ep, err := newEpoll()
	if err != nil {
		return err
	}
	defer ep.close()
	l, port, err := listenPlain()
	if err != nil {
		return fmt.Errorf("bench: bare server: %w", err)
	}
	defer l.Close()
	listen, orders := int(l.Fd()), int(os.Stdin.Fd())
	b := &bareServer{ep: ep, in: make([]byte, 16<<10), say: say}
	err = errors.Join(unix.SetNonblock(listen, true),
		ep.control(unix.EPOLL_CTL_ADD, listen, idListen, unix.EPOLLIN),
		ep.control(unix.EPOLL_CTL_ADD, orders, idOrders, unix.EPOLLIN))
	fmt.Fprintf(say, "port %d\n", port)
	for err == nil {
		err = b.turn(listen, orders)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// listenPlain listens on a free port of 127.0.0.1, without Multipath TCP, which costs
// more and is Go's default.
func listenPlain() (*os.File, int, error) {
	var plain net.ListenConfig
	plain.SetMultipathTCP(false)
	l, err := plain.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	defer l.Close() // the file is another descriptor of the same socket
	f, err := l.(*net.TCPListener).File()
	return f, l.Addr().(*net.TCPAddr).Port, err
}

func (b *bareServer) turn(listen, orders int) (err error) {
	for _, e := range b.ep.wait(clientTick) {
		switch id := int(e.Fd); id {
		case idListen:
			b.accept(listen)
		case idOrders:
			err = b.obey(orders)
		default:
			b.upgrade(id)
		}
	}
	return err
}

func (b *bareServer) accept(listen int) {
	for {
		fd, _, err := unix.Accept4(listen, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return // nobody waits, or there is no descriptor left: the client notices
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if b.ep.control(unix.EPOLL_CTL_ADD, fd, fd, unix.EPOLLIN) != nil {
			_ = unix.Close(fd)
		}
	}
}

// upgrade answers a connection that sends a request, and ignores all else. One that
// has ended is still in conns: it ends only when nothing more is to be written.
func (b *bareServer) upgrade(fd int) {
	n, err := receive(fd, b.in)
	switch {
	case err == unix.EAGAIN:
	case err != nil || n == 0:
		_ = unix.Close(fd)
	case bytes.HasPrefix(b.in[:n], []byte("GET ")):
		if _, err := send(fd, []byte(bareAnswer)); err == nil {
			b.conns = append(b.conns, fd)
		}
	}
}

// obey reads one order and does it.
func (b *bareServer) obey(orders int) error {
	n, err := unix.Read(orders, b.in)
	if err != nil || n == 0 {
		return io.EOF
	}
	var what string
	var size, count int
	var rate float64
	if _, err := fmt.Sscan(string(b.in[:n]), &what, &size, &count, &rate); err != nil {
		return fmt.Errorf("bench: bare server: order %q: want all|one SIZE COUNT RATE", b.in[:n])
	}
	if err := b.send(what == "all", size, count, rate); err != nil {
		return fmt.Errorf("bench: bare server: %w", err)
	}
	_, err = io.WriteString(b.say, "done\n")
	return err
}

// send writes count messages: what a pod would write, byte for byte.
func (b *bareServer) send(toAll bool, size, count int, rate float64) error {
	if len(b.conns) == 0 {
		return errors.New("there is no connection to write to")
	}
	data := newPayload(size)
	pace := pacer{start: time.Now().UnixNano(), rate: rate}
	end := time.Now().Add(orderLimit)
	var message, frame []byte
	for i := range count {
		sleepUntil(pace.due(i))
		to, k := b.conns, broadcast
		if !toAll {
			to, k = b.conns[i%len(b.conns):][:1], single
		}
		message = append(message[:0], `{"type":"message","data":`...)
		message = append(data.append(message, k, time.Now().UnixNano()), '}')
		frame = appendServerFrame(frame[:0], opText, message)
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
		n, err := send(fd, frame)
		switch {
		case err == unix.EAGAIN && time.Now().Before(end):
			poll(fd, unix.POLLOUT, clientTick)
		case err != nil:
			return fmt.Errorf("write: %w", err)
		}
		frame = frame[n:]
	}
	return nil
}
