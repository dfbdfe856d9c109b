package presence

// A fifo is a queue in one slice. The zero value is empty.
type fifo[T any] struct {
	buf  []T
	head int // what comes before it has been taken
}

func (f *fifo[T]) len() int { return len(f.buf) - f.head }

func (f *fifo[T]) push(v T) { f.buf = append(f.buf, v) }

// pushFront puts v before all others.
func (f *fifo[T]) pushFront(v T) {
	if f.head == 0 {
		// Room for as many again, so that a batch put back costs one copy.
		room := len(f.buf)/2 + 16
		grown := make([]T, room+len(f.buf), 2*room+len(f.buf))
		copy(grown[room:], f.buf)
		f.buf, f.head = grown, room
	}
	f.head--
	f.buf[f.head] = v
}

// front returns the first value; the queue is not empty.
func (f *fifo[T]) front() T { return f.buf[f.head] }

// pop takes the first value; the queue is not empty.
func (f *fifo[T]) pop() T {
	var zero T
	v := f.buf[f.head]
	f.buf[f.head] = zero
	f.head++
	switch {
	case f.head == len(f.buf):
		if cap(f.buf) > 4096 {
			f.buf = nil // a burst's memory is given back
		}
		f.buf, f.head = f.buf[:0], 0
	case f.head >= 1024 && f.head*2 > len(f.buf):
		n := copy(f.buf, f.buf[f.head:])
		clear(f.buf[n:])
		f.buf, f.head = f.buf[:n], 0
	}
	return v
}
