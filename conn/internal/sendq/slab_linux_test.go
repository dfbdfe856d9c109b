package sendq

import (
	"fmt"
	"os"
	"testing"
)

// What is mapped is what is used, and is unmapped. What the runtime maps meanwhile, 64 MiB
// at a time, counts too: one of a few tries is without it.
func TestSlabsTakeNoMoreAddressesThanTheyNeed(t *testing.T) {
	const slabs, tries = 16, 10
	var used, left int
	for range tries {
		used, left = addressesTaken(t, slabs)
		if used >= slabs*slabBytes && used <= slabs*slabBytes*5/4 && left <= slabs*slabBytes/2 {
			return
		}
	}
	t.Errorf("%d bytes are mapped for %d, and %d afterwards", used, slabs*slabBytes, left)
}

// addressesTaken is how many bytes are mapped for so many slabs, and after the pool was closed.
func addressesTaken(t *testing.T, slabs int) (used, left int) {
	addresses := func() (pages int) {
		b, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Skip(err)
		}
		fmt.Sscan(string(b), &pages)
		return pages * os.Getpagesize()
	}
	p := new(Pool)
	before := addresses()
	queues := waiting(p, slabs*slabBytes/blockBytes)
	used = addresses() - before
	for _, q := range queues {
		q.Clear(p, Closed)
		p.Give(q)
	}
	p.Close()
	return used, addresses() - before
}
