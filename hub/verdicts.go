package hub

import (
	"sync"
	"time"
)

// verdicts is what a hook has said about sessions and is needed for as long as they last.
// Of most there is nothing, so it is no part of them.
type verdicts struct {
	mu sync.Mutex // protects following; taken inside a loop's lock
	of map[*session]verdict
}

type verdict struct {
	ends  time.Time // the connection does, whatever its token says; zero: the hook does not say
	asked string    // the user for whom the hook was asked, where it has named another; "": it has not
}

// add keeps what is needed of a verdict about a session, whose user it is by now.
func (v *verdicts) add(s *session, one verdict) {
	if one.asked == s.user {
		one.asked = ""
	}
	if one == (verdict{}) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of == nil {
		v.of = map[*session]verdict{}
	}
	v.of[s] = one
}

// about returns what was kept about a session; zero: nothing was.
func (v *verdicts) about(s *session) verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.of[s]
}

// forget is called when a session has ended.
func (v *verdicts) forget(s *session) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.of, s)
}
