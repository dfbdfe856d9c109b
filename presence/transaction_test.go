package presence

import (
	"errors"
	"testing"

	"pushpod/internal/redistest"
	"pushpod/redisconn"
)

func TestATransactionFailsWithWhatOneOfItsCommandsSays(t *testing.T) {
	s := redistest.Start(t)
	c := redisconn.NewClient(redisconn.Options{Addresses: []string{s.Addr()}})
	t.Cleanup(func() { _ = c.Close() })
	set := []any{"set", "k", "text"}
	if err := transaction(t.Context(), c, set, set); err != nil {
		t.Error(err)
	}
	for _, commands := range [][][]any{{{"hset", "k", "f", "v"}, set}, {set, {"hset", "k", "f", "v"}}} {
		if err := transaction(t.Context(), c, commands...); !isWrongType(err) {
			t.Errorf("%v: %v, want WRONGTYPE", commands, err)
		}
	}
	if err := transaction(t.Context(), c, []any{"no-command"}, set); !isUnknownCommand(err) {
		t.Errorf("a command that is not known: %v", err)
	}
	if err := replyError([]any{"OK"}, 1); !errors.Is(err, errShortReply) {
		t.Errorf("a reply that is too short: %v", err)
	}
}
