package presence

import (
	"fmt"
	"time"
)

// judge goes through the replies to a batch, entry by entry.
func (s *Store) judge(now time.Duration) {
	b := &s.batch
	if b.scoreUsed && b.scoreAdd.Err() == nil && b.scoreAdd.Val() > 0 {
		s.opt.Pods.missing()
	}
	s.mu.Lock()
	for i, it := range b.items {
		slot := b.slots[i]
		switch it.op {
		case registering:
			s.judgeRegistration(slot)
		case renewing:
			s.judgeRenewal(slot)
		case unregistering:
			s.judgeRemoval(slot)
		}
		slot.item = nil
	}
	s.mu.Unlock()
	for _, fix := range b.repairs {
		if fix.kind == fixRemove {
			s.count.stale.Add(uint64(max(fix.reply.Val(), 0)))
		}
	}
	if b.unknown {
		s.setExpiry(expiryKey)
	}
	if b.kept {
		s.link.refusedRemoval(now)
	}
	switch {
	case b.refusal != nil:
		s.link.refused(now)
		s.setErr(b.refusal)
	case b.wrote:
		s.mended()
	}
	s.askSweeps(now)
}

// judgeWrite judges the write of an entry. It returns the error, and whether
// the item was put back to be written in another way. The caller holds s.mu.
func (s *Store) judgeWrite(slot *slot) (err error, back bool) {
	b, it := &s.batch, slot.item
	set, expire := slot.written()
	if isUnknownCommand(set) || isUnknownCommand(expire) {
		if slot.form != formKey {
			b.unknown = true
			s.requeue(it, fmt.Errorf("%w: %w", ErrUnavailable, set))
			return nil, true
		}
	}
	if set == nil && expire == nil {
		b.wrote = true
		if slot.inherits() {
			s.q.chore(it.entry.User, nil, true)
		}
		return nil, false
	}
	it.sent = it.sent || set == nil // the entry stands, but without its expiry
	err = set
	if err == nil {
		err = expire
	}
	if isWrongType(set) && slot.form == formKey && expire == nil && slot.expire.Val() == 1 {
		// What stands under this key is not ours, and must not expire by us.
		s.sweeper.repairs = append(s.sweeper.repairs, &repair{user: it.entry.User, kind: fixPersist})
	}
	s.refused(err)
	return err, false
}

// refused takes in an error reply. One about a single key is that key's alone.
func (s *Store) refused(err error) {
	s.count.errors.Add(1)
	if !isWrongType(err) {
		s.batch.refusal = err
	}
}

func (s *Store) judgeRegistration(slot *slot) {
	it := slot.item
	err, back := s.judgeWrite(slot)
	switch {
	case back:
	case err != nil:
		s.q.giveUp(it, fmt.Errorf("%w: register: %w", ErrUnavailable, err))
	case s.opt.PerUser > 0 && (slot.count.Err() != nil || slot.count.Val() > int64(s.opt.PerUser)):
		it.sent = true
		s.q.examineFor(it)
	default:
		s.registered(it, nil)
	}
}

// registered ends a registration that succeeded. The caller holds s.mu.
func (s *Store) registered(it *item, excess []Located) {
	s.count.registered.Add(1)
	if it.registered != nil {
		s.q.outcomes = append(s.q.outcomes, outcome{registered: it.registered, result: Registered{Excess: excess}})
	}
	s.q.recycle(it)
}

func (s *Store) judgeRenewal(slot *slot) {
	it := slot.item
	if slot.form == formTouch {
		s.judgeTouch(slot)
		return
	}
	err, back := s.judgeWrite(slot)
	if back {
		return
	}
	if err == nil {
		s.count.renewed.Add(1)
		if slot.form == formKey && s.opt.Pods != nil && slot.count.Err() == nil && slot.count.Val() > 1 {
			s.sweeper.crowded = append(s.sweeper.crowded, crowd{it.entry.User, slot.count.Val()})
		}
	}
	s.q.recycle(it)
}

// judgeTouch judges a renewal by HEXPIRE, which answers -2 where the field, or
// the whole hash, is missing: then the entry is written.
func (s *Store) judgeTouch(slot *slot) {
	it, err := slot.item, slot.touch.Err()
	switch {
	case isUnknownCommand(err):
		s.batch.unknown = true
		s.requeue(it, err)
		return
	case err != nil:
		s.refused(err)
	case len(slot.touch.Val()) == 1 && slot.touch.Val()[0] == 1:
		s.count.renewed.Add(1)
	default:
		it.whole = true
		s.requeue(it, nil)
		return
	}
	s.q.recycle(it)
}

func (s *Store) judgeRemoval(slot *slot) {
	it, err := slot.item, slot.remove.Err()
	if err != nil && !isWrongType(err) { // under a key of another type nothing of ours stands
		s.refused(err)
		s.batch.kept = true
		s.q.tellRejected(it)
		s.requeue(it, nil)
		return
	}
	if !it.repeat {
		s.link.note(it.entry, s.opt.Backlog)
	}
	if !it.cleanup {
		s.count.unregistered.Add(1)
	}
	s.q.removed(it, nil)
}
