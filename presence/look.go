package presence

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// look is what is looked up for an entry: the keys that may speak against it. It is part
// of a slot.
//
// The keys of all entries of a batch, behind their writes in the same pipeline, are counted
// by one command (EXISTS): who writes such a key, and reads the user's hash after it, finds
// every connection that the key did not stop. Only where one of them exists, each key is asked
// for by itself (GET), in one more pipeline.
//
// No two keys stand in one transaction: in a Cluster they are in several slots.
type look struct {
	used bool // the credential for one connection is looked at, too
	key  struct{ block, after, revoked, used string }

	block, after, revoked, usedBy *redis.StringCmd
}

func stringCmd(args ...any) *redis.StringCmd {
	return redis.NewStringCmd(context.Background(), args...)
}

// appendLookKeys writes the keys that are looked up for an item.
func (b *batch) appendLookKeys(k Keys, it *item) {
	b.text = k.appendBlock(b.text, it.entry.User)
	b.cut()
	c := it.entry.Credential
	if c == nil {
		return
	}
	b.text = k.appendValidAfterUser(b.text, it.entry.User)
	b.cut()
	if c.ID != "" {
		b.text = k.appendRevoked(b.text, c.ID)
		b.cut()
	}
}

// addWatch adds the keys of an entry to those that are counted.
func (b *batch) addWatch(s *slot, k Keys) {
	l, c := &s.look, s.item.entry.Credential
	l.used = false
	l.key.block = b.next()
	b.watched = append(b.watched, &l.key.block)
	if c == nil {
		return
	}
	l.key.after = b.next()
	b.watched = append(b.watched, &l.key.after)
	b.dated = true
	if c.ID == "" {
		return
	}
	l.key.revoked = b.next()
	b.watched = append(b.watched, &l.key.revoked)
	if l.used = c.Once != 0 && s.item.op == checking; l.used { // a registration makes it
		l.key.used = k.Used(c.ID)
		b.watched = append(b.watched, &l.key.used)
	}
}

// addShared adds what is looked up once for the batch.
func (b *batch) addShared() {
	if len(b.watched) > 1 {
		b.watch = intCmd(b.watched...)
		b.cmds = append(b.cmds, b.watch)
	}
	if b.dated {
		if b.validAfter == nil {
			b.validAfter = stringCmd("get", b.validAfterKey)
		}
		use(b, b.validAfter)
	}
}

// suspect reports whether something may speak against one of the batch's entries.
func (b *batch) suspect() bool { return b.watch != nil && b.watch.Err() == nil && b.watch.Val() > 0 }

// lookCloser asks for the keys of each entry, in a pipeline of its own.
func (n *node) lookCloser(ctx context.Context) error {
	var cmds []redis.Cmder
	ask := func(key *string) *redis.StringCmd {
		c := stringCmd("get", key)
		cmds = append(cmds, c)
		return c
	}
	for i, it := range n.batch.items {
		if !n.looks(it) {
			continue
		}
		l, c := &n.batch.slots[i].look, it.entry.Credential
		l.block = ask(&l.key.block)
		if c == nil {
			continue
		}
		l.after = ask(&l.key.after)
		if c.ID != "" {
			l.revoked = ask(&l.key.revoked)
		}
		if l.used {
			l.usedBy = ask(&l.key.used)
		}
	}
	pipe := n.client.Pipeline()
	_ = pipe.BatchProcess(ctx, cmds...) // only queues
	_, _ = pipe.Exec(ctx)               // judged command by command
	if err := cmds[len(cmds)-1].Err(); isLinkError(err) {
		return err
	}
	return nil
}

// looks reports whether keys are looked up for an item.
func (n *node) looks(it *item) bool {
	return it.op == registering || it.op == checking || it.op == renewing && n.opt.Refused != nil
}

// judge says what speaks against an entry; nil, nil: nothing does. The error says that it
// is not known, and is one of the key alone where it is an errBadTime.
func (l *look) judge(b *batch, it *item) (*Refused, error) {
	if err := b.watch.Err(); err != nil {
		return nil, err
	}
	c, suspect := it.entry.Credential, b.suspect()
	if suspect {
		if r, err := exists(l.block, Blocked, l.key.block); r != nil || err != nil {
			return r, err
		}
	}
	if c == nil {
		return nil, nil
	}
	if suspect {
		if r, err := later(l.after, l.key.after, c.Issued); r != nil || err != nil {
			return r, err
		}
	}
	if r, err := later(b.validAfter, b.validAfterKey, c.Issued); r != nil || err != nil || !suspect {
		return r, err
	}
	if c.ID != "" {
		if r, err := exists(l.revoked, Revoked, l.key.revoked); r != nil || err != nil {
			return r, err
		}
	}
	if l.used {
		return exists(l.usedBy, Used, l.key.used)
	}
	return nil, nil
}

// exists refuses an entry where the key exists, of whatever type.
func exists(reply *redis.StringCmd, g Ground, key string) (*Refused, error) {
	value, err := reply.Result()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case err != nil && !isWrongType(err):
		return nil, err
	}
	return &Refused{Ground: g, Key: strings.Clone(key), Value: value[:min(len(value), maxReason)]}, nil
}

// errBadTime is returned where a key holds something else than a time.
var errBadTime = errors.New("must hold Unix seconds, below 10^11")

const maxSeconds = 1e11 // Unix seconds are below it, and Unix milliseconds above

// later refuses what was issued before the time that the key holds.
func later(reply *redis.StringCmd, key string, issued int64) (*Refused, error) {
	value, err := reply.Result()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case isWrongType(err):
		return nil, fmt.Errorf("%s %w", key, errBadTime)
	case err != nil:
		return nil, err
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil || seconds < 0 || seconds >= maxSeconds {
		return nil, fmt.Errorf("%s %w", key, errBadTime)
	}
	if issued < seconds {
		return &Refused{Ground: Outdated, Key: strings.Clone(key), Value: value}, nil
	}
	return nil, nil
}
