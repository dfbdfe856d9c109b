package presence

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// slot holds the commands for one entry of a batch. Slots are made once and
// used again by every batch: the arguments are pointers to the slot's own
// strings, so that an entry costs no allocation of its own.
type slot struct {
	item  *item
	form  form
	key   string // the user's key
	field string // the UUID
	old   string // that of the entry that is replaced

	set, expire, count, remove *redis.IntCmd
	touch                      *redis.IntSliceCmd

	// A transaction: its commands' replies are only "queued".
	multi, queuedSet, queuedExpire *redis.StatusCmd
	exec                           *redis.Cmd

	// Of an entry that replaces another one, made anew each time.
	find   *redis.StringCmd
	queued []redis.Cmder // the transaction's, from MULTI on, but EXEC

	ttl     *redis.IntCmd // of the whole key
	ttlUsed bool

	look look
}

// form says which commands of a slot are used.
type form uint8

const (
	formKey    form = iota // HSET, PEXPIRE of the whole key
	formFields             // MULTI, HSET, HEXPIRE, EXEC
	formTouch              // HEXPIRE
	formRemove             // HDEL
	formFind               // HGET
	formSwap               // MULTI, HSET, PEXPIRE or HEXPIRE, HDEL, PUBLISH, EXEC
)

func intCmd(args ...any) *redis.IntCmd { return redis.NewIntCmd(context.Background(), args...) }

func statusCmd(args ...any) *redis.StatusCmd {
	return redis.NewStatusCmd(context.Background(), args...)
}

// use readies a command that has been used before.
func use[C redis.Cmder](b *batch, c C) C {
	c.SetErr(nil)
	b.cmds = append(b.cmds, c)
	return c
}

// addCount adds the question how many entries a user has.
func (b *batch) addCount(s *slot) {
	if s.count == nil {
		s.count = intCmd("hlen", &s.key)
	}
	use(b, s.count)
}

// addKeyed adds the write of an entry where the whole key expires.
func (b *batch) addKeyed(s *slot, count bool) {
	if s.set == nil {
		s.set = intCmd("hset", &s.key, &s.field, &b.channel)
		s.expire = intCmd("pexpire", &s.key, &b.ttlMillis)
	}
	s.form = formKey
	use(b, s.set)
	use(b, s.expire)
	if count {
		b.addCount(s)
	}
}

// addWhole adds the write of an entry where each field expires. HSET removes
// the field's expiry, so that both stand in one transaction. With inherited it
// also asks for the expiry of the whole key.
func (b *batch) addWhole(s *slot, count, inherited bool) {
	if s.multi == nil {
		s.multi = statusCmd("multi")
		s.queuedSet = statusCmd("hset", &s.key, &s.field, &b.channel)
		s.queuedExpire = statusCmd("hexpire", &s.key, &b.ttlSeconds, "fields", "1", &s.field)
		s.exec = redis.NewCmd(context.Background(), "exec")
	}
	s.form = formFields
	use(b, s.multi)
	use(b, s.queuedSet)
	use(b, s.queuedExpire)
	use(b, s.exec)
	if s.ttlUsed = inherited; inherited {
		b.addTTL(s)
	}
	if count {
		b.addCount(s)
	}
}

// addTTL adds the question when the whole key expires.
func (b *batch) addTTL(s *slot) {
	if s.ttl == nil {
		s.ttl = intCmd("pttl", &s.key)
	}
	use(b, s.ttl)
}

// addTouch adds the renewal of an entry where each field expires.
func (b *batch) addTouch(s *slot) {
	if s.touch == nil {
		s.touch = redis.NewIntSliceCmd(context.Background(), "hexpire", &s.key, &b.ttlSeconds, "fields", "1", &s.field)
	}
	s.form = formTouch
	use(b, s.touch)
}

// addRemove adds the removal of an entry.
func (b *batch) addRemove(s *slot) {
	if s.remove == nil {
		s.remove = intCmd("hdel", &s.key, &s.field)
	}
	s.form = formRemove
	use(b, s.remove)
}

// inherits reports whether the key expires as a whole though its fields do.
func (s *slot) inherits() bool {
	return (s.form == formFields || s.form == formSwap) && s.ttlUsed && s.ttl.Err() == nil && s.ttl.Val() >= 0
}

// added reports whether an entry that was written was not there before.
func (s *slot) added() bool {
	if s.form == formKey {
		return s.set.Val() == 1
	}
	replies, _ := s.exec.Val().([]any)
	if len(replies) == 0 {
		return false
	}
	n, _ := replies[0].(int64)
	return n == 1
}

// written says how the write of an entry went: why the entry was refused, and
// why its expiry was, in which case the entry may stand.
func (s *slot) written() (set, expire error) {
	if s.form == formKey {
		return s.set.Err(), s.expire.Err()
	}
	if err := s.exec.Err(); err != nil {
		// EXECABORT says only that one of the queued commands was refused.
		queued := s.queued
		if s.form == formFields {
			queued = []redis.Cmder{s.multi, s.queuedSet, s.queuedExpire}
		}
		for _, cmd := range queued {
			if cmd.Err() != nil {
				return cmd.Err(), nil
			}
		}
		return err, nil
	}
	replies, _ := s.exec.Val().([]any)
	return replyError(replies, 0), replyError(replies, 1)
}
