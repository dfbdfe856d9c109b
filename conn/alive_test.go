package conn

import (
	"testing"
	"time"
)

// aliveWithin reports whether Alive returns in time; what it waits for may end later.
func aliveWithin(s *Server, d time.Duration) (ended <-chan struct{}, within bool) {
	done := make(chan struct{})
	go func() {
		s.Alive()
		close(done)
	}()
	select {
	case <-done:
		return done, true
	case <-time.After(d):
		return done, false
	}
}

func TestAliveTellsALoopThatGoesOnFromOneThatHangs(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		hang, hung := make(chan struct{}), make(chan struct{})
		s := startServer(t, o, func(_ *Options, h *fakeHub) {
			h.check = func(r *Request) *Refusal {
				if user, _ := r.Query.Get("user"); user == "hang" {
					close(hung)
					<-hang // what calls it must not block: it does
				}
				return nil
			}
		})
		live := func(why string) {
			t.Helper()
			for range 2 {
				if _, ok := aliveWithin(s.Server, 20*time.Second); !ok {
					t.Fatalf("%s: no sign of life", why)
				}
			}
		}
		live("without connections")
		c := s.connect(t, "u")
		live("with one")
		c.closeNow()
		live("without again")

		hanging := s.dial(t)
		hanging.send([]byte(request("?user=hang")))
		<-hung
		ended, ok := aliveWithin(s.Server, 500*time.Millisecond)
		if ok {
			t.Error("a loop hangs, and it is called alive")
		}
		close(hang)
		<-ended // and as soon as it goes on, it is
		hanging.wantUpgrade()
	})
}

// The last connection takes the ticks along, but not the one that is asked for.
func TestAliveIsAnsweredWhereTheLastConnectionEnds(t *testing.T) {
	overAll(t, func(t *testing.T, o Options) {
		s := startServer(t, o)
		c := s.connect(t, "u")
		var ticks []<-chan struct{}
		for _, l := range s.loops {
			ticked, _ := l.askForLife()
			ticks = append(ticks, ticked)
		}
		c.closeNow()
		for _, ticked := range ticks {
			select {
			case <-ticked:
			case <-time.After(20 * time.Second):
				t.Fatal("there is no tick any more")
			}
		}
	})
}

func TestAliveEndsWithTheServer(t *testing.T) {
	s := startServer(t, Options{Loops: 2, Portable: true})
	s.Close()
	if _, ok := aliveWithin(s.Server, 20*time.Second); !ok {
		t.Error("it waits for loops that have ended")
	}
}
