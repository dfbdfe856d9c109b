package sendq

import (
	"fmt"
	"os"
	"testing"
)

// What is mapped is what is used, and is unmapped.
func TestSlabsTakeNoMoreAddressesThanTheyNeed(t *testing.T) {
	addresses := func() (pages int) {
		b, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Skip(err)
		}
		fmt.Sscan(string(b), &pages)
		return pages * os.Getpagesize()
	}
	const slabs = 16
	p := new(Pool)
	before := addresses()
	queues := waiting(p, slabs*slabBytes/blockBytes)
	if got := addresses() - before; got < slabs*slabBytes || got > slabs*slabBytes*5/4 {
		t.Errorf("%d bytes are mapped for %d", got, slabs*slabBytes)
	}
	for _, q := range queues {
		q.Clear(p, Closed)
		p.Give(q)
	}
	p.Close()
	if got := addresses() - before; got > slabs*slabBytes/2 {
		t.Errorf("%d bytes are still mapped", got)
	}
}
