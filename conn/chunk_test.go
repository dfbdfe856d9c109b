package conn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// put appends a frame of size bytes, 2 at least, filled with mark; it returns
// what the frame must look like.
func put(k *chunk, size int, mark byte, at int64) []byte {
	want := textFrame(size, mark)
	copy(k.add(size, at)[:size], want)
	return want
}

// textFrame is a text frame of size bytes in all. There is none of 128 and 129
// bytes: a length over 125 takes two bytes more (RFC 6455 section 5.2).
func textFrame(size int, mark byte) []byte {
	text := size - headerSize(size-4)
	if size < 130 {
		text = size - 2
	}
	f := appendFrame(nil, opText, bytes.Repeat([]byte{mark}, text))
	if len(f) != size {
		panic(fmt.Sprint("no frame has ", size, " bytes"))
	}
	return f
}

// someSize draws a frame's size, small ones mostly.
func someSize(r *rand.Rand, most int) int {
	n := 2 + r.IntN(min(most, []int{20, 127, 600, most}[r.IntN(4)])-1)
	if n == 128 || n == 129 {
		n = 127
	}
	return n
}

func TestAChunkHoldsWhatFitsAndNoMore(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for class := range uint8(chunkClasses) {
		for _, timed := range []bool{false, true} {
			for range 200 {
				k := newChunk(class)
				k.reset(timed)
				var want [][]byte
				var times []int64
				used, each := 0, 0
				if timed {
					each = timeBytes
				}
				for {
					size := someSize(r, chunkSize(class)-chunkHead-each)
					fits := used+size+each <= chunkSize(class)-chunkHead
					if k.fits(size, timed) != fits || k.fits(size, !timed) != (timed && fits) {
						t.Fatalf("class %d: of %d bytes %d are used; fits says %v for %d more", class, len(k.room()), used, !fits, size)
					}
					if !fits {
						break
					}
					at := int64(1<<41) + 1 + r.Int64N(1000)
					if r.IntN(5) == 0 {
						at = 0 // not known
					}
					want = append(want, put(k, size, byte('a'+len(want)%26), at))
					times = append(times, at)
					used += size + each
				}
				if got := k.frames(); !bytes.Equal(got, bytes.Join(want, nil)) || k.left() != len(want) {
					t.Fatalf("class %d, timed %v: %d frames, %q, want %q", class, timed, k.left(), got, want)
				}
				if !timed {
					clear(times)
				}
				i := 0
				for f, at := range k.all(1<<41 + 5000) {
					if i >= len(want) || !bytes.Equal(f, want[i]) || at != times[i] {
						t.Fatalf("frame %d is %q, published %d", i, f, at)
					}
					i++
				}
				if i != len(want) {
					t.Fatalf("all are %d frames, want %d", i, len(want))
				}
				for i, f := range want {
					at := times[i]
					if k.first() != len(f) || k.at(1<<41+5000) != at {
						t.Fatalf("frame %d: %d bytes, published %d, want %d, %d", i, k.first(), k.at(1<<41+5000), len(f), at)
					}
					k.drop()
				}
				if k.left() != 0 || len(k.frames()) != 0 {
					t.Fatalf("%d frames are left, %d bytes", k.left(), len(k.frames()))
				}
			}
		}
	}
}

// The first frame may be half written: it stays whole, and the first.
func TestDroppingTheSecondFrameLeavesTheOthersAsTheyWere(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for n := range 5000 {
		k := newChunk(uint8(r.IntN(chunkClasses)))
		k.reset(n%2 == 0)
		type frame struct {
			bytes []byte
			at    int64
		}
		var want []frame
		const start = 1<<41 + 1
		for range 2 + r.IntN(20) {
			size, at := someSize(r, 400), start+r.Int64N(5000)
			if !k.fits(size, k.timed) {
				break
			}
			want = append(want, frame{put(k, size, byte('a'+len(want)), at), at})
		}
		for len(want) > 0 {
			if len(want) > 1 && r.IntN(3) > 0 {
				if size := k.dropSecond(); size != len(want[1].bytes) {
					t.Fatalf("dropped %d bytes, want %d", size, len(want[1].bytes))
				}
				want = append(want[:1:1], want[2:]...)
			} else {
				k.drop()
				want = want[1:]
			}
			var all []byte
			for _, f := range want {
				all = append(all, f.bytes...)
			}
			i := 0
			for f, at := range k.all(start + 6000) {
				if i >= len(want) || !bytes.Equal(f, want[i].bytes) || k.timed && at != want[i].at {
					t.Fatalf("frame %d is %q, published %d", i, f, at)
				}
				i++
			}
			if k.left() != len(want) || i != len(want) || !bytes.Equal(k.frames(), all) {
				t.Fatalf("%d frames are left: %q, want %d: %q", k.left(), k.frames(), len(want), all)
			}
			if k.timed && len(want) > 0 && k.at(start+6000) != want[0].at {
				t.Fatalf("the first one was published at %d, want %d", k.at(start+6000), want[0].at)
			}
		}
	}
}

