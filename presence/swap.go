package presence

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

// A registration that takes the place of another entry (Entry.Replaces) is made in two
// batches. The first finds out on which pod that entry is, and what speaks against the
// new one, so that a registration that is refused replaces nothing. The second writes the
// one, removes the other and tells its pod, in one transaction. A UUID belongs to one pod for
// ever, so nothing is watched between them: at worst the other entry is gone by then, and
// the new one is held against the user's limit as any.
//
// What became of a transaction that was not answered is not known. It is sent again as it
// was, and ends the same either way.

// finds reports whether it is first to be found out where the entry is that a registration
// replaces.
func (it *item) finds() bool { return it.replaces() && it.at == "" }

// swaps reports whether a registration replaces an entry of which that is known.
func (it *item) swaps() bool { return it.replaces() && it.at != "" }

func (it *item) replaces() bool { return it.op == registering && it.entry.Replaces != (UUID{}) }

// addFind adds the question where the entry is that is to be replaced.
func (b *batch) addFind(s *slot) {
	s.form = formFind
	s.find = stringCmd("hget", s.key, s.old)
	b.cmds = append(b.cmds, s.find)
}

// addSwap adds the transaction. HSET comes before HDEL, so that the key is never gone.
func (n *node) addSwap(s *slot, count, inherited bool) {
	b, it := &n.batch, s.item
	s.form = formSwap
	expire := statusCmd("pexpire", s.key, b.ttlMillis)
	if n.expiry.mode == expiryFields {
		expire = statusCmd("hexpire", s.key, b.ttlSeconds, "fields", "1", s.field)
	}
	s.queued = append(s.queued[:0], statusCmd("multi"), statusCmd("hset", s.key, s.field, b.channel), expire, statusCmd("hdel", s.key, s.old))
	if n.opt.Replaced != nil {
		channel, message := n.opt.Replaced(it.entry.User, Located{UUID: it.entry.Replaces, Channel: it.at})
		s.queued = append(s.queued, statusCmd("publish", channel, message))
	}
	s.exec = redis.NewCmd(context.Background(), "exec")
	b.cmds = append(append(b.cmds, s.queued...), s.exec)
	if s.ttlUsed = inherited && n.expiry.mode == expiryFields; s.ttlUsed {
		b.addTTL(s)
	}
	if count {
		b.addCount(s)
	}
}

// reply is a reply of the transaction, by its place in it; -1 where there is none.
func (s *slot) reply(i int) int64 {
	replies, _ := s.exec.Val().([]any)
	if i >= len(replies) {
		return -1
	}
	if n, ok := replies[i].(int64); ok {
		return n
	}
	return -1
}

// replaced reports whether a transaction has removed the other entry.
func (s *slot) replaced() bool { return s.form == formSwap && s.reply(2) == 1 }

// unheard reports whether nobody was subscribed to hear of it.
func (s *slot) unheard() bool { return s.form == formSwap && s.reply(3) == 0 }

// judgeFind goes on with a registration of which it was to be found out where the entry is
// that it replaces. The caller holds n.mu.
func (n *node) judgeFind(slot *slot) {
	it := slot.item
	at, err := slot.find.Result()
	if errors.Is(err, redis.Nil) || isWrongType(err) { // there is none; or the write says what is wrong
		at, err = "", nil
	}
	if _, ok := n.opt.Keys.PodAddress(at); !ok { // no pod has written it
		at = ""
	}
	var refused *Refused
	if err == nil {
		refused, err = slot.look.judge(&n.batch, it)
	}
	switch {
	case isBrokenOff(err), isRedirected(err), redisconn.IsLinkError(err) && !isElsewhere(err): // of the node that it was sent on to
		n.requeue(it, fmt.Errorf("%w: %w", ErrUnavailable, err))
	case err != nil:
		n.refused(err)
		n.giveUp(it, fmt.Errorf("%w: register: %w", ErrUnavailable, err))
	case refused != nil:
		n.count.refused.Add(1)
		n.giveUp(it, refused)
	default:
		if it.at = at; at == "" {
			it.entry.Replaces = UUID{}
		}
		n.requeue(it, fmt.Errorf("%w: %w", ErrUnavailable, ErrUnregistered))
	}
}
