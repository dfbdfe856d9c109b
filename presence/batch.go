package presence

import (
	"context"
	"fmt"
	"strconv"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

// batch is one pipeline: entries, then removals of stale fields, then hashes to
// examine. It is used again and again, and owned by the node's goroutine.
type batch struct {
	// Static after construction; commands point at them.
	channel    string
	ttlMillis  string
	ttlSeconds string // rounded up
	podsKey    string

	limit Limit // as it was when the batch was built: replies are judged by what was asked for

	items []*item
	slots []*slot
	cmds  []redis.Cmder
	text  []byte // the entries' keys and UUIDs, behind each other
	cuts  []int  // where each of them ends in text
	taken int    // of cuts, by next
	names string // text, as a string

	watched []any         // "exists", and the keys that are looked up
	watch   *redis.IntCmd // made of them; nil: there are none

	validAfter    *redis.StringCmd
	validAfterKey string
	dated         bool // validAfter is asked for

	// In a Cluster keys that are not in the user's slot are looked up by a pipeline behind
	// the batch, each at its own node.
	spread bool
	behind *redisconn.Pipeline // nil: nothing is to be looked up

	suspects bool // something may speak against one of the entries: all their keys were read

	score     string // the pod's own, written where it is absent
	scoreAdd  *redis.IntCmd
	scoreUsed bool

	repairs []*repair
	exams   []*exam

	singles []single // registrations that use their credential up

	// Known from the replies.
	refusal error // the last one that is not about one user's key
	kept    bool  // a removal was refused
	wrote   bool  // an entry was written
	unknown bool  // HEXPIRE is not known any more
}

func newBatch(o Options, channel string) batch {
	return batch{
		channel:    channel,
		ttlMillis:  strconv.FormatInt(max(o.TTL.Milliseconds(), 1), 10),
		ttlSeconds: strconv.FormatInt(int64((o.TTL+time.Second-1)/time.Second), 10),
		podsKey:    o.Keys.Pods(),

		watched:       []any{"exists"},
		validAfterKey: o.Keys.ValidAfter(),
	}
}

func (b *batch) reset() {
	clear(b.items)
	clear(b.cmds)
	clear(b.singles)
	b.watched, b.watch = b.watched[:1], nil
	b.singles = b.singles[:0]
	b.items, b.cmds = b.items[:0], b.cmds[:0]
	b.repairs, b.exams, b.behind, b.suspects = nil, nil, nil, false
	b.refusal, b.kept, b.wrote, b.unknown, b.scoreUsed, b.dated = nil, false, false, false, false, false
}

// turn does what is due: at most one pipeline of entries, preceded by what has
// to be found out first. All of it ends by deadline.
func (n *node) turn(ctx context.Context, deadline time.Duration) {
	now := n.now()
	n.settle(now)
	n.sweepDoubts(now)
	deadline, expired := n.expire(now, deadline)
	if expired {
		return // they are told first: what follows may take its time
	}
	if now < n.link.until {
		return // a doubt was over, or somebody was to be told
	}
	ctx, cancel := context.WithDeadline(ctx, n.epoch.Add(deadline))
	defer cancel()
	if !n.begin(cancel) {
		return
	}
	defer n.batch.reset()
	defer n.end() // before it: who looks at what is in flight finds items
	if n.err() != nil && now >= n.link.mendAt && !n.mend(ctx) {
		return
	}
	if n.expiry.mode == expiryUnknown || n.server.Dials() != n.expiry.dials {
		if err := n.probeExpiry(ctx); err != nil {
			n.linkFailed(err, false)
			return
		}
	}
	n.gather()
	if len(n.batch.items)+len(n.batch.repairs)+len(n.batch.exams) > 0 {
		n.build()
		n.send(ctx)
	}
}

// settle repeats removals once a doubt is over.
func (n *node) settle(now time.Duration) {
	if !n.link.settled(now) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.repeatRemovals()
}

// repeatRemovals queues again what was removed in doubt. The caller holds n.mu.
func (n *node) repeatRemovals() {
	for _, e := range n.link.takeRemoved() {
		owner := n.owner(e.User)
		if owner.q.waiting[e.UUID] == nil {
			it := owner.q.item(e, unregistering, n.now())
			it.cleanup, it.repeat = true, true
			owner.q.putRemoval(it)
			n.poke(owner)
		}
	}
}

// expire gives up the registrations that have waited for nearly Options.Timeout,
// and returns by when the turn must end, so that the oldest of the others is
// answered within it.
func (n *node) expire(now, deadline time.Duration) (by time.Duration, expired bool) {
	least := n.opt.Timeout / 20 // what a batch needs at least
	n.mu.Lock()
	defer n.mu.Unlock()
	queued, ok := n.q.oldestJoining()
	if ok && queued+n.opt.Timeout < now+least {
		cause := n.err()
		if cause == nil {
			cause = context.DeadlineExceeded
		}
		n.q.failJoining(now+least-n.opt.Timeout, fmt.Errorf("%w: %w", ErrUnavailable, cause))
		return deadline, true
	}
	if ok {
		deadline = min(deadline, queued+n.opt.Timeout)
	}
	if n.q.exams.len() > 0 {
		oldest := n.q.exams.front().newcomers[0]
		deadline = min(deadline, max(oldest.queued+n.opt.Timeout, now+least))
	}
	return deadline, false
}

// mend finds out whether Redis takes writes again. It writes as for an entry, to a
// user's key that no user has, and removes that in the same transaction, so that
// nobody ever sees it. It also looks up a key of the kind that speaks against entries.
// It reports whether the turn may go on.
func (n *node) mend(ctx context.Context) bool {
	user := n.tryUser()
	key, field, block := n.opt.Keys.User(user), FormatUUID(UUID{}), n.opt.Keys.Block(user)
	expire := []any{"pexpire", key, n.batch.ttlMillis}
	if n.expiry.mode == expiryFields {
		expire = []any{"hexpire", key, n.batch.ttlSeconds, "fields", "1", field}
	}
	err := transaction(ctx, n.server.Client(),
		[]any{"hset", key, field, n.channel}, expire, []any{"hdel", key, field}, []any{"get", block}, []any{"exists", block})
	if redisconn.IsLinkError(err) {
		n.linkFailed(err, false)
		return false
	}
	now := n.now()
	n.answered(now)
	switch {
	case isUnknownCommand(err): // another server answers
		n.setExpiry(expiryUnknown)
	case err != nil:
		n.count.errors.Add(1)
		n.link.refused(now)
		n.redis.Refresh() // it may have the slots of this key no more
		n.setErr(err)
	default:
		n.mended()
	}
	return true
}

// mended records that writes succeed.
func (n *node) mended() {
	if n.link.refusals > 0 {
		n.setExpiry(expiryUnknown) // it may have been asked while Redis refused everything
	}
	n.link.mended()
	n.setErr(nil)
}

// gather takes what the next pipeline is to carry.
func (n *node) gather() {
	b, now := &n.batch, n.now()
	b.repairs = n.sweeper.take(repairsAtOnce)
	n.mu.Lock()
	defer n.mu.Unlock()
	b.items = n.q.take(b.items, n.opt.Batch, n.link.leaveAt <= now)
	n.flight = b.items
	for n.q.exams.len() > 0 && len(b.exams) < examsAtOnce {
		b.exams = append(b.exams, n.q.takeExam(&n.q.exams))
	}
	for n.q.chores.len() > 0 && len(b.exams) < examsAtOnce && n.sweeper.chores.AllowN(n.epoch.Add(now), 1) {
		b.exams = append(b.exams, n.q.takeExam(&n.q.chores))
	}
}

// name writes the keys and UUIDs of the entries, and the keys that are looked up for them.
func (b *batch) name(k Keys, looks func(*item) bool) {
	b.text, b.cuts, b.taken = b.text[:0], b.cuts[:0], 0
	for _, it := range b.items {
		b.text = k.appendUser(b.text, it.entry.User)
		b.cut()
		b.text = AppendUUID(b.text, it.entry.UUID)
		b.cut()
		if it.replaces() {
			b.text = AppendUUID(b.text, it.entry.Replaces)
			b.cut()
		}
		if looks(it) {
			b.appendLookKeys(k, it)
		}
	}
	// The commands share the buffer's memory: nobody uses them any more when the
	// next batch overwrites it. A copy would be half of the garbage of a renewal.
	b.names = unsafe.String(unsafe.SliceData(b.text), len(b.text))
}

func (b *batch) cut() { b.cuts = append(b.cuts, len(b.text)) }

// next returns the next of the names.
func (b *batch) next() string {
	from := 0
	if b.taken > 0 {
		from = b.cuts[b.taken-1]
	}
	b.taken++
	return b.names[from:b.cuts[b.taken-1]]
}

// build writes the commands of a batch.
func (n *node) build() {
	b := &n.batch
	b.limit = *n.limit.Load()
	b.spread = n.spreads()
	b.name(n.opt.Keys, n.looks)
	n.guard()
	now := n.now()
	rewrite, inherited := now < n.expiry.rewrite, now < n.expiry.inherited
	for i, it := range b.items {
		if i == len(b.slots) {
			b.slots = append(b.slots, new(slot))
		}
		slot := b.slots[i]
		slot.item, slot.key, slot.field = it, b.next(), b.next()
		if it.replaces() {
			slot.old = b.next()
		}
		switch count := b.limit.bounds(); {
		case it.op == unregistering:
			b.addRemove(slot)
		case it.finds():
			b.addFind(slot)
		case it.swaps():
			n.addSwap(slot, count, inherited)
		case it.op == checking:
			if n.counts(it) {
				b.addCount(slot)
			}
		case n.expiry.mode == expiryKey:
			b.addKeyed(slot, count || it.op == renewing && n.opt.Pods != nil)
		case it.op == renewing && !it.whole && !rewrite:
			b.addTouch(slot)
		default:
			b.addWhole(slot, count && it.op == registering, inherited)
		}
		if n.looks(it) {
			b.addWatch(slot, n)
		}
	}
	b.addShared(n)
	for _, fix := range b.repairs {
		b.cmds = append(b.cmds, fix.commands(n.opt.Keys, b.ttlSeconds)...)
	}
	for _, e := range b.exams {
		e.reply = redis.NewMapStringStringCmd(context.Background(), "hgetall", n.opt.Keys.User(e.user))
		b.cmds = append(b.cmds, e.reply)
	}
}

// guard puts the pod's own score before its entries, where it is absent: Redis
// may have been emptied, and an entry whose pod has no score is a dead one's. In a Cluster
// the score may be on another node; there an absent one is no death for a lease.
func (n *node) guard() {
	b := &n.batch
	if n.opt.Pods == nil || b.spread && n.redis.Map().Of(b.podsKey) != n.server {
		return
	}
	writes := false
	for _, it := range b.items {
		writes = writes || it.op == registering || it.op == renewing
	}
	score, ok := n.opt.Pods.ownScore()
	if !writes || !ok {
		return
	}
	if b.scoreAdd == nil {
		b.scoreAdd = intCmd("zadd", b.podsKey, "nx", &b.score, b.channel)
	}
	b.score, b.scoreUsed = score, true
	use(b, b.scoreAdd)
}

// send executes the batch and judges its replies.
func (n *node) send(ctx context.Context) {
	b := &n.batch
	n.sent = n.now()
	n.server.Send(ctx, b.cmds) // judged command by command
	now := n.now()
	n.count.batch(len(b.items), len(b.cmds), now-n.sent)
	// What failed on the way failed for all commands behind it as well.
	if err := b.cmds[len(b.cmds)-1].Err(); redisconn.IsLinkError(err) {
		n.linkFailed(err, !isNotSent(err))
		return
	}
	n.redis.Follow(ctx, n.server, b.cmds)
	n.lookBehind(ctx)
	if b.suspects = b.suspect(); b.suspects {
		if err := n.lookCloser(ctx); err != nil {
			n.linkFailed(err, true)
			return
		}
	}
	n.answered(now)
	n.judge(now)
	n.examine(ctx)
	n.useUp(ctx)
}

// linkFailed deals with a connection that failed: what became of the batch is not
// known. All of it is tried again, on another connection, once mend has got an answer. Where
// that fails too, what waits meanwhile is given up, but for unregistrations.
//
// sent says that Redis may have received the batch.
func (n *node) linkFailed(err error, sent bool) {
	b, now := &n.batch, n.now()
	n.link.failed(now, sent)
	n.away.Store(int64(now + awayFor))
	n.redis.Refresh()
	n.count.errors.Add(1)
	n.setExpiry(expiryUnknown) // the next connection may lead to another server
	n.setErr(err)
	cause := fmt.Errorf("%w: %w", ErrUnavailable, err)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, it := range b.items {
		it.sent = it.sent || sent
		n.q.tellRejected(it) // that waits no longer for the entry to be gone
		n.requeue(it, cause)
	}
	for _, e := range b.exams {
		n.postpone(e)
	}
	if n.link.failures > 1 {
		n.q.failJoining(now, cause)
		n.q.failExams(cause)
		n.q.dropStaying()
	}
}

// requeue puts an item back, at the node that has its slot now. The caller holds n.mu.
func (n *node) requeue(it *item, cause error) {
	owner := n.owner(it.entry.User)
	if owner.q.again(it) {
		n.poke(owner)
		return
	}
	// A later operation on the UUID waits, which ends this one.
	if it.op == registering {
		n.q.outcomes = append(n.q.outcomes, outcome{registered: it.registered, result: Registered{Err: cause}})
	}
	n.q.removed(it, nil)
}
