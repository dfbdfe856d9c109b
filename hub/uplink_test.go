package hub

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/conn"
	"pushpod/internal/loglimit"
)

// stream is what is in the uplink's stream, in its order.
func (p *pod) stream() []redis.XMessage {
	p.t.Helper()
	entries, err := p.admin.XRange(context.Background(), p.keys.Uplink(), "-", "+").Result()
	if err != nil {
		p.t.Fatal(err)
	}
	return entries
}

// streamed lists the ids of all requests in the stream.
func (p *pod) streamed() (ids []string) {
	p.t.Helper()
	for _, e := range p.stream() {
		ids = append(ids, fmt.Sprint(e.Values["id"]))
	}
	return ids
}

func TestRequestsKeepTheirOrderOverManyBatches(t *testing.T) {
	t.Parallel()
	const n = 3000
	p := startPod(t, set{})
	c := p.connect("alice")
	data := func(i int) string { return fmt.Sprintf(`{"n":%d, "s":"é\u0041"}`, i) }
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint("id ", i))
		c.request(want[i], data(i))
	}
	for _, id := range want {
		if got, why := c.receipt(); got != id || why != "" {
			t.Fatalf("receipt %s %q, want %s", got, why, id)
		}
	}
	entries := p.stream()
	if len(entries) != n {
		t.Fatalf("the stream holds %d requests", len(entries))
	}
	for i, e := range entries {
		v := e.Values
		if v["user"] != "alice" || v["uuid"] != c.uuid || v["pod"] != p.channel || v["id"] != want[i] || v["data"] != data(i) {
			t.Fatalf("entry %d: %v", i, v)
		}
	}
	if s := p.Hub.Stats(); s.UplinkAccepted != n || s.UplinkFailed != 0 || s.UplinkWrites == 0 || s.UplinkWrites == n {
		t.Errorf("%+v", s)
	}
}

func TestASilentRedisGetsUnavailableWithinTheTimeoutAndNothingTwice(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	c := p.connect("alice")
	c.request("warm", "0")
	c.receipt()
	p.once.Stall(true)
	start := time.Now()
	for i := range 5 {
		c.request(fmt.Sprint("stalled ", i), "1")
		time.Sleep(20 * time.Millisecond) // batches behind one another
	}
	for i := range 5 {
		if id, why := c.receipt(); id != fmt.Sprint("stalled ", i) || why != errorUnavailable {
			t.Errorf("receipt %q %q", id, why)
		}
	}
	if took := time.Since(start); took > testTimeout+time.Second { // a second: this machine is shared
		t.Errorf("answered after %v", took)
	}
	p.once.Stall(false)
	p.wantReady()
	// Not known means: it may yet arrive. The client repeats, with the same id.
	c.request("after", "2")
	if id, why := c.receipt(); id != "after" || why != "" {
		t.Fatalf("receipt %q %q", id, why)
	}
	time.Sleep(50 * time.Millisecond)
	times := map[string]int{}
	for _, id := range p.streamed() {
		if times[id]++; times[id] > 1 {
			t.Errorf("%s stands %d times", id, times[id])
		}
	}
	if times["warm"] != 1 || times["after"] != 1 {
		t.Errorf("the stream holds %v", times)
	}
}

