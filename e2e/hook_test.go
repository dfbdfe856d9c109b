package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A hookService answers a pod's questions as its test says.
type hookService struct {
	url    string
	answer atomic.Pointer[func(q map[string]string) (status int, body string)]
	last   atomic.Pointer[map[string]string]
	asked  atomic.Int32
}

func startHookService(t *testing.T) *hookService {
	t.Helper()
	s := &hookService{}
	s.says(200, "{}")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		var q map[string]string
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Errorf("the question: %v", err)
		}
		if _, password, _ := r.BasicAuth(); password != "hook-password" {
			t.Errorf("the pod's password is %q", password)
		}
		s.last.Store(&q)
		status, body := (*s.answer.Load())(q)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	s.url = strings.Replace(server.URL, "http://", "http://pod:hook-password@", 1) + "/may-connect"
	return s
}

func (s *hookService) says(status int, body string) {
	answer := func(map[string]string) (int, string) { return status, body }
	s.answer.Store(&answer)
}

// auth and hub have the cases.
func TestHook(t *testing.T) {
	t.Parallel()
	s := startHookService(t)
	p := startPod(t, startRedis(t), quick().with("auth.mode", "jwt", "auth.hmac_secret", tokenSecret, "auth.hook_url", s.url,
		"auth.hook_timeout", "1s", "log.level", "debug"))
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}).SignedString([]byte(tokenSecret))
	if err != nil {
		t.Fatal(err)
	}
	bearer := "Authorization: Bearer " + token
	handshake := func() answer { return exchange(t, p.listen, upgradeRequest("/ws?device=phone", bearer)) }
	plain := func() answer {
		return exchange(t, p.listen, request("GET /ws HTTP/1.1", "Host: "+p.listen, bearer))
	}

	s.says(200, `{"user":"tenant-7:alice"}`)
	a := dialAddr(t, p.listen, "tenant-7:alice", withQuery("token", token), withQuery("user", "mallory"), withQuery("device", "phone"))
	a.check("alice, by another name")
	if got := p.redis.CLI("HKEYS", "push:user:{tenant-7:alice}"); got != a.uuid {
		t.Errorf("presence: %q, want %s", got, a.uuid)
	}
	if q := *s.last.Load(); q["user"] != "alice" || q["token"] != token || q["ip"] != "127.0.0.1" || q["device"] != "phone" {
		t.Errorf("asked %v", q)
	}

	ends := time.Now().Add(2 * time.Second)
	s.says(200, fmt.Sprintf(`{"expires":%d}`, ends.UnixMilli()))
	short := dialAddr(t, p.listen, "alice", withQuery("token", token))
	if short.wantClosed("the hook's time is over", 4000, 10*time.Second); time.Until(ends) > time.Second/2 {
		t.Error("closed too early")
	}

	for _, c := range []struct {
		status int
		body   string
		want   int
		reason string
	}{
		{403, `{"reason":"you have moved out"}`, 403, "you have moved out"},
		{401, ``, 401, "not accepted"},
		{200, `{"user":"}"}`, 503, "can't be asked"},
		{200, strings.Repeat(" ", 100<<10), 503, "can't be asked"},
		{204, ``, 503, "can't be asked"},
	} {
		s.says(c.status, c.body)
		for how, a := range map[string]answer{"handshake": handshake(), "plain GET": plain()} {
			wantRefusal(t, fmt.Sprint(how, ", the hook says ", c.status), a, c.want)
			if !strings.Contains(a.body, c.reason) {
				t.Errorf("%s: %s, want %q", how, a.body, c.reason)
			}
		}
	}
	s.says(200, `{}`)
	if a := plain(); a.status != 426 {
		t.Errorf("a plain GET where all is well: %d", a.status)
	}

	s.says(500, ``)
	for range 5 {
		if a := handshake(); a.status != 503 || a.header.Get("Retry-After") == "" {
			t.Errorf("the hook fails: %d %v", a.status, a.header)
		}
	}
	p.wantMetric("the circuit is open", 1, "pushpod_auth_hook_circuit_open")
	s.says(200, `{}`)
	asked := s.asked.Load()
	if a := handshake(); a.status != 503 || s.asked.Load() != asked {
		t.Errorf("while the circuit is open: %d, asked %d times more", a.status, s.asked.Load()-asked)
	}
	eventually(t, "the hook is asked again", 10*time.Second, func() (bool, any) {
		a := handshake()
		return a.status == 101, a.status
	})
	p.wantMetric("the circuit is closed", 0, "pushpod_auth_hook_circuit_open")
	a.check("who was connected stays so")

	for result, least := range map[string]float64{"allowed": 3, "refused": 4, "failed": 5, "open": 1} {
		if n := p.metric("pushpod_auth_hook_requests_total", "result", result); n < least {
			t.Errorf("%v questions were %s, want %v at least", n, result, least)
		}
	}
	if n := p.metric("pushpod_auth_hook_seconds_count"); n != float64(s.asked.Load()) {
		t.Errorf("%v durations of %d questions", n, s.asked.Load())
	}
	log := p.stderr.String()
	wantLine(t, "the circuit", log, "circuit is open")
	wantLine(t, "the circuit", log, "closed again")
	wantLine(t, "an answer of no use", log, "auth hook", "user")
	for _, secret := range []string{token, strings.Split(token, ".")[2], "hook-password"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log shows %.20s…", secret)
		}
	}
}

// A hook that does not answer holds up whom it is asked about, and nobody else; and not the
// pod when that leaves.
func TestHookThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p := startPod(t, startRedis(t), quick().with("auth.hook_url", "http://"+silent.Addr().String()+"/", "auth.hook_timeout", "20s"))
	began := time.Now()
	conn, err := net.Dial("tcp", p.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, upgradeRequest("/ws?user=alice"))
	p.wantMetric("the handshake waits", 1, "pushpod_handshakes_pending")
	if got := p.redis.CLI("EXISTS", "push:user:{alice}"); got != "0" {
		t.Errorf("alice is in presence: %s", got)
	}
	p.sigterm()
	p.wantExit("while the hook is asked", 0, 20*time.Second)
	if took := time.Since(began); took > 18*time.Second {
		t.Errorf("the pod has waited for the hook: %v", took)
	}
}
