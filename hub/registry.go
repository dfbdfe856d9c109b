package hub

import (
	"fmt"
	"hash/maphash"
	"sync"

	"pushpod/conn"
)

// registry knows the connections of this pod, by UUID and by user. Its lock is
// taken inside a loop's lock, so nothing that holds it may call a connection.
type registry struct {
	// Static. User ids come from outside: without a seed of its own, somebody
	// could choose those that meet in one slot.
	seed maphash.Seed

	mu     sync.Mutex // protects following, and Conn.Link
	byUUID table
	byUser table // a user's newest one; the others by Conn.Link
}

func newRegistry() *registry {
	r := &registry{seed: maphash.MakeSeed()}
	r.byUUID.hash = func(c *conn.Conn) uint64 { u := c.UUID(); return maphash.Bytes(r.seed, u[:]) }
	r.byUser.hash = func(c *conn.Conn) uint64 { return maphash.String(r.seed, c.User()) }
	return r
}

// uuid finds a connection. The caller holds mu.
func (r *registry) uuid(u conn.UUID) *conn.Conn {
	return r.byUUID.find(maphash.Bytes(r.seed, u[:]), func(c *conn.Conn) bool { return c.UUID() == u })
}

// user finds a user's newest connection. The caller holds mu.
func (r *registry) user(id []byte) *conn.Conn {
	return r.byUser.find(maphash.Bytes(r.seed, id), func(c *conn.Conn) bool { return c.User() == string(id) })
}

func (r *registry) add(c *conn.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byUUID.add(c)
	if c.Link = r.user([]byte(c.User())); c.Link != nil {
		r.byUser.replace(c.Link, c)
	} else {
		r.byUser.add(c)
	}
}

// remove reports whether c was in.
func (r *registry) remove(c *conn.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.uuid(c.UUID()) != c {
		return false
	}
	r.byUUID.remove(c)
	if first := r.user([]byte(c.User())); first != c {
		for first.Link != c {
			first = first.Link
		}
		first.Link = c.Link
	} else if c.Link != nil {
		r.byUser.replace(c, c.Link)
	} else {
		r.byUser.remove(c)
	}
	c.Link = nil
	return true
}

func (r *registry) holds(u conn.UUID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.uuid(u) != nil
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
	for c := r.user([]byte(user)); c != nil; c = c.Link {
		n++
	}
	return n
}

// all returns every connection.
func (r *registry) all() []*conn.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*conn.Conn, 0, r.byUUID.n)
	r.byUUID.all(func(c *conn.Conn) { list = append(list, c) })
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
	r.byUser.all(func(newest *conn.Conn) {
		users++
		user := newest.User()
		for c := newest; c != nil; c = c.Link {
			n++
			if c.User() != user {
				wrong("a connection of %q is listed under %q", c.User(), user)
			}
			if r.uuid(c.UUID()) != c {
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