func TestCutsNeverDoubleARequestNorBreakAnAcceptance(t *testing.T) {
	t.Parallel()
	const rounds, each = 40, 5
	p := startPod(t, set{})
	c := p.connect("alice")
	random := rand.New(rand.NewPCG(11, 11))
	accepted := map[string]bool{}
	sent, unknown := 0, 0
	for round := range rounds {
		if cut := int64(random.IntN(900)); round%2 == 0 {
			p.once.CutRequestsAfter(cut)
		} else {
			p.once.CutAfter(cut % 120)
		}
		for i := range each {
			c.request(fmt.Sprint(sent+i), "1")
			if random.IntN(2) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		for i := range each {
			id, why := c.receipt()
			switch {
			case id != fmt.Sprint(sent+i):
				t.Fatalf("receipt of %s, want %d", id, sent+i)
			case why == "":
				accepted[id] = true
			case why == errorUnavailable:
				unknown++
			default:
				t.Fatalf("receipt of %s: %s", id, why)
			}
		}
		sent += each
	}
	p.once.CutAfter(-1)
	p.once.CutRequestsAfter(-1)
	p.eventually("what was accepted is in the stream", func() bool {
		n := 0
		for _, id := range p.streamed() {
			if accepted[id] {
				n++
			}
		}
		return n == len(accepted)
	})
	before := -1
	for _, id := range p.streamed() {
		var n int
		if _, err := fmt.Sscan(id, &n); err != nil || n <= before {
			t.Fatalf("%s comes after %d: %v", id, before, err)
		}
		before = n
	}
	if s := p.Hub.Stats(); s.UplinkAccepted != uint64(len(accepted)) || s.UplinkFailed != uint64(unknown) {
		t.Errorf("%+v, want %d accepted, %d failed", s, len(accepted), unknown)
	}
	if unknown == 0 || len(accepted) == 0 {
		t.Errorf("%d accepted, %d not known: nothing is tested", len(accepted), unknown)
	}
	t.Logf("%d accepted, %d not known", len(accepted), unknown)
}

func TestAStreamThatRefusesWritesIsUnavailable(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	c := p.connect("alice")
	p.admin.Set(context.Background(), p.keys.Uplink(), "no stream", 0)
	c.request("a", "1")
	if id, why := c.receipt(); id != "a" || why != errorUnavailable {
		t.Fatalf("receipt %q %q", id, why)
	}
	p.admin.Del(context.Background(), p.keys.Uplink())
	c.request("a", "1")
	if id, why := c.receipt(); id != "a" || why != "" {
		t.Fatalf("receipt %q %q", id, why)
	}
}

func TestRequestsThatWaitAreAnsweredWhenTheHubEnds(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	u := newUplink(&p.opts, new(loglimit.Line))
	p.connect("alice")
	c := p.registry.all()[0]
	for i := range uplinkBatch + 10 {
		u.add(c, fmt.Appendf(nil, `"%d"`, i), []byte("1"))
	}
	ended, end := context.WithCancel(context.Background())
	end()
	u.run(ended)
	if got := u.accepted.Load(); got != uplinkBatch+10 {
		t.Errorf("%d of %d are accepted", got, uplinkBatch+10)
	}
	if u.len() != 0 || u.bytes != 0 {
		t.Errorf("left: %d requests, %d bytes", u.len(), u.bytes)
	}
}

func TestClientFramesGetTheirReceipts(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	c := p.connect("alice")
	for _, x := range []struct{ frame, typ, id, status, why string }{
		{`{"type":"ping"}`, "", "", "", ""},
		{`{"type":"pong"}`, "", "", "", ""},
		{`{"type":"ping","id":"p"}`, "receipt", "p", "accepted", ""},
		{`{"type":"request","id":"r","data":null}`, "receipt", "r", "accepted", ""},
		{`{"type":"request","data":{},"x":1,"id":"\u00e9\n"}`, "receipt", "é\n", "accepted", ""},
		{`{"type":"request","id":"r"}`, "receipt", "r", "rejected", "bad_frame"},
		{`{"type":"request","data":1}`, "error", "", "", "bad_frame"},
		{`{"type":"request","id":7,"data":1}`, "error", "", "", "bad_frame"},
		{`{"type":"request","id":"\ud800","data":1}`, "error", "", "", "bad_frame"},
		{`{"type":"subscribe","id":"s"}`, "receipt", "s", "rejected", "unknown_type"},
		{`{"type":"subscribe"}`, "error", "", "", "unknown_type"},
		{`{"type":"Ping"}`, "error", "", "", "unknown_type"},
		{`{"id":"x","type":"message","data":1}`, "receipt", "x", "rejected", "unknown_type"},
		{`{"Data":1,"type":"request","id":"x"}`, "receipt", "x", "rejected", "bad_frame"},
		{`{"type":"constructor","id":""}`, "error", "", "", "bad_frame"},
		{`{"id":"x"}`, "receipt", "x", "rejected", "bad_frame"},
		{`[]`, "error", "", "", "bad_frame"},
		{`no JSON`, "error", "", "", "bad_frame"},
		{``, "error", "", "", "bad_frame"},
	} {
		c.send(x.frame)
		if x.typ == "" {
			continue
		}
		f := c.next("an answer to " + x.frame)
		if f.Type != x.typ || f.ID != x.id || f.Status != x.status || f.Error != x.why || (x.why != "") != (f.Reason != "") {
			t.Errorf("%s: %s", x.frame, f.Raw)
		}
	}
	if s := p.Hub.Stats(); s.FramesRejected != 14 || s.UplinkAccepted != 2 {
		t.Errorf("%+v", s)
	}
	if got := p.streamed(); !slices.Equal(got, []string{"r", "é\n"}) {
		t.Errorf("the stream holds %q", got)
	}
}

// Else a client whose requests were taken hears of none of them, and repeats them
// for ever.
func TestACloseComesBehindTheReceiptsOfWhatWasTaken(t *testing.T) {
	t.Parallel()
	const rate = 10
	p := startPod(t, set{conn: func(o *conn.Options) { o.FramesPerSecond = rate }})
	c := p.connect("alice")
	p.once.Stall(true)
	for i := range 3 * rate {
		c.request(fmt.Sprint(i), "1")
	}
	refused := 0
	for range rate {
		if _, why := c.receipt(); why == errorRate {
			refused++
		}
	}
	if refused != rate || p.Hub.Stats().FramesRejected != rate {
		t.Fatalf("%d of the first %d receipts say that it is too much: the others were not taken yet", refused, rate)
	}
	p.publish(`{"user":"alice","data":"late"}`) // behind the close that waits
	p.once.Stall(false)
	taken := 0
	for range rate {
		if _, why := c.receipt(); why == "" {
			taken++
		}
	}
	c.wantClosed(1008, "rate")
	if taken != rate || len(p.streamed()) != rate {
		t.Errorf("%d receipts of %d requests in the stream", taken, len(p.streamed()))
	}
}

func TestARequestBeyondWhatMayWaitIsUnavailable(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	c := p.connect("alice")
	p.once.Stall(true)
	c.request("in flight", "1")
	p.eventually("it is in flight", func() bool { s := p.Hub.Stats(); return s.UplinkWrites == 1 && s.UplinkWaiting == 0 })
	s := p.registry.all()[0]
	waits := 0
	for p.uplink.add(s, []byte(`"waits"`), []byte("1")) {
		waits++
	}
	c.request("one too many", "1")
	if id, why := c.receipt(); id != "one too many" || why != errorUnavailable {
		t.Errorf("receipt %q %q", id, why)
	}
	p.once.Stall(false)
	answered := func() bool { s := p.Hub.Stats(); return s.UplinkAccepted+s.UplinkFailed == uint64(waits+1) }
	p.eventually("all others are answered", answered)
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
