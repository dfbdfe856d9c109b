package presence

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

// look is what is looked up for an entry: the keys that may speak against it. It is part
// of a slot.
//
// The keys of all entries of a batch, behind their writes in the same pipeline, are counted
// by one command (EXISTS): who writes such a key, and reads the user's hash after it, finds
// every connection that the key did not stop. Only where one of them exists, each key is asked
// for by itself (GET), in one more pipeline.
//
// In a Cluster the keys are in several slots. There the user's own are counted for each entry
// by itself, in the batch, and the others at their nodes, behind it.
type look struct {
	used bool // the credential for one connection is looked at, too
	key  struct{ block, after, revoked, used string }

	block, after, revoked, usedBy *redis.StringCmd

	// In a Cluster, or where it is not known to be none: how many exist.
	own, ownBoth        *redis.IntCmd // of block; of block and after
	anyRevoked, anyUsed *redis.IntCmd
	counted             [3]*redis.IntCmd // those of them that are asked for
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
func (b *batch) addWatch(s *slot, n *node) {
	l, c := &s.look, s.item.entry.Credential
	l.used = false
	l.key.block = b.next()
	if b.spread {
		b.addCounts(s, n)
		return
	}
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
	if l.used = c.Once != 0 && (s.item.op == checking || s.item.finds()); l.used { // a registration makes it
		l.key.used = n.opt.Keys.Used(c.ID)
		b.watched = append(b.watched, &l.key.used)
	}
}

// addCounts is addWatch in a Cluster.
func (b *batch) addCounts(s *slot, n *node) {
	l, c := &s.look, s.item.entry.Credential
	l.counted = [3]*redis.IntCmd{}
	if c == nil {
		if l.own == nil {
			l.own = intCmd("exists", &l.key.block)
		}
		l.counted[0] = use(b, l.own)
		return
	}
	l.key.after = b.next()
	if l.ownBoth == nil {
		l.ownBoth = intCmd("exists", &l.key.block, &l.key.after)
		l.anyRevoked = intCmd("exists", &l.key.revoked)
		l.anyUsed = intCmd("exists", &l.key.used)
	}
	l.counted[0] = use(b, l.ownBoth)
	b.dated = true
	if c.ID == "" {
		return
	}
	l.key.revoked = b.next()
	l.counted[1] = l.anyRevoked
	n.useBehind(l.key.revoked, l.anyRevoked)
	if l.used = c.Once != 0 && (s.item.op == checking || s.item.finds()); l.used { // a registration makes it
		l.key.used = n.opt.Keys.Used(c.ID)
		l.counted[2] = l.anyUsed
		n.useBehind(l.key.used, l.anyUsed)
	}
}

// count returns how many of an entry's keys exist in a Cluster.
func (l *look) count() (n int64, err error) {
	for i, c := range l.counted {
		if c == nil {
			continue
		}
		if err := c.Err(); err != nil && i > 0 {
			return 0, elsewhereError{err}
		} else if err != nil {
			return 0, err
		}
		n += c.Val()
	}
	return n, nil
}

// addShared adds what is looked up once for the batch.
func (b *batch) addShared(n *node) {
	if len(b.watched) > 1 {
		b.watch = intCmd(b.watched...)
		b.cmds = append(b.cmds, b.watch)
	}
	if b.dated {
		if b.validAfter == nil {
			b.validAfter = stringCmd("get", b.validAfterKey)
		}
		if b.spread {
			n.useBehind(b.validAfterKey, b.validAfter)
			return
		}
		use(b, b.validAfter)
	}
}

// suspect reports whether something may speak against one of the batch's entries.
func (b *batch) suspect() bool {
	if !b.spread {
		return b.watch != nil && b.watch.Err() == nil && b.watch.Val() > 0
	}
	for i, it := range b.items {
		if it.op == unregistering {
			continue
		}
		if n, _ := b.slots[i].look.count(); n > 0 {
			return true
		}
	}
	return false
}

// lookCloser asks for the keys of each entry, in a pipeline of its own.
func (n *node) lookCloser(ctx context.Context) error {
	pipe := n.redis.Pipeline(false)
	var last *redis.StringCmd
	ask := func(key *string) *redis.StringCmd {
		last = stringCmd("get", key)
		n.addAt(pipe, *key, last)
		return last
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
	pipe.Exec(ctx) // judged command by command
	if err := last.Err(); redisconn.IsLinkError(err) && !n.batch.spread {
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
	suspect := b.suspects
	if b.spread {
		if _, err := l.count(); err != nil {
			return nil, err
		}
	} else if err := b.watch.Err(); err != nil {
		return nil, err
	}
	c := it.entry.Credential
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
		return r, b.elsewhere(err)
	}
	if c.ID != "" {
		if r, err := exists(l.revoked, Revoked, l.key.revoked); r != nil || err != nil {
			return r, b.elsewhere(err)
		}
	}
	if l.used {
		r, err := exists(l.usedBy, Used, l.key.used)
		return r, b.elsewhere(err)
	}
	return nil, nil
}

// elsewhere marks what has failed at another node as such.
func (b *batch) elsewhere(err error) error {
	if err == nil || !b.spread || errors.Is(err, errBadTime) {
		return err
	}
	return elsewhereError{err}
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
