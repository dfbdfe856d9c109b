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
// For a registration each key is asked for by itself (GET), behind the entry's write in
// the same pipeline: who writes such a key, and reads the user's hash after it, finds every
// connection that the key did not stop. For the renewals of a batch all keys are counted
// by one command (EXISTS), which costs half as much for each; only where one of them
// exists, the batch's entries are checked one by one.
//
// In a Cluster the keys are in several slots. There the user's own are counted for each
// renewal by itself, and the others are asked for behind the batch, at their nodes.
type look struct {
	key struct{ block, after, revoked, used string }

	block, after, revoked, used *redis.StringCmd
	own, ownBoth                *redis.IntCmd // in a Cluster: how many of block, or of block and after, exist
	watched                     *redis.IntCmd // which of the two was asked for; nil: none
	watchedRevoked              bool          // revoked was asked for
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

// addLook adds the look-ups for an entry.
func (b *batch) addLook(s *slot, n *node) {
	l, c := &s.look, s.item.entry.Credential
	l.key.block = b.next()
	if l.block == nil {
		l.block = stringCmd("get", &l.key.block)
	}
	use(b, l.block)
	if c == nil {
		return
	}
	l.key.after = b.next()
	if l.after == nil {
		l.after = stringCmd("get", &l.key.after)
	}
	use(b, l.after)
	b.dated = true
	if c.ID == "" {
		return
	}
	l.key.revoked = b.next()
	if l.revoked == nil {
		l.revoked = stringCmd("get", &l.key.revoked)
	}
	n.useAt(l.key.revoked, l.revoked)
	if c.Once != 0 && s.item.op == checking { // a registration makes it
		l.key.used = n.opt.Keys.Used(c.ID)
		if l.used == nil {
			l.used = stringCmd("get", &l.key.used)
		}
		n.useAt(l.key.used, l.used)
	}
}

// addWatch adds the keys of an entry that is renewed to those that are counted.
func (b *batch) addWatch(s *slot, n *node) {
	l, c := &s.look, s.item.entry.Credential
	l.key.block = b.next()
	if b.spread {
		b.addOwnWatch(s, n)
		return
	}
	b.watched = append(b.watched, &l.key.block)
	if c == nil {
		return
	}
	l.key.after = b.next()
	b.watched = append(b.watched, &l.key.after)
	b.dated = true
	if c.ID != "" {
		l.key.revoked = b.next()
		b.watched = append(b.watched, &l.key.revoked)
	}
}

// addOwnWatch is addWatch in a Cluster.
func (b *batch) addOwnWatch(s *slot, n *node) {
	l, c := &s.look, s.item.entry.Credential
	l.watchedRevoked = false
	if c == nil {
		if l.own == nil {
			l.own = intCmd("exists", &l.key.block)
		}
		l.watched = use(b, l.own)
		return
	}
	l.key.after = b.next()
	if l.ownBoth == nil {
		l.ownBoth = intCmd("exists", &l.key.block, &l.key.after)
	}
	l.watched = use(b, l.ownBoth)
	b.dated = true
	if c.ID == "" {
		return
	}
	l.key.revoked = b.next()
	if l.revoked == nil {
		l.revoked = stringCmd("get", &l.key.revoked)
	}
	l.watchedRevoked = true
	n.useAt(l.key.revoked, l.revoked)
}

// suspects reports whether something in a Cluster may speak against an entry that is
// renewed. The caller holds n.mu.
func (n *node) suspects(l *look) bool {
	if l.watched == nil {
		return false
	}
	if err := l.watched.Err(); err != nil {
		n.refused(err)
	}
	found := l.watched.Val() > 0
	l.watched = nil
	return found || l.watchedRevoked && l.revoked.Err() == nil
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
		n.useAt(b.validAfterKey, b.validAfter)
	}
}

// judge says what speaks against an entry; nil, nil: nothing does. The error says that it
// is not known, and is one of the key alone where it is an errBadTime.
func (l *look) judge(b *batch, it *item) (*Refused, error) {
	if r, err := exists(l.block, Blocked, l.key.block); r != nil || err != nil {
		return r, err
	}
	c := it.entry.Credential
	if c == nil {
		return nil, nil
	}
	if r, err := later(l.after, l.key.after, c.Issued); r != nil || err != nil {
		return r, err
	}
	if r, err := later(b.validAfter, b.validAfterKey, c.Issued); r != nil || err != nil || c.ID == "" {
		return r, b.elsewhere(err)
	}
	if r, err := exists(l.revoked, Revoked, l.key.revoked); r != nil || err != nil {
		return r, b.elsewhere(err)
	}
	if it.op == checking && c.Once != 0 {
		r, err := exists(l.used, Used, l.key.used)
		return r, b.elsewhere(err)
	}
	return nil, nil
}

// elsewhere marks what has failed at another node as such.
func (b *batch) elsewhere(err error) error {
	if err == nil || !b.spread {
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
