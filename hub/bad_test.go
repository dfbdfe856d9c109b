package hub

import (
	"fmt"
	"testing"
)

func TestBadEnvelopesAreKeptByReasonAndSizeOnly(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	a := p.connect("alice")
	p.publish(`{"user":"alice","data":"secret"`)
	p.publish(`{"data":"secret"}`)
	p.publish(`{"user":"alice","data":1}`)
	a.want("1") // what came before has been looked at
	list := p.Hub.BadEnvelopes()
	if len(list) != 2 || list[0].Reason != "no target: to, user or all" || list[0].Bytes != len(`{"data":"secret"}`) || list[1].At == 0 || list[1].At > list[0].At {
		t.Errorf("%+v", list)
	}
}

func TestTheLastBadEnvelopesAreKept(t *testing.T) {
	h := &Hub{}
	if list := h.BadEnvelopes(); list == nil || len(list) != 0 {
		t.Errorf("%v", list)
	}
	for i := range 3*mostBad + 7 {
		h.badEnvelopes.add(fmt.Sprint(i), i)
	}
	list := h.BadEnvelopes()
	if len(list) != mostBad {
		t.Fatalf("%d are kept", len(list))
	}
	for i, b := range list {
		if want := 3*mostBad + 6 - i; b.Bytes != want {
			t.Fatalf("number %d is %d, want %d", i, b.Bytes, want)
		}
	}
}
