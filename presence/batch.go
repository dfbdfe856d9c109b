package presence

import (
	"context"
	"fmt"
	"strconv"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"
)

// batch is one pipeline: entries, then removals of stale fields, then hashes to
// examine. It is used again and again, and owned by Run's goroutine.
type batch struct {
	// Static after construction; commands point at them.
	channel    string
	ttlMillis  string
	ttlSeconds string // rounded up
	podsKey    string

	items []*item
	slots []*slot
	cmds  []redis.Cmder
	text  []byte // the entries' keys and UUIDs, behind each other
	cuts  []int  // where each of them ends in text

	score     string // the pod's own, written where it is absent
	scoreAdd  *redis.IntCmd
	scoreUsed bool

	repairs []*repair
	exams   []*exam

	// What the replies came to.
	retry   []*item
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
	}
}

func (b *batch) reset() {
	clear(b.items)
	clear(b.cmds)
	clear(b.retry)
	b.items, b.cmds, b.retry = b.items[:0], b.cmds[:0], b.retry[:0]
	b.repairs, b.exams = nil, nil
	b.refusal, b.kept, b.wrote, b.unknown, b.scoreUsed = nil, false, false, false, false
}

// turn does what is due: at most one pipeline of entries, preceded by what has
// to be found out first. All of it ends by deadline.
func (s *Store) turn(ctx context.Context, deadline time.Duration) {
	now := s.now()
	s.settle(now)
	deadline, expired := s.expire(now, deadline)
	if expired {
		return // they are told first: what follows may take its time
	}
	ctx, cancel := context.WithDeadline(ctx, s.epoch.Add(deadline))
	defer cancel()
	if s.Err() != nil && now >= s.link.mendAt && now >= s.link.until {
		if !s.mend(ctx) {
			return
		}
	}
	if s.expiry.mode == expiryUnknown || s.dials.Load() != s.expiry.dials {
		if err := s.probeExpiry(ctx); err != nil {
			s.linkFailed(err)
			return
		}
	}
	s.gather()
	if len(s.batch.items)+len(s.batch.repairs)+len(s.batch.exams) > 0 {
		s.build()
		s.send(ctx)
	}
	s.batch.reset()
}

// settle repeats removals once a doubt is over.
func (s *Store) settle(now time.Duration) {
	if !s.link.settled(now) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repeatRemovals()
}

// repeatRemovals queues again what was removed in doubt. The caller holds s.mu.
func (s *Store) repeatRemovals() {
	for _, e := range s.link.takeRemoved() {
		if s.q.waiting[e.UUID] == nil {
			it := s.q.item(e, unregistering, s.now())
			it.cleanup, it.repeat = true, true
			s.q.putRemoval(it)
		}
	}
}

// expire gives up the registrations whose time is as good as over, and returns
// by when the turn must end, so that the oldest of the others is answered in
// its time.
func (s *Store) expire(now, deadline time.Duration) (by time.Duration, expired bool) {
	least := s.opt.Timeout / 20 // what a batch needs at least
	s.mu.Lock()
	defer s.mu.Unlock()
	queued, ok := s.q.oldestJoining()
	if ok && queued+s.opt.Timeout < now+least {
		cause := s.Err()
		if cause == nil {
			cause = context.DeadlineExceeded
		}
		s.q.failJoining(now+least-s.opt.Timeout, fmt.Errorf("%w: %w", ErrUnavailable, cause))
		return deadline, true
	}
	if ok {
		deadline = min(deadline, queued+s.opt.Timeout)
	}
	if s.q.exams.len() > 0 {
		oldest := s.q.exams.front().newcomers[0]
		deadline = min(deadline, max(oldest.queued+s.opt.Timeout, now+least))
	}
	return deadline, false
}

// mend finds out whether Redis takes writes again, with a write of the same
// kind as an entry's, to a key of the same kind, that nobody ever sees: it is
// taken back in the same transaction. It reports whether the turn may go on.
func (s *Store) mend(ctx context.Context) bool {
	key, field := s.opt.Keys.User(s.channel), FormatUUID(UUID{})
	expire := []any{"pexpire", key, s.batch.ttlMillis}
	if s.expiry.mode == expiryFields {
		expire = []any{"hexpire", key, s.batch.ttlSeconds, "fields", "1", field}
	}
	err := transaction(ctx, s.opt.Client,
		[]any{"hset", key, field, s.channel}, expire, []any{"hdel", key, field})
	now := s.now()
	switch {
	case isLinkError(err):
		s.linkFailed(err)
		return false
	case isUnknownCommand(err):
		s.link.answered(now)
		s.setExpiry(expiryUnknown)
	case err != nil:
		s.count.errors.Add(1)
		s.link.answered(now)
		s.link.refused(now)
		s.setErr(err)
	default:
		s.link.answered(now)
		s.mended()
	}
	return true
}

// mended notes that writes succeed.
func (s *Store) mended() {
	if s.link.refusals > 0 {
		s.setExpiry(expiryUnknown) // it may have been asked while Redis refused everything
	}
	s.link.mended()
	s.setErr(nil)
}

