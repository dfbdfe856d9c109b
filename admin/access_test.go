package admin

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"pushpod/hub"
)

func TestWhoIsAnsweredChangesWhileTheServerRuns(t *testing.T) {
	s := New(Options{
		Listen: "127.0.0.1:0", Registry: prometheus.NewRegistry(), Problems: func() []hub.Problem { return nil },
		Config: func() any { return map[string]string{"file": "f"} },
	})
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	want := func(why, path, token string, status int) (body string) {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, "http://"+s.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		b, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != status {
			t.Errorf("%s: %s with %q: %d, want %d", why, path, token, answer.StatusCode, status)
		}
		return string(b)
	}
	const profiles, other = "/debug/pprof/", "another token of operators"
	if body := want("as it starts", "/config", "", 200); !strings.Contains(body, `"file":"f"`) {
		t.Errorf("/config: %s", body)
	}
	want("as it starts", profiles, "", 404)
	s.Set(Access{Token: testToken, Pprof: true})
	want("a token", "/config", "", 401)
	want("a token", profiles, testToken, 200)
	want("open to all", "/readyz", "", 200)
	s.Set(Access{Token: other})
	want("another token", "/config", testToken, 401)
	want("another token", "/config", other, 200)
	want("no profiles", profiles, other, 404)
}
