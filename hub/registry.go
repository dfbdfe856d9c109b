package hub

import (
	"fmt"
	"sync"

	"pushpod/conn"
)

// registry knows the connections of this pod, by UUID and by user. Its lock is
// taken inside a loop's lock, so nothing that holds it may call a connection.
type registry struct {
	mu     sync.Mutex // protects following, and Conn.Link
	byUUID map[conn.UUID]*conn.Conn
	byUser map[string]*conn.Conn // the newest one; the others by Conn.Link
}

func newRegistry() *registry {
	return &registry{byUUID: map[conn.UUID]*conn.Conn{}, byUser: map[string]*conn.Conn{}}
}

func (r *registry) add(c *conn.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byUUID[c.UUID()] = c
	c.Link = r.byUser[c.User()]
	r.byUser[c.User()] = c
}

// remove reports whether c was in.
func (r *registry) remove(c *conn.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byUUID[c.UUID()] != c {
		return false
	}
	delete(r.byUUID, c.UUID())
	user := c.User()
	if first := r.byUser[user]; first != c {
		for first.Link != c {
			first = first.Link
		}
		first.Link = c.Link
	} else if c.Link != nil {
		// The key's string is that of a connection that has gone: replace it,
		// so that it does not keep that connection's memory.
		delete(r.byUser, user)
		r.byUser[c.Link.User()] = c.Link
	} else {
		delete(r.byUser, user)
	}
	c.Link = nil
	return true
}

func (r *registry) holds(u conn.UUID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byUUID[u] != nil
}

func (r *registry) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.byUUID)
}

// count is how many connections a user has here.
func (r *registry) count(user string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := r.byUser[user]; c != nil; c = c.Link {
		n++
	}
	return n
}

// all returns every connection.
func (r *registry) all() []*conn.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*conn.Conn, 0, len(r.byUUID))
	for _, c := range r.byUUID {
		list = append(list, c)
	}
	return list
}

// ConsistencyCheck compares both maps.
func (r *registry) ConsistencyCheck() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for user, c := range r.byUser {
		for ; c != nil; c = c.Link {
			n++
			if c.User() != user {
				return fmt.Errorf("hub: registry: a connection of %q is listed under %q", c.User(), user)
			}
			if r.byUUID[c.UUID()] != c {
				return fmt.Errorf("hub: registry: a connection of %q is not listed by its UUID", user)
			}
		}
	}
	if n != len(r.byUUID) {
		return fmt.Errorf("hub: registry: %d connections by UUID, %d by user", len(r.byUUID), n)
	}
	return nil
}