// gather takes what the next pipeline is to carry.
func (s *Store) gather() {
	b, now := &s.batch, s.now()
	b.repairs = s.sweeper.take(repairsAtOnce)
	s.mu.Lock()
	defer s.mu.Unlock()
	b.items = s.q.take(b.items, s.opt.Batch, s.link.leaveAt <= now)
	for s.q.exams.len() > 0 && len(b.exams) < examsAtOnce {
		b.exams = append(b.exams, s.q.takeExam(&s.q.exams))
	}
	for s.q.chores.len() > 0 && len(b.exams) < examsAtOnce && s.sweeper.chores.take(now) {
		b.exams = append(b.exams, s.q.takeExam(&s.q.chores))
	}
}

// build writes the commands of a batch.
func (s *Store) build() {
	b := &s.batch
	b.text, b.cuts = b.text[:0], b.cuts[:0]
	for _, it := range b.items {
		b.text = s.opt.Keys.appendUser(b.text, it.entry.User)
		b.cuts = append(b.cuts, len(b.text))
		b.text = AppendUUID(b.text, it.entry.UUID)
	}
	// The commands have it as text: nobody looks at them any more when the next
	// batch is built. A copy would be half of what a renewal leaves to the collector.
	text, from := unsafe.String(unsafe.SliceData(b.text), len(b.text)), 0
	s.guard()
	now := s.now()
	rewrite, inherited := now < s.expiry.rewrite, now < s.expiry.inherited
	for i, it := range b.items {
		if i == len(b.slots) {
			b.slots = append(b.slots, new(slot))
		}
		slot := b.slots[i]
		slot.item, slot.key, slot.field = it, text[from:b.cuts[i]], text[b.cuts[i]:b.cuts[i]+uuidText]
		from = b.cuts[i] + uuidText
		switch count := s.opt.PerUser > 0; {
		case it.op == unregistering:
			b.addRemove(slot)
		case s.expiry.mode == expiryKey:
			b.addKeyed(slot, count || it.op == renewing && s.opt.Pods != nil)
		case it.op == renewing && !it.whole && !rewrite:
			b.addTouch(slot)
		default:
			b.addWhole(slot, count && it.op == registering, inherited)
		}
	}
	for _, fix := range b.repairs {
		b.cmds = append(b.cmds, fix.commands(s.opt.Keys, b.ttlSeconds)...)
	}
	for _, e := range b.exams {
		e.reply = redis.NewMapStringStringCmd(context.Background(), "hgetall", s.opt.Keys.User(e.user))
		b.cmds = append(b.cmds, e.reply)
	}
}

// guard puts the pod's own score before its entries, where it is absent: Redis
// may have been emptied, and an entry whose pod has no score is a dead one's.
func (s *Store) guard() {
	b := &s.batch
	if s.opt.Pods == nil {
		return
	}
	writes := false
	for _, it := range b.items {
		writes = writes || it.op != unregistering
	}
	score, ok := s.opt.Pods.ownScore()
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
func (s *Store) send(ctx context.Context) {
	b := &s.batch
	s.sent = s.now()
	pipe := s.opt.Client.Pipeline()
	_ = pipe.BatchProcess(ctx, b.cmds...) // only queues
	_, _ = pipe.Exec(ctx)                 // judged command by command
	now := s.now()
	s.count.batch(len(b.items), len(b.cmds), now-s.sent)
	// What failed on the way failed for all commands behind it as well.
	if err := b.cmds[len(b.cmds)-1].Err(); isLinkError(err) {
		s.linkFailed(err)
		return
	}
	s.link.answered(now)
	s.judge(now)
	s.examine(ctx)
}

// linkFailed deals with a failure on the way to Redis: what became of the batch
// is not known. After the first in a row all of it is tried again at once, on
// another connection; after more, only unregistrations wait.
func (s *Store) linkFailed(err error) {
	b, now := &s.batch, s.now()
	sent := len(b.cmds) > 0 && !isNotSent(err)
	s.link.failed(now, sent)
	s.count.errors.Add(1)
	s.setExpiry(expiryUnknown) // the next connection may lead to another server
	s.setErr(err)
	giveUp := s.link.failures > 1
	cause := fmt.Errorf("%w: %w", ErrUnavailable, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range b.items {
		it.sent = it.sent || sent
		s.q.tellRejected(it) // that waits no longer for the entry to be gone
		switch {
		case giveUp && it.op == registering:
			s.q.giveUp(it, cause)
		case giveUp && it.op == renewing:
			s.q.recycle(it)
		default:
			s.requeue(it, cause)
		}
	}
	for _, e := range b.exams {
		s.q.postpone(e, giveUp, cause)
	}
	if giveUp {
		s.q.failJoining(now, cause)
		s.q.dropStaying()
	}
}

// requeue puts an item back. The caller holds s.mu.
func (s *Store) requeue(it *item, cause error) {
	if s.q.again(it) {
		return
	}
	// A later operation on the UUID waits, which ends this one.
	if it.op == registering {
		s.q.outcomes = append(s.q.outcomes, outcome{registered: it.registered, result: Registered{Err: cause}})
	}
	s.q.removed(it, nil)
}
