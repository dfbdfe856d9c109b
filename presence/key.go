package presence

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxUser is the longest user id, in bytes.
const MaxUser = 256

// Keys builds the names of all keys and channels in Redis; nothing else does.
// The braces around a user id are a Redis hash tag: all that belongs to one
// user lies in one slot. The zero value has an empty prefix.
type Keys struct{ prefix string }

// NewKeys returns the names that begin with prefix, such as "push:". The prefix
// has passed ValidPrefix.
func NewKeys(prefix string) Keys { return Keys{prefix: prefix} }

// User returns the key of a user's hash: connection UUID to pod channel.
func (k Keys) User(id string) string { return k.prefix + "user:{" + id + "}" }

// Users is how people know the keys of all users' hashes.
func (k Keys) Users() string { return k.prefix + "user:*" }

// Pods returns the key of the sorted set of pods: channel by last heartbeat.
func (k Keys) Pods() string { return k.prefix + "pods" }

// PodsInfo returns the key of the hash that describes the pods: channel to
// JSON.
func (k Keys) PodsInfo() string { return k.prefix + "pods:info" }

// Uplink returns the key of the stream of what clients sent.
func (k Keys) Uplink() string { return k.prefix + "uplink" }

// PodChannel returns the channel of the pod with this address (host:port).
func (k Keys) PodChannel(address string) string { return k.prefix + "pod:" + address }

// AllChannel returns the channel that every pod reads.
func (k Keys) AllChannel() string { return k.prefix + "all" }

// ControlChannel returns the channel on which the pod with this address is told to close
// connections, where redis.control is on.
func (k Keys) ControlChannel(address string) string { return k.prefix + "ctl:" + address }

// ControlAllChannel returns the channel on which every pod is.
func (k Keys) ControlAllChannel() string { return k.prefix + "ctl:all" }

// Block returns the key that exists while a user is blocked. It holds the reason.
func (k Keys) Block(user string) string { return string(k.appendBlock(nil, user)) }

// Revoked returns the key that exists while a credential is revoked. It holds the reason.
func (k Keys) Revoked(id string) string { return string(k.appendRevoked(nil, id)) }

// ValidAfter returns the key of a time, in Unix seconds: what was issued before it is good
// no more.
func (k Keys) ValidAfter() string { return k.prefix + "valid-after" }

// ValidAfterUser returns the key of such a time for one user.
func (k Keys) ValidAfterUser(user string) string { return string(k.appendValidAfterUser(nil, user)) }

// Used returns the key that exists once a credential for one connection is used. It holds
// the connection's UUID.
func (k Keys) Used(id string) string { return k.prefix + "used:{" + id + "}" }

// PodAddress returns the address in a pod's channel, and whether it is one; the
// address is empty where it is not.
func (k Keys) PodAddress(channel string) (address string, ok bool) {
	if address, ok = strings.CutPrefix(channel, k.prefix+"pod:"); !ok {
		return "", false
	}
	return address, true
}

func (k Keys) appendUser(dst []byte, id string) []byte { return k.append(dst, "user:{", id) }

func (k Keys) appendBlock(dst []byte, user string) []byte { return k.append(dst, "block:{", user) }

func (k Keys) appendRevoked(dst []byte, id string) []byte { return k.append(dst, "revoked:{", id) }

func (k Keys) appendValidAfterUser(dst []byte, user string) []byte {
	return k.append(dst, "valid-after:{", user)
}

func (k Keys) append(dst []byte, kind, tag string) []byte {
	dst = append(dst, k.prefix...)
	dst = append(dst, kind...)
	dst = append(dst, tag...)
	return append(dst, '}')
}

// ValidPrefix says why a prefix cannot be used, or nil. Braces in it would move
// the hash tag away from the user id.
func ValidPrefix(prefix string) error {
	if strings.ContainsAny(prefix, "{}") {
		return fmt.Errorf("presence: prefix %q holds a brace: allowed is any text without { and }", prefix)
	}
	if !utf8.ValidString(prefix) || strings.ContainsFunc(prefix, unicode.IsControl) {
		return fmt.Errorf("presence: prefix %q: allowed is UTF-8 without control characters and without { and }", prefix)
	}
	return nil
}

// ErrUser is returned for what is no user id.
var ErrUser = fmt.Errorf("presence: a user id has 1 to %d bytes of UTF-8, no control characters, and does not begin with }", MaxUser)

// ValidUser returns ErrUser, or nil for a user id: 1 to 256 bytes of UTF-8 without
// control characters (Unicode Cc: C0, DEL, C1), not beginning with }, which would make
// the hash tag empty. It allocates nothing.
func ValidUser[T string | []byte](id T) error {
	if len(id) == 0 || len(id) > MaxUser || id[0] == '}' || !utf8.Valid([]byte(id)) {
		return ErrUser
	}
	for i := range len(id) {
		// In UTF-8, U+0080 to U+009F are C2 80 to C2 9F, and C2 never comes last.
		if c := id[i]; c < ' ' || c == 0x7f || c == 0xc2 && id[i+1] < 0xa0 {
			return ErrUser
		}
	}
	return nil
}
