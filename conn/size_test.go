package conn

import (
	"testing"
	"unsafe"
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
