package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// A screen is a terminal that shows frames in place of what stood there. Its methods are
// for one goroutine.
type screen struct {
	in, out *os.File

	before *term.State // to go back to; nil: the terminal is as it was
}

const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" // the other screen, no cursor, no line breaks of its own
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// enter takes the terminal over. Each key is then read by itself, Ctrl-C too.
func (s *screen) enter() (err error) {
	if s.before, err = term.MakeRaw(int(s.in.Fd())); err != nil {
		return fmt.Errorf("set up the terminal: %w", err)
	}
	if _, err := io.WriteString(s.out, enterScreen); err != nil {
		return errors.Join(written(err), s.leave())
	}
	return nil
}

// leave gives the terminal back as it was. It may be called again.
func (s *screen) leave() error {
	if s.before == nil {
		return nil
	}
	_, writing := io.WriteString(s.out, leaveScreen)
	err := term.Restore(int(s.in.Fd()), s.before)
	s.before = nil
	return errors.Join(written(writing), err)
}

// size is what the terminal says, or 80 by 24.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// show puts a frame on the screen in one write.
func (s *screen) show(lines []string) error {
	frame := "\x1b[H" + strings.Join(lines, "\x1b[K\r\n") + "\x1b[K\x1b[J"
	_, err := io.WriteString(s.out, frame)
	return written(err)
}

// A keyboard reads keys in a goroutine of its own, from newKeyboard until close.
type keyboard struct {
	keys <-chan byte // closed where the terminal is gone

	stopped, stop *os.File // a pipe: when stop is closed the reader ends
	running       sync.WaitGroup
}

func newKeyboard(in *os.File) (*keyboard, error) {
	stopped, stop, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	keys := make(chan byte, 16)
	k := &keyboard{keys: keys, stopped: stopped, stop: stop}
	k.running.Go(func() {
		defer close(keys)
		readKeys(in, stopped, keys)
	})
	return k, nil
}

// close ends the reader and waits for it.
func (k *keyboard) close() {
	_ = k.stop.Close()
	k.running.Wait()
	_ = k.stopped.Close()
}

// readKeys hands keys on until stopped is readable, or the terminal is gone.
func readKeys(in, stopped *os.File, keys chan<- byte) {
	fds := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}, {Fd: int32(stopped.Fd()), Events: unix.POLLIN}}
	buffer := make([]byte, 64)
	escape := nothing
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || fds[1].Revents != 0:
			return
		case fds[0].Revents == 0:
			continue
		}
		n, err := in.Read(buffer)
		if n == 0 || err != nil {
			return
		}
		var typed []byte
		typed, escape = plainKeys(buffer[:n], escape)
		for _, key := range typed {
			select {
			case keys <- key:
			default: // nobody types that fast
			}
		}
	}
}

// What an escape sequence, such as an arrow's, still lacks.
type escaped uint8

const (
	nothing  escaped = iota
	itsKind          // an escape has come
	itsParts         // ESC [ has come: parameters, and a letter that ends it (ECMA-48)
	itsLast          // ESC O has come: one letter
)

// plainKeys returns the keys that are no part of escape sequences. The reads that they
// come by part sequences anywhere; an escape that stands at the end of one is the key.
func plainKeys(read []byte, missing escaped) (keys []byte, _ escaped) {
	if missing == itsKind {
		missing = nothing
	}
	for _, b := range read {
		switch {
		case missing == itsKind && b == '[':
			missing = itsParts
		case missing == itsKind && b == 'O':
			missing = itsLast
		case missing == itsParts && (b < 0x40 || b > 0x7e):
		case missing != nothing:
			missing = nothing
		case b == 0x1b:
			missing = itsKind
		default:
			keys = append(keys, b)
		}
	}
	return keys, missing
}
