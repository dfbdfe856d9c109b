package presence

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

// routes says which node has which user. Guarded by shared.mu.
type routes struct {
	m       *redisconn.Map
	single  *node // has all of them; nil in a Cluster
	of      map[*redisconn.Node]*node
	unbegun []*node // that Run is still to run

	// Operations that are in flight at a node which has their slot no more. Until that ends,
	// the node that has it now sends nothing of those UUIDs, so that nothing is overtaken.
	held map[UUID]*node

	dropped uint64 // by nodes that are gone

	validAfter      string // Keys.ValidAfter as it was read last, in a Cluster; "": there is none
	validAfterKnown bool
}

// open returns the node that has the user, with s.mu locked, for what is then queued
// there: the caller calls queued. nil: the store takes nothing more.
func (s *shared) open(user string) *node {
	s.mu.Lock()
	n := s.owner(user)
	if n.q.closed {
		s.mu.Unlock()
		return nil
	}
	return n
}

// owner returns the node that has the user. The caller holds s.mu.
func (s *shared) owner(user string) *node {
	if s.routes.single != nil {
		return s.routes.single
	}
	return s.routes.of[s.routes.m.Slot(UserSlot(user))]
}

// UserSlot returns the slot, in a Cluster, of all that belongs to a user.
func UserSlot(user string) int {
	// In a key the tag ends at the first }, which may be one in the id.
	tag, _, _ := strings.Cut(user, "}")
	return redisconn.TagSlot(tag)
}

// start returns the nodes that are to be run, once each, and the map that they are of.
func (s *shared) start() (m *redisconn.Map, unbegun []*node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	unbegun, s.routes.unbegun = s.routes.unbegun, nil
	return s.routes.m, unbegun
}

// route makes nodes for those of a map that have none.
func (s *shared) route(m *redisconn.Map) {
	before := s.routes.of
	r := &s.routes
	r.m, r.single, r.of = m, nil, make(map[*redisconn.Node]*node, len(m.Masters))
	for _, server := range m.Masters {
		n := before[server]
		if n == nil {
			n = newNode(s, server)
			r.unbegun = append(r.unbegun, n)
		}
		r.of[server] = n
	}
	if server := m.Single(); server != nil {
		r.single = r.of[server]
	}
}

// reroute follows another map: what waits for a user is moved to the node that has the
// user now, and what is in flight holds up its UUIDs there.
func (s *shared) reroute(m *redisconn.Map) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.routes.of
	s.route(m)
	for server, n := range before {
		s.moveAway(n)
		if s.routes.of[server] != nil {
			continue
		}
		n.gone = true
		s.routes.dropped += n.q.dropped
		if n.cancel != nil {
			n.cancel()
		}
		s.wakeUp(n)
	}
}

// moveAway moves what waits at a node for users that it has no more. The caller holds s.mu.
func (s *shared) moveAway(n *node) {
	n.q.unpark()
	for _, kind := range []func(*queue) *fifo[*item]{joining, staying, leaving} {
		f := kind(&n.q)
		for range f.len() {
			it := f.pop()
			owner := n
			if it.op != superseded {
				owner = s.owner(it.entry.User)
			}
			if owner == n {
				f.push(it)
				continue
			}
			n.q.replace(it)
			owner.q.put(it, kind(&owner.q))
			s.wakeUp(owner)
		}
	}
	for _, f := range []*fifo[*exam]{&n.q.exams, &n.q.chores} {
		for range f.len() {
			e := f.pop()
			owner := s.owner(e.user)
			if owner == n {
				f.push(e)
				continue
			}
			if n.q.examined[e.user] == e {
				delete(n.q.examined, e.user)
			}
			owner.q.postpone(e)
			s.wakeUp(owner)
		}
	}
	for _, it := range n.flight {
		if it.op == superseded || it.op == checking || s.owner(it.entry.User) == n {
			continue
		}
		if s.routes.held == nil {
			s.routes.held = make(map[UUID]*node)
		}
		if s.routes.held[it.entry.UUID] == nil {
			s.routes.held[it.entry.UUID] = n
		}
	}
}

func joining(q *queue) *fifo[*item] { return &q.joining }
func staying(q *queue) *fifo[*item] { return &q.staying }
func leaving(q *queue) *fifo[*item] { return &q.leaving }

// put queues an operation as it is.
func (q *queue) put(it *item, to *fifo[*item]) {
	switch it.op {
	case unregistering:
		q.putRemoval(it)
	case renewing:
		q.putRenewal(it)
	case registering:
		q.waiting[it.entry.UUID] = it
		to.push(it)
	case checking:
		to.push(it)
	}
}

// unpark puts back what was passed over.
func (q *queue) unpark() {
	for _, it := range q.parked {
		switch it.op {
		case registering:
			q.joining.push(it)
		case unregistering:
			q.leaving.push(it)
		case superseded:
			q.recycle(it)
		default:
			q.staying.push(it)
		}
	}
	clear(q.parked)
	q.parked = q.parked[:0]
}