func TestTimesInAChunkSurviveTheWrapOf32Bits(t *testing.T) {
	const wrap = 400 << 32 // Unix ms, in 2024
	for _, at := range []int64{wrap - 1, wrap + 1, wrap + 2, wrap - 60_000} {
		for _, age := range []int64{0, 1, 2, 59_999, 60_001, 86_400_000, -1, -2, -60_000} { // the producer's clock may be ahead
			k := newChunk(0)
			k.reset(true)
			put(k, 10, 'x', at)
			if got := k.at(at + age); got != at {
				t.Errorf("published at %d, and after %d ms it is said to be %d", at, age, got)
			}
		}
	}
	k := newChunk(0)
	k.reset(true)
	put(k, 10, 'x', wrap)
	put(k, 10, 'x', 0)
	if got := k.at(wrap + 5); got != wrap+1 {
		t.Errorf("published at %d, whose 32 bits mean unknown: said to be %d", int64(wrap), got)
	}
	if k.drop(); k.at(wrap) != 0 || k.at(wrap+5) != 0 {
		t.Errorf("a time that is not known is said to be %d", k.at(wrap))
	}
}

// A producer that sends seconds for milliseconds must not look punctual.
func TestATimeFarFromTheClockStaysFarFromIt(t *testing.T) {
	const now = 1_700_000_000_000
	for _, at := range []int64{1, now / 1000, now - 1<<33, now - 1<<32, now - 1<<31, now + 1<<31, now + 1<<32, now + 1<<40, 1<<53 - 1} {
		s, conns := sinkServer(1)
		s.opts.Now = func() int64 { return now }
		d := s.NewDeliverer()
		d.Plain(conns[0], nil, nil, 'x', at)
		d.Flush()
		st := s.Stats()
		late, early := st.Latency[len(st.Latency)-1], st.Latency[0]
		if at < now && late != 1 || at > now && early != 1 {
			t.Errorf("published at %d, written at %d: %v", at, int64(now), st.Latency)
		}
	}
}

func TestOnlyFramesThatFitGoIntoAChunk(t *testing.T) {
	const most = maxInline - maxServerHeader // bytes of text
	for text, inline := range map[int]bool{1: true, 125: true, 126: true, smallestChunk: true, most: true, most + 1: false, largestChunk: false, 100_000: false} {
		for _, at := range []int64{0, 1_700_000_000_000} {
			s, conns := sinkServer(1)
			d := s.NewDeliverer()
			d.Plain(conns[0], nil, []byte(strings.Repeat("x", text-1)), 'x', at)
			n := conns[0].out.head
			if (n.k != nil) != inline || (n.m != nil) == inline {
				t.Errorf("a text of %d bytes lies in a chunk: %v, want %v", text, n.k != nil, inline)
			}
			if want := appendFrame(nil, opText, bytes.Repeat([]byte{'x'}, text)); !bytes.Equal(n.bytes(), want) {
				t.Errorf("a text of %d bytes waits as %.20q, %d bytes", text, n.bytes(), len(n.bytes()))
			}
			d.Flush()
			if st := s.Stats(); st.Written != 1 || st.QueuedBytes != 0 {
				t.Errorf("a text of %d bytes: %+v", text, st)
			}
		}
	}
}

// What waits long waits in large chunks: of many small ones, walking from one to
// the next would be most of the cost.
func TestChunksGrowWithWhatWaits(t *testing.T) {
	s, conns := sinkServer(1)
	d := s.NewDeliverer()
	for range 400 {
		d.Plain(conns[0], nil, []byte(strings.Repeat("x", 99)), 'x', 0)
	}
	var sizes []int
	for n := conns[0].out.head; n != nil; n = n.next {
		sizes = append(sizes, chunkSize(n.k.class))
	}
	for i, size := range sizes {
		if want := min(smallestChunk<<i, largestChunk); size != want {
			t.Fatalf("chunk %d has %d bytes, want %d: %d", i, size, want, sizes)
		}
	}
	d.Flush()
}

// A bound in bytes would bound little if each of them had a chunk.
func TestFramesWithAndWithoutATimeShareChunks(t *testing.T) {
	const frames, size = 1000, 102
	s, conns := sinkServer(1)
	d := s.NewDeliverer()
	now := s.opts.Now()
	for i := range frames {
		d.Plain(conns[0], nil, []byte(strings.Repeat("x", size-3)), 'x', now*int64(i%2))
	}
	memory := 0
	for n := conns[0].out.head; n != nil; n = n.next {
		memory += chunkSize(n.k.class)
	}
	if memory > frames*size*5/4 {
		t.Fatalf("%d bytes of frames take %d", frames*size, memory)
	}
	d.Flush()
	st := s.Stats()
	n := uint64(0)
	for _, in := range st.Latency {
		n += in
	}
	if st.Written != frames || n != frames/2 {
		t.Fatalf("%d were written, of %d the time is known", st.Written, n)
	}
}
