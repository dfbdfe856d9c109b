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
// No two keys stand in one transaction: in a Cluster they are in several slots. There,
// where one EXISTS can't do, each renewal is to be checked by itself.
type look struct {
	key struct{ block, after, revoked, used string }

	block, after, revoked, used *redis.StringCmd
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
func (b *batch) addLook(s *slot, k Keys) {
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
	use(b, l.revoked)
	if c.Once != 0 && s.item.op == checking { // a registration makes it
		l.key.used = k.Used(c.ID)
		if l.used == nil {
			l.used = stringCmd("get", &l.key.used)
		}
		use(b, l.used)
	}
}

// addWatch adds the keys of an entry that is renewed to those that are counted.
func (b *batch) addWatch(s *slot) {
	l, c := &s.look, s.item.entry.Credential
	l.key.block = b.next()
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
		return r, err
	}
	if r, err := exists(l.revoked, Revoked, l.key.revoked); r != nil || err != nil {
		return r, err
	}
	if it.op == checking && c.Once != 0 {
		return exists(l.used, Used, l.key.used)
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
