package hub

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"pushpod/presence"
	"pushpod/redisconn"
)

// failingPresence and failingPods say why they fail.
type failingPresence struct {
	Presence
	err     error
	failing error // of some nodes
}

func (p *failingPresence) Err() error     { return p.err }
func (p *failingPresence) Failing() error { return p.failing }

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

// The users of one master are no reason to send all others away.
func TestAFailingMasterIsWarnedOf(t *testing.T) {
	store := &failingPresence{failing: errors.Join(errors.New("10.0.0.1:7001: LOADING"), errors.New("10.0.0.2:7001: READONLY"))}
	h := asking("127.0.0.1:1", "")
	h.presence, h.pods = store, &failingPods{}
	list := h.Warnings()
	if len(list) != 1 || list[0].Name != "presence" || !strings.HasSuffix(list[0].Reason, ": 10.0.0.1:7001: LOADING; 10.0.0.2:7001: READONLY") {
		t.Errorf("warnings %q", list)
	}
	for _, p := range h.Problems() {
		if p.Name == "presence" {
			t.Errorf("problem %q", p)
		}
	}
	if store.failing = nil; len(h.Warnings()) > 0 {
		t.Errorf("warnings %q where none fails", h.Warnings())
	}
}
