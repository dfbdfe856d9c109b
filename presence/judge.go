package presence

import (
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/redisconn"
)

// judge goes through the replies to a batch, entry by entry.
func (n *node) judge(now time.Duration) {
	b := &n.batch
	if b.scoreUsed && b.scoreAdd.Err() == nil && b.scoreAdd.Val() > 0 {
		n.opt.Pods.missing()
	}
	n.mu.Lock()
	for i, it := range b.items {
		slot := b.slots[i]
		switch it.op {
		case registering:
			n.judgeRegistration(slot)
		case checking:
			n.judgeCheck(slot)
		case renewing:
			n.judgeStay(slot)
			n.judgeRenewal(slot)
		case unregistering:
			n.judgeRemoval(slot)
		}
		slot.item = nil
	}
	n.mu.Unlock()
	for _, fix := range b.repairs {
		if fix.kind == fixRemove {
			n.count.stale.Add(uint64(max(fix.reply.Val(), 0)))
		}
	}
	if b.unknown {
		n.setExpiry(expiryKey)
	}
	if b.kept {
		n.link.refusedRemoval(now)
	}
	switch {
	case b.refusal != nil:
		n.link.refused(now)
		n.setErr(b.refusal)
	case b.wrote:
		n.mended()
	}
	n.askSweeps(now)
}

// judgeWrite judges the write of an entry. It returns the error, and whether
// the item was put back to be written in another way. The caller holds n.mu.
func (n *node) judgeWrite(slot *slot) (err error, back bool) {
	b, it := &n.batch, slot.item
	set, expire := slot.written()
	if isUnknownCommand(set) || isUnknownCommand(expire) {
		if slot.form != formKey {
			b.unknown = true
			n.requeue(it, fmt.Errorf("%w: %w", ErrUnavailable, set))
			return nil, true
		}
	}
	if set == nil && expire == nil {
		b.wrote = true
		if slot.inherits() {
			n.q.chore(it.entry.User, nil, true)
		}
		return nil, false
	}
	it.sent = it.sent || set == nil // the entry stands, but without its expiry
	err = set
	if err == nil {
		err = expire
	}
	switch {
	case isRedirected(err): // it was not written
		n.requeue(it, fmt.Errorf("%w: %w", ErrUnavailable, err))
		return nil, true
	case redisconn.IsLinkError(err): // of the node that it was sent on to
		it.sent = true
		n.link.failedElsewhere()
		if it.op == registering {
			n.requeue(it, fmt.Errorf("%w: %w", ErrUnavailable, err))
			return nil, true
		}
	}
	if isWrongType(set) && slot.form == formKey && expire == nil && slot.expire.Val() == 1 {
		// The key holds something of somebody else's, which we must not make expire.
		n.sweeper.repairs = append(n.sweeper.repairs, &repair{user: it.entry.User, kind: fixPersist})
	}
	n.refused(err)
	return err, false
}

// refused records that an entry's command failed. What is about its key alone says nothing
// about others.
func (n *node) refused(err error) {
	n.count.errors.Add(1)
	switch {
	case isWrongType(err), errors.Is(err, errBadTime), isElsewhere(err):
	case isRedirected(err), isUncovered(err), redis.HasErrorPrefix(err, "CROSSSLOT"), redisconn.IsLinkError(err): // of the node that it was sent on to
		n.redis.Refresh()
	default:
		n.batch.refusal = err
	}
}

func (n *node) judgeRegistration(slot *slot) {
	it := slot.item
	if slot.form == formFind {
		n.judgeFind(slot)
		return
	}
	err, back := n.judgeWrite(slot)
	if back {
		return
	}
	if err == nil && slot.form == formSwap {
		it.unheard = slot.unheard() && !n.batch.spread
	}
	var refused *Refused
	if err == nil {
		it.sent = true
		if refused, err = slot.look.judge(&n.batch, it); err != nil {
			n.refused(err)
		}
	}
	switch {
	case isBrokenOff(err), isRedirected(err): // by what was to be looked up
		n.requeue(it, fmt.Errorf("%w: %w", ErrUnavailable, err))
	case err != nil:
		n.giveUp(it, fmt.Errorf("%w: register: %w", ErrUnavailable, err))
	case refused != nil:
		n.count.refused.Add(1)
		n.reject(it, refused)
	case slot.replaced(): // which makes the user's entries no more
		n.count.replaced.Add(1)
		n.admitted(it, nil)
	case n.batch.limit.bounds() && (slot.count.Err() != nil || n.batch.limit.excess(int(slot.count.Val())) > 0):
		n.examineFor(it)
	default:
		n.admitted(it, nil)
	}
}

