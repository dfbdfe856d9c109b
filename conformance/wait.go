package conformance

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// waitFor takes events until ok says so; false: the time is over, or the run is. Meanwhile it answers what the
// client sends, and looks at each frame.
func (r *run) waitFor(within time.Duration, ok func(event) bool) (event, bool) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		select {
		case e := <-r.pod.events:
			if e.kind == arrived && r.isStale(e.peer) {
				e.peer.shut()
				continue
			}
			r.look(e)
			if ok(e) {
				return e, true
			}
		case <-timer.C:
			return event{}, false
		case <-r.ctx.Done():
			return event{}, false
		}
	}
}

// isStale reports whether a handshake is that of a client that has been ended.
func (r *run) isStale(p *peer) bool {
	start := p.asks("start")
	return start != "" && start != strconv.Itoa(r.starts)
}

// look holds a frame against the protocol, and gives its receipt.
func (r *run) look(e event) {
	if e.kind != said {
		return
	}
	r.frames++
	if e.err != nil {
		r.badFrames = append(r.badFrames, e.err)
		if e.code != 0 {
			e.peer.fault = fmt.Errorf("the client has sent what a pod closes the connection for (%d): %w", e.code, e.err)
		}
		return
	}
	if e.frame.ID != nil && !(r.hold && e.frame.Type == "request") {
		e.peer.say(`{"type":"receipt","id":%s,"status":"accepted"}`, quote(*e.frame.ID))
	}
}

// arrives waits for the next handshake.
func (r *run) arrives(within time.Duration) (*peer, time.Time, bool) {
	e, ok := r.waitFor(within, func(e event) bool { return e.kind == arrived })
	return e.peer, e.at, ok
}

// connect waits for the client and lets it in.
func (r *run) connect() (*peer, error) {
	p, _, ok := r.arrives(r.opts.Wait)
	if !ok {
		return nil, fmt.Errorf("no connection within %v", r.opts.Wait)
	}
	p.letIn(newUUID())
	if r.loses { // which is a matter of the rule welcome alone
		r.waitFor(200*time.Millisecond, func(event) bool { return false })
	}
	return p, nil
}

// push sends a message, as a producer would have it.
func (p *peer) push(id, data string) {
	if id == "" {
		p.say(`{"type":"message","data":%s}`, data)
		return
	}
	p.say(`{"type":"message","id":%s,"data":%s}`, quote(id), data)
}

// echo waits for the request in which the application sends that data back.
func (r *run) echo(data string, within time.Duration) (event, bool) {
	return r.waitFor(within, func(e event) bool { return e.isEchoOf(data) })
}

// lives checks that the client is still there on that connection, and reads it. Of one that answers no
// pings, which is a matter of the rule pings alone, only the former can be seen.
func (r *run) lives(p *peer) error {
	if r.pongless {
		return r.stays(p)
	}
	return r.answersPing(p)
}

// stays checks that the client does not end the connection at once.
func (r *run) stays(p *peer) error {
	if e, ended := r.waitFor(300*time.Millisecond, func(e event) bool { return e.isEndOf(p) }); ended {
		return e.ended()
	}
	return nil
}

func (r *run) answersPing(p *peer) error {
	payload := newUUID()
	p.ping(payload)
	e, ok := r.waitFor(r.opts.Wait, func(e event) bool {
		return e.peer == p && e.kind == ponged && e.text == payload || e.isEndOf(p)
	})
	switch {
	case !ok:
		return fmt.Errorf("a WebSocket ping was not answered within %v: the client has stopped reading, or answers no pings", r.opts.Wait)
	case e.kind != ponged:
		return e.ended()
	}
	return nil
}

// echoed reports whether the application sends that data back. The error says how that connection ended before.
func (r *run) echoed(p *peer, data string) (bool, error) {
	e, ok := r.waitFor(r.opts.Wait, func(e event) bool { return e.isEchoOf(data) || e.isEndOf(p) })
	if e.isEndOf(p) {
		return false, e.ended()
	}
	return ok, nil
}

func (e event) isEchoOf(data string) bool {
	return e.kind == said && e.err == nil && e.frame.isRequest(data)
}

func (e event) isEndOf(p *peer) bool { return e.peer == p && (e.kind == closed || e.kind == gone) }

// ended says how a connection ended that was to stay.
func (e event) ended() error {
	switch {
	case e.peer.fault != nil:
		return e.peer.fault
	case e.kind == closed:
		return fmt.Errorf("the client has closed the connection with %d", e.code)
	}
	return errors.New("the client has ended the connection without a close frame")
}

// handed checks that a message which was just sent reached the application, where that can be seen.
func (r *run) handed(p *peer, data string) error {
	if !r.echoes {
		return r.lives(p)
	}
	switch ok, err := r.echoed(p, data); {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("the application was not handed %s within %v", data, r.opts.Wait)
	}
	return nil
}

// staysAway checks that the client does not come again while it is watched.
func (r *run) staysAway(since time.Time) error {
	r.gone = true
	p, at, again := r.arrives(r.opts.Quiet)
	if !again {
		return nil
	}
	p.shut()
	return fmt.Errorf("it came again %v after the close", at.Sub(since).Round(time.Millisecond))
}

// backsOff answers each attempt of the client by refuse while it is watched, and checks that there are not many; and
// that it comes again afterwards.
func (r *run) backsOff(refuse func(*peer)) error {
	const many = 10 // a client that waits half a second before the second attempt and doubles that makes three
	attempts := 0
	for end := time.Now().Add(r.opts.Quiet); ; {
		p, _, came := r.arrives(time.Until(end))
		if !came {
			break
		}
		refuse(p)
		if attempts++; attempts > many {
			return fmt.Errorf("more than %d attempts within %v: it does not back off", many, r.opts.Quiet)
		}
	}
	if attempts == 0 {
		return fmt.Errorf("no connection within %v", r.opts.Quiet)
	}
	// The next wait may be a long one by now.
	if _, _, came := r.arrives(r.opts.Wait + 2*r.opts.Quiet); !came {
		return fmt.Errorf("after %d attempts it did not come again", attempts)
	}
	return nil
}
