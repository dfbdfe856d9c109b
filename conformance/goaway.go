package conformance

import (
	"errors"
	"fmt"
	"time"
)

// goaway tells a connection to be replaced, and sends a message on it after its successor is welcome, as a pod does with
// what was addressed to it just before.
func goaway(r *run) error {
	old, err := r.connect()
	if err != nil {
		return err
	}
	if old.asks("goaway") != "1" {
		return skip("the client does not ask for it by ?goaway=1")
	}
	if err := r.lives(old); err != nil {
		return err
	}
	const within = 3 * time.Second
	told := time.Now()
	old.say(`{"type":"goaway","within_ms":%d}`, within.Milliseconds())
	early := false
	e, came := r.waitFor(within, func(e event) bool {
		early = early || e.isEndOf(old)
		return e.kind == arrived || early
	})
	switch {
	case early:
		return errors.New("it closed the old connection before the new one was welcome")
	case !came:
		return fmt.Errorf("no new connection within the %v that it was given", within)
	}
	next := e.peer
	if got := next.asks("replaces"); got != old.uuid {
		return fmt.Errorf("the new connection says replaces=%q, want the uuid of the old one, %q", got, old.uuid)
	}
	next.letIn(newUUID())
	welcome := time.Now()

	// What was on its way.
	const late = `{"conformance":"on its way to the old connection"}`
	r.waitFor(time.Until(welcome.Add(300*time.Millisecond)), func(e event) bool { early = early || e.peer == old && e.kind == closed; return early })
	if early {
		return errors.New("it closed the old connection as soon as the new one was welcome: read on for a second")
	}
	old.push("goaway-late", late)
	handed, ended := !r.echoes, event{}
	r.waitFor(time.Until(told.Add(within+r.opts.Wait)), func(e event) bool {
		handed = handed || e.isEchoOf(late)
		if e.isEndOf(old) && ended.peer == nil {
			ended = e
		}
		return handed && ended.peer != nil
	})
	switch took := ended.at.Sub(welcome); {
	case ended.peer == nil:
		return errors.New("it did not close the old connection")
	case ended.kind == gone:
		return errors.New("it ended the old connection without a close frame")
	case took < 900*time.Millisecond:
		return fmt.Errorf("it closed the old connection %v after the new one was welcome: read on for a second", took.Round(time.Millisecond))
	case !handed:
		return errors.New("what came on the old connection 300 ms after the new one was welcome was not handed on")
	}
	return r.lives(next)
}
