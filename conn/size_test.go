package conn

import (
	"fmt"
	"runtime"
	"testing"
	"unsafe"

	"pushpod/conn/conntest"
)

// A size class of the allocator more is 16 MB in a pod with a million of them.
func TestAConnectionFitsItsSizeClass(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n > 96 {
		t.Fatalf("a Conn has %d bytes; 96 is the size class that it shall fit", n)
	}
	// What a crowd's handshakes needed must not lie between what stays: the holes can't
	// be given back.
	if n := unsafe.Sizeof(inbound{}); n > 144 || n <= 96 {
		t.Fatalf("an inbound has %d bytes: more than it should, or in a Conn's size class", n)
	}
}

func TestAStreamOfEventsTakesTheMemoryOfAWebSocket(t *testing.T) {
	const crowd = 5000
	bytesOf := func(request func(query string, more ...string) string) float64 {
		hub, net := newFakeHub(), conntest.NewVoid()
		s := New(Options{Admitter: hub, Network: net, Loops: 1})
		if err := s.Serve(); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		before := liveHeap()
		for i := range crowd {
			net.Connect(request(fmt.Sprint("?user=", i)))
		}
		hub.pending.Wait()
		if n := s.Stats().Open; n != crowd {
			t.Fatalf("%d are open", n)
		}
		return (float64(liveHeap()) - float64(before)) / crowd
	}
	bytesOf(request)        // what is kept is made
	for try := 0; ; try++ { // other tests leave behind what is given back at any time
		frames, events := bytesOf(request), bytesOf(eventsRequest)
		if events < 1.05*frames+8 {
			return
		}
		if try == 9 {
			t.Fatalf("a stream of events takes %.0f bytes, a WebSocket %.0f", events, frames)
		}
	}
}

// liveHeap is what is in use after a collection.
func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