// begin is called before a batch, with what ends it early. It reports whether there may be
// one: not where the node is gone.
func (n *node) begin(cancel context.CancelFunc) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		return false
	}
	n.cancel = cancel
	return true
}

// end is called after a batch, once what is left of it has been put back.
func (n *node) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.flight, n.cancel = nil, nil
	if len(n.routes.held) == 0 {
		return
	}
	for u, at := range n.routes.held {
		if at == n {
			delete(n.routes.held, u)
		}
	}
	for _, other := range n.routes.of {
		if len(other.q.parked) > 0 {
			other.q.unpark()
			n.wakeUp(other)
		}
	}
}

// leaves reports whether the node is gone. What is still to be removed again is then left to
// others.
func (n *node) leaves() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		n.repeatRemovals()
		n.moveAway(n)
	}
	return n.gone
}

// wakeUp makes a node look at its queue. The caller holds s.mu.
func (s *shared) wakeUp(n *node) {
	n.alarm.at = 0
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// poke wakes another node for which something was queued. The caller holds n.mu.
func (n *node) poke(owner *node) {
	if owner != n {
		n.wakeUp(owner)
	}
}

// giveUp ends a registration or a check; see queue.giveUp. The caller holds n.mu.
func (n *node) giveUp(it *item, err error) {
	owner := n.owner(it.entry.User)
	owner.q.giveUp(it, err)
	n.poke(owner)
}

// examineFor asks for an examination of the user's hash. The caller holds n.mu.
func (n *node) examineFor(it *item) {
	owner := n.owner(it.entry.User)
	owner.q.examineFor(it)
	n.poke(owner)
}

// spreads reports whether keys may be in several slots, at several nodes.
func (n *node) spreads() bool { return n.redis.Map().Kind != redisconn.Standalone }

// trial is the user as whom it is tried whether a node takes writes.
type trial struct {
	m    *redisconn.Map
	user string
}

// tryUser returns a user that nobody is, whose slot is at this node.
func (n *node) tryUser() string {
	m := n.redis.Map()
	if n.trial.m == m {
		return n.trial.user
	}
	n.trial = trial{m, n.channel}
	const tries = 1 << 18
	for i := 1; i < tries && m.Has(n.server) && m.Slot(UserSlot(n.trial.user)) != n.server; i++ {
		n.trial.user = n.channel + "#" + strconv.Itoa(i)
	}
	return n.trial.user
}

// errAway is the error of a command that was not sent, since its node has just not answered.
var errAway = errors.New("a node of the Cluster does not answer")

// awayFor is how long a node that has not answered is not asked for keys by others.
const awayFor = time.Second

// answered records that the server answers.
func (n *node) answered(now time.Duration) {
	n.link.answered(now)
	n.away.Store(0)
}

// useBehind adds a command on a key that is not the user's to what follows behind the batch.
func (n *node) useBehind(key string, cmd redis.Cmder) {
	b := &n.batch
	cmd.SetErr(nil)
	if b.behind == nil {
		b.behind = n.redis.Pipeline(false)
	}
	n.addAt(b.behind, key, cmd)
}

// addAt adds commands on a key to a pipeline, unless its node is known to be away.
func (n *node) addAt(p *redisconn.Pipeline, key string, cmds ...redis.Cmder) {
	m := n.redis.Map()
	server := m.Of(key)
	n.mu.Lock()
	owner := n.routes.of[server]
	n.mu.Unlock()
	if owner != nil && owner != n && n.now() < time.Duration(owner.away.Load()) {
		for _, c := range cmds {
			c.SetErr(errAway)
		}
		return
	}
	p.AddTo(server, cmds...)
}

// lookBehind looks up what stands behind the batch: who writes such a key, and reads
// presence after it, finds whoever the key did not stop. A node that does not answer holds
// up the users of this one for a while only.
func (n *node) lookBehind(ctx context.Context) {
	b := &n.batch
	if b.behind == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.opt.Timeout/3)
	defer cancel()
	for _, server := range b.behind.Exec(ctx) {
		n.mu.Lock()
		owner, brokenOff := n.routes.of[server], n.gone
		n.mu.Unlock()
		if owner != nil && owner != n && !brokenOff {
			owner.away.Store(int64(n.now() + awayFor))
		}
	}
	n.keepValidAfter()
}

// keepValidAfter remembers the time that all credentials are held against. While its
// node is away nobody can write it, and what was read last holds.
func (n *node) keepValidAfter() {
	b := &n.batch
	if !b.dated {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch err := b.validAfter.Err(); {
	case err == nil:
		n.routes.validAfter, n.routes.validAfterKnown = b.validAfter.Val(), true
	case errors.Is(err, redis.Nil):
		n.routes.validAfter, n.routes.validAfterKnown = "", true
	case !n.routes.validAfterKnown || !redisconn.IsLinkError(err) && !redis.IsClusterDownError(err):
	case n.routes.validAfter == "":
		b.validAfter.SetErr(redis.Nil)
	default:
		b.validAfter.SetVal(n.routes.validAfter)
		b.validAfter.SetErr(nil)
	}
}
