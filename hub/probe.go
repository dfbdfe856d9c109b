package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pushpod/internal/backoff"
	"pushpod/internal/resp"
	"pushpod/redisconn"
)

var (
	errNotConfirmed = errors.New("Redis does not confirm the subscription")
	errNoEcho       = errors.New("the pod's own probe does not come back")
	errNoPong       = errors.New("the subscription's connection is silent, while Redis answers on others")
)

// prover proves one subscription, again and again: a probe that the pod publishes on
// its own channel must come back. Where Redis takes none, which is no failure of the
// subscription, the pod is not ready, and a PING on the subscription's own connection
// decides whether that lives: any answer will do, an error too.
type prover struct {
	h   *Hub
	sub *subscriber

	refused redisconn.Outage // of probes
}

// ping is what is sent on a subscription that must show that it lives.
var ping = resp.AppendCommand(nil, "PING")

// prove waits until the subscription is confirmed, and then proves it until ctx ends.
// After the first time presence is rewritten. An error means that the subscription is
// dead.
func (h *Hub) prove(ctx context.Context, sub *subscriber) error {
	select {
	case <-sub.confirmed:
	case <-ctx.Done():
		return nil
	case <-time.After(h.opts.Redis.Timeout):
		return errNotConfirmed
	}
	h.confirmed()
	p := prover{h: h, sub: sub}
	for first := true; ctx.Err() == nil; first = false {
		if err := p.probe(ctx); err != nil {
			h.probeFailures.Add(1)
			return err
		}
		if first {
			h.Rewrite()
		}
		backoff.Sleep(ctx, h.opts.Redis.Probe)
	}
	return nil
}

// probe publishes a probe and waits until it comes back, all within redis.timeout. An
// error means that the subscription is dead.
func (p *prover) probe(ctx context.Context) error {
	asked, timeout := time.Now(), p.h.opts.Redis.Timeout
	probing, cancel := context.WithDeadline(ctx, asked.Add(timeout))
	defer cancel()
	late := timeout / 4 // what an echo is given at least
	heard, pinged, answered := uint64(0), false, false
	for {
		// The first attempt leaves time for the subscription to answer.
		refusal := p.publish(probing, late, pinged)
		if refusal == nil {
			if time.Since(asked) < timeout-late {
				if p.echoed(probing, asked) {
					return nil
				}
				if ctx.Err() != nil {
					return nil
				}
				return errNoEcho
			}
			refusal = errLate
		}
		if ctx.Err() != nil {
			return nil
		}
		if !pinged {
			heard, pinged = p.sub.heard.Load(), true
			if p.sub.src.Write(ping) != nil {
				return errNoPong // its reader sees what has become of it
			}
		}
		if redisconn.IsReply(refusal) {
			answered = true
			p.untaken(refusal)
		}
		backoff.Sleep(probing, timeout/8)
		if p.hasEchoed(asked) {
			return nil // it was taken, though that was not answered
		}
		if probing.Err() == nil {
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		p.untaken(refusal)
		silent := func() bool { return p.sub.heard.Load() == heard && ctx.Err() == nil }
		if silent() && (answered || p.answersElsewhere(ctx, late)) && silent() {
			return errNoPong
		}
		return nil
	}
}

// answersElsewhere reports whether Redis answers on a connection that is dialed anew,
// and returns when the subscription has had time to answer too. Where it does not, all
// of Redis is silent or away: to dial again would bring nothing, and the subscription
// goes on when Redis does, with what was published meanwhile.
func (p *prover) answersElsewhere(ctx context.Context, then time.Duration) bool {
	dialing, cancel := context.WithTimeout(ctx, p.h.opts.Redis.Timeout)
	defer cancel()
	c, _, err := another(p.h.opts.Redis.Nodes.Map(), nil).Dial(dialing)
	if err == nil {
		c.Close()
	} else if !redisconn.IsReply(err) {
		return false
	}
	backoff.Sleep(ctx, then)
	return true
}

// errLate says that Redis took a probe too late for an echo.
var errLate = errors.New("Redis answers late")

// publish publishes a probe once; within is for the first attempt.
func (p *prover) publish(ctx context.Context, within time.Duration, again bool) error {
	if !again {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	return p.h.publishProbe(ctx, p.channel(), `{"probe":"`+p.h.instance+`"}`)
}

func (p *prover) channel() string { return p.h.opts.Keys.PodChannel(p.h.opts.Pod) }

// untaken makes the pod not ready: Redis takes no probe. Each reason is logged once.
func (p *prover) untaken(why error) {
	if !redisconn.IsReply(why) {
		why = fmt.Errorf("no answer within %v (%w)", p.h.opts.Redis.Timeout, why)
	}
	p.h.status.update(func(s *status) { s.proved, s.untaken = false, why })
	if p.refused.Failed(why) {
		p.h.lines.untaken.Event().Err(why).Send()
	}
	p.h.rights.want()
}

// echoed waits until a probe that was sent at asked has come back, or ctx ends.
func (p *prover) echoed(ctx context.Context, asked time.Time) (back bool) {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if p.hasEchoed(asked) {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		backoff.Sleep(ctx, wait)
	}
}

// hasEchoed reports whether a probe has come back since then, and if so says what is
// good again.
func (p *prover) hasEchoed(since time.Time) (back bool) {
	p.h.status.update(func(s *status) {
		if back = s.proved && !s.echo.Before(since); back {
			s.untaken = nil
		}
	})
	if !back {
		return false
	}
	if away, failures := p.refused.Over(); failures > 0 {
		p.h.lines.taken.Event().Dur("away_ms", away).Send()
	}
	return true
}

// probed is called for each probe that comes on the pod's channel.
func (h *Hub) probed(instance string) {
	if instance == h.instance {
		h.status.update(func(s *status) {
			s.echo = time.Now()
			s.proved = s.subscribed
		})
		return
	}
	h.status.update(func(s *status) { s.conflict = time.Now() })
	h.lines.conflict.Event().Str("reason", "a foreign instance's probe").Send()
}
