package netloop

import (
	"errors"
	"net"
	"time"
)

// Tick is how often Events.Tick is called while the timer runs.
const Tick = 100 * time.Millisecond

// ErrAgain is returned by Read where there is nothing to read for now.
var ErrAgain = errors.New("netloop: nothing to read for now")

// Ref says what an event is about: a slot of its owner's, and a generation, not
// 0, by which the owner knows an event of whoever had the slot before.
type Ref struct{ Slot, Gen uint32 }

// Events is who is told of events: by a loop's own goroutine, or, in the
// portable network, by several at once.
type Events interface {
	// Ready says that a socket can be read, or that it takes more. It may come
	// in vain.
	Ready(r Ref, readable, writable bool)
	// Tick is called every Tick while the timer runs.
	Tick()
	// Turn says how many events were told one after the other.
	Turn(events int)
}

// Loop watches sockets. Its owner calls all methods but Run and Stop one at a
// time.
type Loop interface {
	// Run tells of events until Stop, and returns when nothing of it runs any more.
	Run(Events)
	// Stop may be called from anywhere, once.
	Stop()
	// Timer starts or stops the calls of Tick.
	Timer(on bool)
	// Add watches a socket.
	Add(fd int32, r Ref) error
	// Read reads what there is: ErrAgain where nothing is there, io.EOF at the end.
	Read(fd int32, b []byte) (int, error)
	// NotifyWritable starts or ends telling when the socket takes more.
	NotifyWritable(fd int32, r Ref, on bool)
	// Abandon has the socket fail where its peer acknowledges nothing of what was written for
	// so long, or takes nothing more, where the system can do that.
	Abandon(fd int32, after time.Duration)
	// FinishWrites says that nothing more will be written (TCP FIN).
	FinishWrites(fd int32)
	// Close closes a socket, which may not have been added.
	Close(fd int32)
	// Sender returns what writes to the loop's sockets; always the same.
	Sender() Sender
}

// Sender writes to many sockets. Nothing is under way between its calls.
type Sender interface {
	// Add prepares a write of the buffers, MaxBuffers at most, one behind the
	// other. They must stay as they are until Send returns; bufs itself need not.
	Add(fd int32, bufs [][]byte)
	// Send makes the writes that were prepared, MaxWrites at most.
	Send()
	// Result says what became of the write that was prepared as number i before
	// the last Send: n below what was asked for without an error means that the
	// socket takes no more for now.
	Result(i int) (n int, err error)
}

const (
	MaxWrites  = 64
	MaxBuffers = 16 // of one write
)

// Network is a set of loops, and how they come to sockets.
type Network interface {
	// Loop makes one more loop.
	Loop() (Loop, error)
	// Accept hands the sockets that l accepts to take, until stop is called and
	// returns. Where no descriptor is to be had, failed is called, and a pause
	// made. It uses the loop that was made first, which runs already.
	Accept(l net.Listener, take func(fd int32, remote [16]byte), failed func()) (stop func(), err error)
	// IOUring reports whether io_uring is used; if it was to be and is not, err
	// says why.
	IOUring() (used bool, err error)
}
