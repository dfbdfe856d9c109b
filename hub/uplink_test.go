package hub

import (
	"context"
	"fmt"
	"testing"
)

func TestARequestIsInTheStreamOnceItsReceiptSaysSo(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	c := p.connect("alice")
	for i := range 50 {
		c.request(fmt.Sprint("id ", i), fmt.Sprintf(`{"n":%d, "s":"é\u0041"}`, i))
	}
	for i := range 50 {
		if id, why := c.receipt(); id != fmt.Sprint("id ", i) || why != "" {
			t.Fatalf("receipt %d: %q %q", i, id, why)
		}
	}
	entries, err := p.admin.XRange(context.Background(), p.keys.Uplink(), "-", "+").Result()
	if err != nil || len(entries) != 50 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for i, e := range entries {
		v := e.Values
		if v["user"] != "alice" || v["uuid"] != c.uuid || v["pod"] != p.channel || v["id"] != fmt.Sprint("id ", i) || v["data"] != fmt.Sprintf(`{"n":%d, "s":"é\u0041"}`, i) {
			t.Fatalf("entry %d: %v", i, v)
		}
	}
	c.close()
}

func TestTooManyWaitingRequestsAreRefusedAtOnce(t *testing.T) {
	u := &uplink{wake: make(chan struct{}, 1)}
	data := make([]byte, 1<<20)
	taken := 0
	for u.add(nil, []byte(`"a"`), data) {
		taken++
	}
	if taken != uplinkMostBytes>>20 {
		t.Errorf("%d MiB of requests wait", taken)
	}
	n := u.len()
	for batch := u.take(); len(batch) > 0; batch = u.take() {
		n -= len(batch)
	}
	if n != 0 || u.bytes != 0 {
		t.Errorf("%d requests and %d bytes are left", n, u.bytes)
	}
	for taken = 0; u.add(nil, []byte(`"a"`), nil); taken++ {
	}
	if taken != uplinkMost {
		t.Errorf("%d requests wait", taken)
	}
}
