package client

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	"pushpod/internal/schematest"
)

// What a Client sends is as docs/schemas says.
func TestFramesAreAsTheSchemaSays(t *testing.T) {
	schema := schematest.LoadStrict(t, "docs/schemas/frames-client.json")
	var sent []string
	pod := newFakePod(t, func(p *peer) {
		p.welcome()
		for len(sent) < 3 {
			_, text, err := p.read()
			if err != nil {
				t.Errorf("read the client's frames: %v", err)
				return
			}
			sent = append(sent, string(text))
			var f struct{ ID *string }
			if json.Unmarshal(text, &f) == nil && f.ID != nil {
				id, _ := json.Marshal(*f.ID)
				p.send(`{"type":"receipt","id":` + string(id) + `,"status":"accepted"}`)
			}
			if len(sent) == 2 { // a pipe holds nothing: neither side may write while the other does
				p.send(`{"type":"ping"}`)
			}
		}
	})
	o := pod.options()
	o.NoReconnect = true
	o.Token = func(context.Context) (string, error) { return "a.b.c", nil }
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(t.Context()) })
	if err := c.RequestID(t.Context(), `"\é`, json.RawMessage(`{"a":[1, null]}`)); err != nil {
		t.Error(err)
	}
	if err := c.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
	running.Wait()
	pod.playing.Wait()
	types := map[string]bool{}
	for _, text := range sent {
		if err := schema.Fault(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		var f struct{ Type string }
		_ = json.Unmarshal([]byte(text), &f)
		types[f.Type] = true
	}
	if !types["pong"] || !types["request"] || !types["token"] {
		t.Errorf("it has sent %q, want pong, request and token", sent)
	}
}
