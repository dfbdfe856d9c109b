package hub

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"

	"pushpod/presence"
)

// registry knows the sessions of this pod, by UUID and by user. Its lock is
// taken inside a loop's lock, so nothing that holds it may call a connection.
type registry struct {
	// Static. User ids come from outside: without a seed of its own, somebody
	// could choose those that meet in one slot.
	seed maphash.Seed

	mu     sync.Mutex // protects following, and session.next
	byUUID table
	byUser table // a user's newest one; the others by session.next
}

func newRegistry() *registry {
	r := &registry{seed: maphash.MakeSeed()}
	r.byUUID.hash = func(s *session) uint64 { return maphash.Bytes(r.seed, s.uuid[:]) }
	r.byUser.hash = func(s *session) uint64 { return maphash.String(r.seed, s.user) }
	return r
}

// uuid finds a session. The caller holds mu.
func (r *registry) uuid(u presence.UUID) *session {
	return r.byUUID.find(maphash.Bytes(r.seed, u[:]), func(s *session) bool { return s.uuid == u })
}

// user finds a user's newest session. The caller holds mu.
func (r *registry) user(id []byte) *session {
	return r.byUser.find(maphash.Bytes(r.seed, id), func(s *session) bool { return s.user == string(id) })
}

func (r *registry) add(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byUUID.add(s)
	if s.next = r.user([]byte(s.user)); s.next != nil {
		r.byUser.replace(s.next, s)
	} else {
		r.byUser.add(s)
	}
}

// remove reports whether s was in.
func (r *registry) remove(s *session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.uuid(s.uuid) != s {
		return false
	}
	r.byUUID.remove(s)
	if first := r.user([]byte(s.user)); first != s {
		for first.next != s {
			first = first.next
		}
		first.next = s.next
	} else if s.next != nil {
		r.byUser.replace(s, s.next)
	} else {
		r.byUser.remove(s)
	}
	s.next = nil
	return true
}

func (r *registry) holds(u presence.UUID) bool { return r.find(u) != nil }

// find finds a session; nil: there is none.
func (r *registry) find(u presence.UUID) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.uuid(u)
}

// Address is where the client of a connection is, as far as the pod knows; false: the pod
// does not hold that connection. It may be called from anywhere.
func (h *Hub) Address(u presence.UUID) (netip.Addr, bool) {
	s := h.registry.find(u)
	if s == nil {
		return netip.Addr{}, false
	}
	return s.address(), true
}

func (r *registry) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byUUID.n
}

// count is how many connections a user has here.
func (r *registry) count(user string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := r.user([]byte(user)); s != nil; s = s.next {
		n++
	}
	return n
}

// each calls f with every session, which must call nothing of a registry or a connection.
func (r *registry) each(f func(*session)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byUUID.all(f)
}

// all returns every session.
func (r *registry) all() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*session, 0, r.byUUID.n)
	r.byUUID.all(func(s *session) { list = append(list, s) })
	return list
}

// ConsistencyCheck compares both tables.
func (r *registry) ConsistencyCheck() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var first error
	wrong := func(format string, args ...any) {
		if first == nil {
			first = fmt.Errorf("hub: registry: "+format, args...)
		}
	}
	n, users := 0, 0
	r.byUser.all(func(newest *session) {
		users++
		user := newest.user
		for s := newest; s != nil; s = s.next {
			n++
			if s.user != user {
				wrong("a connection of %q is listed under %q", s.user, user)
			}
			if r.uuid(s.uuid) != s {
				wrong("a connection of %q is not found by its UUID", user)
			}
		}
		if r.user([]byte(user)) != newest {
			wrong("the connections of %q are not found by their user", user)
		}
	})
	if users != r.byUser.n || n != r.byUUID.n {
		wrong("%d connections by UUID and %d by user, of %d users and %d", r.byUUID.n, n, r.byUser.n, users)
	}
	return first
}
