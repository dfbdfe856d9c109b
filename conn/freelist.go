package conn

// freeList keeps things that are not in use now, for the next who needs one. It
// keeps all that come back, until trim finds that they were not needed.
type freeList[T any] struct {
	items []*T
	least int // how many there were at least, since the last trim
}

// take returns a zero value, which is made where there is none.
func (f *freeList[T]) take() *T {
	n := len(f.items) - 1
	if n < 0 {
		return new(T)
	}
	x := f.items[n]
	f.items[n] = nil
	f.items = f.items[:n]
	f.least = min(f.least, n)
	return x
}

func (f *freeList[T]) give(x *T) {
	*x = *new(T)
	f.items = append(f.items, x)
}

// fewItems are not worth giving up.
const fewItems = 4

// trim gives up those that were not needed since the last call.
func (f *freeList[T]) trim() {
	if f.least > fewItems {
		f.items = append([]*T(nil), f.items[f.least-fewItems:]...)
	}
	f.least = len(f.items)
}

// roomKept is how much room a slice that is empty for now may keep, in elements.
const roomKept = 1 << 10

// trimmed gives up the room of a slice that is empty, where it is large.
func trimmed[T any](s []T) []T {
	if len(s) == 0 && cap(s) > roomKept {
		return nil
	}
	return s
}
