package admin

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pushpod/hub"
	"pushpod/internal/secret"
)

// drains is a server whose pod can leave.
func drains(t *testing.T, token secret.Text) (s *Server, left chan struct{}, asked chan struct{}) {
	left, asked = make(chan struct{}), make(chan struct{}, 10)
	s = New(Options{
		Listen: "127.0.0.1:0", Token: token, Registry: prometheus.NewRegistry(),
		Problems: func() []hub.Problem { return nil },
		Drain: func() (time.Duration, <-chan struct{}) {
			asked <- struct{}{}
			return 30 * time.Second, left
		},
	})
	return s, left, asked
}

func TestDrainIsForThoseWhoMayAct(t *testing.T) {
	const listen = "127.0.0.1:9090"
	for _, c := range []struct {
		ask    string
		token  secret.Text
		lines  []string
		status int
	}{
		{"POST", "", nil, 202},
		{"GET", "", nil, 405},
		{"POST", "", []string{"Host: evil.example"}, 403},
		{"POST", "", []string{"Origin: https://evil.example"}, 403},
		{"POST", testToken, nil, 401},
		{"POST", testToken, []string{bearer}, 202},
	} {
		s, _, asked := drains(t, c.token)
		r := httptest.NewRequest(c.ask, "/drain", nil)
		r.Host = listen
		for _, line := range c.lines {
			name, value, _ := strings.Cut(line, ": ")
			r.Header.Set(name, value)
			if name == "Host" {
				r.Host = value
			}
		}
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, r)
		if w.Code != c.status || len(asked) != map[bool]int{true: 1}[c.status == 202] {
			t.Errorf("%+v: %d, asked %d times", c, w.Code, len(asked))
		}
		if c.status == 202 && w.Body.String() != `{"status":"draining","within_ms":30000}`+"\n" {
			t.Errorf("%+v: %s", c, w.Body)
		}
	}
	// A server that nobody may ask has no such path.
	s := New(Options{Listen: listen, Registry: prometheus.NewRegistry()})
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/drain", nil)
	r.Host = listen
	if s.http.Handler.ServeHTTP(w, r); w.Code != http.StatusNotFound {
		t.Errorf("%d", w.Code)
	}
}

// Who waits is told that the pod has left, also where the server ends at once then; and
// nothing where the server ends before.
func TestDrainLastsUntilThePodHasLeft(t *testing.T) {
	for name, c := range map[string]struct {
		leaves bool
		last   string
	}{"it leaves": {true, `{"status":"left"}` + "\n"}, "it ends otherwise": {false, ""}} {
		s, left, _ := drains(t, "")
		if err := s.Listen(t.Context()); err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve() }()
		answer, err := http.Post("http://"+s.Addr().String()+"/drain?wait=1", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		lines := bufio.NewReader(answer.Body)
		if first, err := lines.ReadString('\n'); !strings.Contains(first, `"draining"`) {
			t.Fatalf("%s: %q, %v", name, first, err)
		}
		if c.leaves {
			close(left)
		}
		begun := time.Now()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if time.Since(begun) >= lastAnswers {
			t.Errorf("%s: it waits for who waits for it", name)
		}
		if last, _ := lines.ReadString('\n'); last != c.last {
			t.Errorf("%s: %q", name, last)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}
