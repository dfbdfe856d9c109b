package admin

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pushpod/hub"
)

// looks opens the feed of a server that serves, and returns it behind its first event.
func looks(t *testing.T, s *Server) *bufio.Reader {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr().String()+"/console/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+testToken)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	events := bufio.NewReader(answer.Body)
	next(t, events, "pod")
	return events
}

// wantEnd reads a feed to its end, which comes at once.
func wantEnd(t *testing.T, why string, events *bufio.Reader, begun time.Time) {
	t.Helper()
	for {
		line, err := events.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "event: pod\n") && time.Since(begun) > 3*feedEvery {
			t.Fatalf("%s: the feed goes on", why)
		}
	}
}

// A feed that goes on would keep the server, and with it a pod that leaves; or show the
// pod to who has a token that was changed.
func TestTheFeedEndsWithTheServerAndWithTheToken(t *testing.T) {
	desk := newDesk(testToken, nil)
	s := New(Options{Listen: "127.0.0.1:0", Token: testToken, Registry: prometheus.NewRegistry(), Problems: func() []hub.Problem { return nil }, Console: desk.console})
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()

	first := looks(t, s)
	begun := time.Now()
	s.Set(Access{Token: "another token"})
	wantEnd(t, "another token", first, begun)
	s.Set(Access{Token: testToken})
	second := looks(t, s)
	begun = time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took >= lastAnswers {
		t.Errorf("the server waits for who looks: %s", took)
	}
	wantEnd(t, "the end", second, begun)
	if err := <-served; err != nil {
		t.Error(err)
	}
}
