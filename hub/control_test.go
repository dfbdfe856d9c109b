package hub

import (
	"testing"

	"pushpod/presence"
)

const (
	ctlOwn = "push:ctl:" + testPod
	ctlAll = "push:ctl:all"
)

func TestClosesAreObeyedOnControlChannelsOnly(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{hub: func(o *Options) { o.Control = true }})
	a, b, c := p.connect("alice"), p.connect("bob"), p.connect("carol")
	const bye = `"close":{"code":4600,"reason":"bye"}`
	for _, channel := range []string{p.channel, "push:all"} {
		p.publishOn(channel, `{"user":"alice","data":1,`+bye+`}`) // its data is delivered
		a.want("1")
		p.publishOn(channel, `{"user":"alice",`+bye+`}`) // bad: nothing is left of it
	}
	p.publishOn("push:all", `{"all":true,"data":2,`+bye+`}`)
	for _, one := range []*wsClient{a, b, c} {
		one.want("2")
	}
	p.publish(`{"all":true,"data":3}`)                     // bad: not on this channel
	p.publish(`{"all":true,"user":"alice","data":3}`)      // likewise
	p.publishOn(ctlOwn, `{"all":true,"data":3}`)           // likewise
	p.publishOn(ctlOwn, `{"probe":"x"}`)                   // likewise
	p.publishOn(ctlOwn, `{"user":"nobody",`+bye+`}`)       // a miss, as on the pod's own channel
	p.publishOn(ctlAll, `{"user":"nobody",`+bye+`}`)       // none
	p.publishOn(ctlOwn, `{"user":"alice","data":4}`)       // data may come there too
	p.publishOn(ctlOwn, `{"user":"bob","data":5,`+bye+`}`) // in order
	a.want("4")
	b.want("5")
	b.wantClosed(4600, "bye")
	p.publishOn(ctlAll, `{"all":true,`+bye+`}`)
	a.wantClosed(4600, "bye")
	c.wantClosed(4600, "bye")
	p.wantBooks(2+3+2+2, 1, 6) // two closes without data count as messages
	if s := p.Hub.Stats(); s.ClosesIgnored != 5 {
		t.Errorf("%d closes were ignored, want 5", s.ClosesIgnored)
	}
	if p.has("conflict") {
		t.Error("a probe on a control channel is taken for one on its own")
	}
}

func TestWithoutControlThereAreNoControlChannels(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	a := p.connect("alice")
	if n := p.admin.Publish(t.Context(), ctlOwn, `{}`).Val() + p.admin.Publish(t.Context(), ctlAll, `{}`).Val(); n != 0 {
		t.Errorf("%d are subscribed to the control channels", n)
	}
	p.publish(`{"user":"alice","close":{"code":4600,"reason":"bye"}}`)
	a.wantClosed(4600, "bye")
	if s := p.Hub.Stats(); s.ClosesIgnored != 0 {
		t.Errorf("%d closes were ignored", s.ClosesIgnored)
	}
}

func TestTheOldestGivesWayByControl(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{
		hub:      func(o *Options) { o.Control = true },
		presence: func(o *presence.Options) { o.PerUser, o.OnExcess = 1, presence.OnExcessCloseOldest },
	})
	first := p.connect("alice")
	p.connect("alice")
	first.wantClosed(4501, "replaced by a newer connection")
}
