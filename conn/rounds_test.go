package conn

import (
	"testing"
	"time"
)

func TestALargeRoundIsFollowedByARestAsLongAsItWas(t *testing.T) {
	const ms = time.Millisecond
	at := func(d time.Duration) time.Time { return time.Unix(1, 0).Add(d) }
	r := rounds{most: 50 * ms}
	if n := r.share(at(0), 5000); n != 5000 {
		t.Fatalf("the first round: %d", n)
	}
	r.flushed(at(10*ms), 4000)
	if n := r.share(at(10*ms), 3000); n != 1000 {
		t.Errorf("what comes during a round waits for the next one: %d", n)
	}
	r.flushed(at(30*ms), 1000)
	if n := r.share(at(59*ms), 5000); n != 0 {
		t.Errorf("within the rest: %d", n)
	}
	if d := r.rest(at(59*ms), 5000); d != ms {
		t.Errorf("the rest lasts %v more", d)
	}
	if n := r.share(at(59*ms), 3); n != 3 {
		t.Errorf("few are not held up: %d", n)
	}
	r.flushed(at(60*ms), 3)
	if n := r.share(at(60*ms), 5000); n != 5000 {
		t.Errorf("after a small round: %d", n)
	}
	r.flushed(at(1060*ms), 5000)
	if d := r.rest(at(1060*ms), 5000); d != 50*ms {
		t.Errorf("the bound: %v", d)
	}
	if n := r.share(at(1110*ms), 5000); n != 5000 {
		t.Errorf("after the rest: %d", n)
	}
}

func TestWithoutGatherThereIsNoRest(t *testing.T) {
	var r rounds
	now := time.Unix(1, 0)
	for range 3 {
		if n := r.share(now, 5000); n != 5000 {
			t.Fatalf("%d", n)
		}
		now = now.Add(time.Second)
		r.flushed(now, 5000)
	}
}
