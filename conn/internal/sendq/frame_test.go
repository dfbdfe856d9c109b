package sendq

import (
	"bytes"
	"sync"
	"testing"
)

func inUpperCase(dst, b []byte) []byte { return append(dst, bytes.ToUpper(b)...) }

// count is how many hold f.
func (f *Frame) count() int { return int(f.holds.Load()) }

func TestAFrameHasOneOtherForm(t *testing.T) {
	var frames Frames
	f := frames.New(300)
	f.Bytes = append(f.Bytes, "abc"...)
	f.Expires, f.At, f.Collapse, f.Closes, f.Control = 1, 2, "k", true, true
	forms := make([]*Frame, 8)
	var running, making sync.WaitGroup
	making.Add(len(forms))
	for i := range forms {
		running.Go(func() {
			forms[i] = f.Other(func(dst, b []byte) []byte {
				making.Done()
				making.Wait() // nobody has it before all have begun to make it
				return inUpperCase(dst, b)
			})
		})
	}
	running.Wait()
	forms = append(forms, f.Other(inUpperCase))
	one := forms[0]
	for _, other := range forms {
		if other != one {
			t.Fatal("two who asked got different ones")
		}
	}
	if string(one.Bytes) != "ABC" || one.Expires != 1 || one.At != 2 || one.Collapse != "k" || !one.Closes || !one.Control || one.Alone {
		t.Errorf("%+v", one)
	}
	if n := one.count(); n != len(forms)+1 {
		t.Errorf("held %d times, want once by each who asked, and by the frame", n)
	}
	for _, other := range forms {
		other.Release()
	}
	f.Release()
	if n := one.count(); n != 0 {
		t.Errorf("held %d times when nobody needs it", n)
	}
}

// A queue may hold the other form longer than anybody holds the frame.
func TestAFrameThatIsUsedAgainHasAnotherForm(t *testing.T) {
	for name, f := range map[string]*Frame{"its own": text("first"), "pooled": new(Frames).New(300)} {
		f.Bytes = append(f.Bytes[:0], "first"...)
		first := f.Other(inUpperCase)
		f.Release()
		f.holds.Store(1) // it is used again
		f.Bytes = append(f.Bytes[:0], "second"...)
		second := f.Other(inUpperCase)
		if first == second || string(first.Bytes) != "FIRST" || string(second.Bytes) != "SECOND" || first.count() != 1 {
			t.Errorf("%s: %q, then %q; the first is held %d times", name, first.Bytes, second.Bytes, first.count())
		}
		first.Release()
		second.Release()
		f.Release()
	}
}
