package presence

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/redis/go-redis/v9"

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

// replies is a hook that answers each command of a pipeline in its place.
type replies []any

func (r replies) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (r replies) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (r replies) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		for i, cmd := range cmds {
			if err, ok := r[i].(error); ok {
				cmd.SetErr(err)
			} else {
				cmd.(*redis.Cmd).SetVal(r[i])
			}
		}
		return nil
	}
}

func TestWhatBecameOfATransactionIsToldByItsReplies(t *testing.T) {
	for _, c := range []struct {
		what string
		replies
		want error
	}{
		{"done", replies{"OK", "QUEUED", []any{int64(1)}}, nil},
		{"a watched key has changed", replies{"OK", "QUEUED", redis.Nil}, redis.TxFailedErr},
		{"a proxy without transactions", replies{"OK", int64(1), []any{}}, errShortReply},
		{"a proxy that answers anything", replies{"OK", "OK", "OK"}, errShortReply},
		{"lost after a refusal", replies{"OK", redis.ErrClosed, io.ErrUnexpectedEOF}, io.ErrUnexpectedEOF},
	} {
		client := redisconn.NewClient(redisconn.Options{Addresses: []string{"127.0.0.1:1"}})
		client.AddHook(c.replies)
		if err := transaction(t.Context(), client, []any{"set", "k", "v"}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		_ = client.Close()
	}
}
