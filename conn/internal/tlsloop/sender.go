package tlsloop

import "pushpod/conn/internal/netloop"

// sender encrypts and writes, each write at once.
type sender struct {
	loop     *Loop
	prepared int
	results  [netloop.MaxWrites]int
	errs     [netloop.MaxWrites]error
	record   [maxPlaintext]byte // one that is made of several buffers
}

// Add writes.
func (w *sender) Add(fd int32, bufs [][]byte) {
	w.results[w.prepared], w.errs[w.prepared] = w.write(w.loop.sockets[fd], bufs)
	w.prepared++
}

// Send has nothing left to do.
func (w *sender) Send() { w.prepared = 0 }

// Result says what became of a write.
func (w *sender) Result(i int) (int, error) { return w.results[i], w.errs[i] }

func (w *sender) write(s *socket, bufs [][]byte) (int, error) {
	switch {
	case s.tls == nil:
		w.loop.out.Add(s.fd, bufs)
		w.loop.out.Send()
		return w.loop.out.Result(0)
	case s.shake != nil || s.failed:
		return 0, nil
	}
	if err := s.flush(); err != nil || len(s.unwritten) > 0 {
		return 0, err
	}
	return w.encrypt(s, bufs)
}

// encrypt writes record by record until the socket is full. One byte then counts as
// not taken, and is left out here when it comes again: it comes first, since a frame
// that is begun goes before all else.
func (w *sender) encrypt(s *socket, bufs [][]byte) (n int, err error) {
	if s.owed {
		s.owed = false
		n = 1
	}
	for {
		record := w.gather(bufs, n)
		if len(record) == 0 {
			return n, nil
		}
		if _, err := s.tls.Write(record); err != nil {
			return 0, err
		}
		n += len(record)
		if len(s.unwritten) > 0 {
			s.owed = true
			return n - 1, nil
		}
	}
}

// gather returns what goes into one record, from byte from of bufs on.
func (w *sender) gather(bufs [][]byte, from int) []byte {
	for len(bufs) > 0 && from >= len(bufs[0]) {
		from -= len(bufs[0])
		bufs = bufs[1:]
	}
	if len(bufs) == 0 {
		return nil
	}
	first := bufs[0][from:]
	if len(bufs) == 1 || len(first) >= maxPlaintext {
		return first[:min(len(first), maxPlaintext)]
	}
	n := copy(w.record[:], first)
	for _, b := range bufs[1:] {
		n += copy(w.record[n:], b)
	}
	return w.record[:n]
}
