package conformance

import (
	"errors"
	"fmt"
	"time"
)

// closeWith connects and closes at once; it returns when that was.
func (r *run) closeWith(code int, reason string) (*peer, time.Time, error) {
	p, err := r.connect()
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := r.lives(p); err != nil {
		return nil, time.Time{}, err
	}
	p.endWith(code, reason)
	return p, time.Now(), nil
}

// asksForClose skips what only those see who ask for it.
func (r *run) asksForClose(p *peer) error {
	if p.asks("refuse") != "close" {
		return skip("the client does not ask for it by ?refuse=close")
	}
	return nil
}

// retry names a time to come again.
func (r *run) retry(code int) error {
	_, since, err := r.closeWith(code, fmt.Sprintf("retry_ms=%d", r.opts.Retry.Milliseconds()))
	if err != nil {
		return err
	}
	return r.comesAfter(since)
}

func (r *run) comesAfter(since time.Time) error {
	p, at, came := r.arrives(r.opts.Retry + r.opts.Wait)
	if !came {
		return fmt.Errorf("it did not come again within %v", r.opts.Retry+r.opts.Wait)
	}
	// A twentieth for its clock.
	if took := at.Sub(since); took < r.opts.Retry*19/20 {
		return fmt.Errorf("it came again after %v, and retry_ms was %d", took.Round(time.Millisecond), r.opts.Retry.Milliseconds())
	}
	p.letIn(newUUID())
	return r.lives(p)
}

// retryAsked is retry for a code in place of a refusal.
func (r *run) retryAsked(code int) error {
	p, since, err := r.refuseByClose(code, fmt.Sprintf("retry_ms=%d", r.opts.Retry.Milliseconds()))
	if err != nil {
		return err
	}
	if err := r.asksForClose(p); err != nil {
		return err
	}
	return r.comesAfter(since)
}

// refuseByClose upgrades and closes, without a welcome.
func (r *run) refuseByClose(code int, reason string) (*peer, time.Time, error) {
	p, _, came := r.arrives(r.opts.Wait)
	if !came {
		return nil, time.Time{}, fmt.Errorf("no connection within %v", r.opts.Wait)
	}
	if p.asks("refuse") != "close" {
		p.letIn(newUUID())
		return p, time.Now(), nil
	}
	p.upgrade()
	p.endWith(code, reason)
	return p, time.Now(), nil
}

func (r *run) refusedByClose(code int, reason string) error {
	p, since, err := r.refuseByClose(code, reason)
	if err != nil {
		return err
	}
	if err := r.asksForClose(p); err != nil {
		return err
	}
	return r.staysAway(since)
}

// refused4001 lets a client that has tokens come again; one that has none may stay away.
func refused4001(r *run) error {
	p, _, err := r.refuseByClose(4001, "the token is bad")
	if err != nil {
		return err
	}
	if err := r.asksForClose(p); err != nil {
		return err
	}
	attempts := 1
	for end := time.Now().Add(r.opts.Quiet); ; attempts++ {
		next, _, came := r.arrives(time.Until(end))
		if !came {
			break
		}
		next.upgrade()
		next.endWith(4001, "the token is bad")
		if attempts > 10 {
			return fmt.Errorf("more than 10 attempts within %v: it does not back off", r.opts.Quiet)
		}
	}
	if attempts > 1 {
		return nil
	}
	r.gone = true
	if p.token() != "" {
		if _, _, came := r.arrives(r.opts.Wait); !came {
			return errors.New("it has tokens, and did not come again with a fresh one")
		}
	}
	return noted{"it has no tokens, and stays away"}
}

// comesAgain closes with a code after which clients come again when they like.
func (r *run) comesAgain(code int, reason string) error {
	p, _, err := r.closeWith(code, reason)
	if err != nil {
		return err
	}
	next, _, came := r.arrives(r.opts.Wait)
	if !came {
		r.gone = true
		return fmt.Errorf("it did not come again within %v", r.opts.Wait)
	}
	next.letIn(newUUID())
	if code == 4000 && p.token() != "" && p.token() == next.token() {
		return noted{"it came again with the same token: a pod would refuse that"}
	}
	return r.lives(next)
}

func (r *run) finalClose(code int) error {
	_, since, err := r.closeWith(code, "the conformance test says so")
	if err != nil {
		return err
	}
	return r.staysAway(since)
}

// backsOffAfter closes each connection at once.
func (r *run) backsOffAfter(code int, reason string) error {
	return r.backsOff(func(p *peer) {
		p.letIn(newUUID())
		p.endWith(code, reason)
	})
}

func broken(r *run) error {
	return r.backsOff(func(p *peer) {
		p.letIn(newUUID())
		p.shut()
	})
}

func unavailable(r *run) error {
	return r.backsOff(func(p *peer) { p.refuse(503, "Retry-After: 1\r\n") })
}
