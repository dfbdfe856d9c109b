package presence

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// What is done about fields, or a key, that are not as they should be.
const (
	fixRemove  = iota // the fields are stale (HDEL)
	fixPersist        // the key is no hash, and an expiry set on it is taken back (PERSIST)
	fixAdopt          // the key expires as a whole, and each field is to by itself (HEXPIRE NX, PERSIST)
)

// repair is what is done about fields of a user's hash. It is not tried again
// where it fails: whoever comes across them next does it.
type repair struct {
	user   string
	fields []string
	kind   int
	reply  *redis.IntCmd
}

func (f *repair) commands(k Keys, ttlSeconds string) []redis.Cmder {
	key := k.User(f.user)
	if f.kind == fixPersist {
		f.reply = intCmd("persist", key)
		return []redis.Cmder{f.reply}
	}
	args := []any{"hdel", key}
	if f.kind == fixAdopt {
		// NX: only those that have no expiry. A field whose pod lives is renewed
		// by it, and the others are gone in time, as they would be with the key.
		args = []any{"hexpire", key, ttlSeconds, "nx", "fields", len(f.fields)}
	}
	for _, field := range f.fields {
		args = append(args, field)
	}
	if f.kind == fixAdopt {
		f.reply = intCmd("persist", key)
		return []redis.Cmder{redis.NewIntSliceCmd(context.Background(), args...), f.reply}
	}
	f.reply = intCmd(args...)
	return []redis.Cmder{f.reply}
}