// judgeCheck ends a check. The caller holds n.mu.
func (n *node) judgeCheck(slot *slot) {
	it := slot.item
	refused, err := slot.look.judge(&n.batch, it)
	switch {
	case isBrokenOff(err), isRedirected(err):
		n.requeue(it, nil)
		return
	case err != nil:
		n.refused(err)
		err = fmt.Errorf("%w: check: %w", ErrUnavailable, err)
	case refused != nil:
		err = refused
	case n.counts(it) && (slot.count.Err() != nil || n.batch.limit.excess(int(slot.count.Val())+1) > 0):
		n.examineFor(it)
		return
	}
	n.q.checkedAs(it, err)
}

// counts reports whether a check asks how many entries the user has.
func (n *node) counts(it *item) bool {
	return it.op == checking && it.joins && n.batch.limit.bounds() && n.batch.limit.rejects()
}

// judgeStay has it told where something speaks against an entry that is renewed. Where
// nothing is known the entry stays. The caller holds n.mu.
func (n *node) judgeStay(slot *slot) {
	it := slot.item
	if !n.looks(it) {
		return
	}
	switch refused, err := slot.look.judge(&n.batch, it); {
	case err != nil:
		n.refused(err)
	case refused != nil:
		n.q.outcomes = append(n.q.outcomes, outcome{refused: n.opt.Refused, entry: it.entry, by: refused})
	}
}

// admitted goes on with a registration against which nothing speaks. The caller holds
// n.mu.
func (n *node) admitted(it *item, excess []Located) {
	if c := it.entry.Credential; c != nil && c.Once != 0 {
		n.batch.singles = append(n.batch.singles, single{it, excess})
		return
	}
	n.registered(it, excess)
}

// registered ends a registration that succeeded. The caller holds n.mu.
func (n *node) registered(it *item, excess []Located) {
	n.count.registered.Add(1)
	if it.registered != nil {
		result := Registered{Excess: excess}
		if it.unheard {
			result.Unheard = Located{UUID: it.entry.Replaces, Channel: it.at}
		}
		n.q.outcomes = append(n.q.outcomes, outcome{registered: it.registered, result: result})
	}
	n.q.recycle(it)
}

func (n *node) judgeRenewal(slot *slot) {
	it := slot.item
	if slot.form == formTouch {
		n.judgeTouch(slot)
		return
	}
	err, back := n.judgeWrite(slot)
	if back {
		return
	}
	if err == nil {
		n.count.renewed.Add(1)
		if !it.whole && slot.added() {
			n.count.restored.Add(1)
		}
		if slot.form == formKey && n.opt.Pods != nil && slot.count.Err() == nil && slot.count.Val() > 1 {
			n.sweeper.crowded = append(n.sweeper.crowded, crowd{it.entry.User, slot.count.Val()})
		}
	}
	n.q.recycle(it)
}

// judgeTouch judges a renewal by HEXPIRE, which answers -2 where the field, or
// the whole hash, is missing: then the entry is written.
func (n *node) judgeTouch(slot *slot) {
	it, err := slot.item, slot.touch.Err()
	switch {
	case isUnknownCommand(err):
		n.batch.unknown = true
		n.requeue(it, err)
		return
	case isRedirected(err):
		n.requeue(it, err)
		return
	case err != nil:
		n.refused(err)
	case len(slot.touch.Val()) == 1 && slot.touch.Val()[0] == 1:
		n.count.renewed.Add(1)
	default:
		n.count.restored.Add(1)
		it.whole = true
		n.requeue(it, nil)
		return
	}
	n.q.recycle(it)
}

func (n *node) judgeRemoval(slot *slot) {
	it, err := slot.item, slot.remove.Err()
	if isRedirected(err) {
		n.q.tellRejected(it)
		n.requeue(it, nil)
		return
	}
	if err != nil && !isWrongType(err) { // under a key of another type nothing of ours stands
		n.refused(err)
		n.batch.kept = true
		n.q.tellRejected(it)
		n.requeue(it, nil)
		return
	}
	if !it.repeat {
		n.link.note(it.entry, n.opt.Backlog)
	}
	if !it.cleanup {
		n.count.unregistered.Add(1)
	}
	n.q.removed(it, nil)
}
