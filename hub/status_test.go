package hub

import (
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"pushpod/presence"
	"pushpod/redisconn"
)

// failingPresence and failingPods say why they fail.
type failingPresence struct {
	Presence
	err error
}

func (p *failingPresence) Err() error { return p.err }

type failingPods struct {
	Pods
	err error
}

func (p *failingPods) Err() error { return p.err }

func TestEachProblemIsNamed(t *testing.T) {
	store, pods := &failingPresence{}, &failingPods{}
	h := New(Options{
		Pod: testPod, Keys: presence.NewKeys("push:"), Presence: store, Pods: pods, Log: zerolog.Nop(),
		Redis: Redis{Nodes: redisconn.Open(redisconn.Options{Addresses: []string{"127.0.0.1:1"}}), Probe: time.Minute, Timeout: time.Minute},
	})
	h.keepRights(t.Context()) // nothing is asked for
	change := func(f func(*status)) func() { return func() { h.status.update(f) } }
	for _, x := range []struct {
		then    func()
		problem string // the only one; "": none
		reason  string // that it gives; "": any
		open    bool   // it takes connections
	}{
		{func() {}, "claim", "", false},
		{func() { pods.err = presence.ErrNotClaimed }, "claim", "the pod's address is not claimed yet", false},
		{func() { pods.err = errors.New("6.2s left") }, "claim", "the pod's address is not claimed yet: 6.2s left", false},
		{func() { pods.err = nil }, "claim", "", false},
		{change(func(s *status) { s.claimed = true }), "unsubscribed", "", false},
		{change(func(s *status) { s.subscribed = true }), "unproved", "", false},
		{change(func(s *status) { s.proved = true }), "", "", true},
		{func() { store.err = errors.New("OOM") }, "presence", "OOM", true},
		{func() { store.err, pods.err = nil, errors.New("READONLY") }, "heartbeat", "READONLY", true},
		{func() { pods.err = nil }, "", "", true},
		{change(func(s *status) { s.conflict = time.Now() }), "conflict", "", false},
		{change(func(s *status) { s.conflict = time.Now().Add(-3*time.Minute - time.Second) }), "", "", true},
		{h.StartDraining, "draining", "", true},
		{h.Refuse, "draining", "", false},
	} {
		x.then()
		problems := h.Problems()
		switch {
		case x.problem == "" && len(problems) > 0, x.problem != "" && len(problems) != 1:
			t.Errorf("problems %v, want %q", problems, x.problem)
		case x.problem == "":
		case problems[0].Name != x.problem, problems[0].Reason == "", x.reason != "" && problems[0].Reason != x.reason:
			t.Errorf("problem %q, want %s: %q", problems[0], x.problem, x.reason)
		}
		if h.Ready() != (x.problem == "") || (h.open() == nil) != x.open {
			t.Errorf("with %v: ready %v, refused with %+v", problems, h.Ready(), h.open())
		}
	}
}
