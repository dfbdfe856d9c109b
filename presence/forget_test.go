package presence

import (
	"testing"

	"github.com/alicebob/miniredis/v2"

	"pushpod/redisconn"
)

func TestPodThatMovesIsNotForgotten(t *testing.T) {
	m := miniredis.RunT(t)
	c := redisconn.NewClient(redisconn.Options{Addresses: []string{m.Addr()}})
	t.Cleanup(func() { _ = c.Close() })
	p := NewPods(PodsOptions{Redis: redisconn.Of(c), Keys: NewKeys("push:"), Pod: "a:1"})
	b := p.opt.Keys.PodChannel("b:1")
	seen, now := 1.0, 2.0
	if _, err := m.ZAdd("push:pods", now, b); err != nil {
		t.Fatal(err)
	}
	m.HSet("push:pods:info", b, "{}")
	for _, score := range []*float64{&seen, nil} { // seen with another score, seen absent
		if err := p.forgetOne(t.Context(), b, score); err != nil {
			t.Fatal(err)
		}
	}
	if score, err := m.ZScore("push:pods", b); err != nil || score != now || m.HGet("push:pods:info", b) != "{}" {
		t.Fatalf("a pod that has moved since was removed: %v, %v", score, err)
	}
	if err := p.forgetOne(t.Context(), b, &now); err != nil {
		t.Fatal(err)
	}
	if m.Exists("push:pods") || m.Exists("push:pods:info") || p.Stats().Removed != 1 {
		t.Fatal("a pod that has not moved is still there")
	}
}
