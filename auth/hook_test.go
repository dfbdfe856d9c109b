package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const secretToken = "eyJhbGciOiJub25lIn0.c2VjcmV0.c2lnbmF0dXJl"

// hookService is a hook's service, whose answer may change.
type hookService struct {
	*httptest.Server
	t      *testing.T
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int32
	conns  atomic.Int32 // that were opened to it
}

func newHookService(t *testing.T, answer http.HandlerFunc) *hookService {
	t.Helper()
	s := &hookService{t: t}
	s.set(answer)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		(*s.answer.Load())(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *hookService) set(answer http.HandlerFunc) { s.answer.Store(&answer) }

// status answers with a status and a body.
func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// hang answers when the asker has gone away.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice
	<-r.Context().Done()
}

// runningHook is a hook that runs until the test's end, and what it has logged.
type runningHook struct {
	*Hook
	t *testing.T

	mu  sync.Mutex // protects log
	log []string
}

func startHook(t *testing.T, url string, timeout time.Duration) *runningHook {
	t.Helper()
	r := &runningHook{t: t}
	log := func(what string, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.log = append(r.log, fmt.Sprint(what, ": ", err))
	}
	h, err := NewHook(HookOptions{URL: url, Timeout: timeout, ValidID: validID, Log: log, LogFailure: log})
	if err != nil {
		t.Fatal(err)
	}
	r.Hook = h
	ctx, cancel := context.WithCancel(context.Background())
	var runs sync.WaitGroup
	runs.Go(func() { h.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		runs.Wait()
		for _, secret := range append(strings.Split(secretToken, "."), "pass-word") {
			if strings.Contains(r.logged(), secret) {
				t.Errorf("the log shows a secret: %s", r.logged())
			}
		}
	})
	return r
}

func (r *runningHook) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.log, "\n")
}

type hookAnswer struct {
	Verdict
	err error
}

func always() bool { return true }

// ask asks a question, and returns where the answer comes.
func (r *runningHook) ask(q Question) <-chan hookAnswer {
	answer := make(chan hookAnswer, 2)
	if err := r.Ask(q, always, func(v Verdict, err error) { answer <- hookAnswer{v, err} }); err != nil {
		answer <- hookAnswer{err: err}
	}
	return answer
}

func (r *runningHook) answer(q Question) (Verdict, error) {
	r.t.Helper()
	select {
	case a := <-r.ask(q):
		return a.Verdict, a.err
	case <-time.After(time.Minute):
		r.t.Fatal("no answer at all")
		return Verdict{}, nil
	}
}

func (r *runningHook) eventually(what string, f func() bool) {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never: %s; %+v\n%s", what, r.Stats(), r.logged())
		}
	}
}

func TestHookIsAskedWhatIsKnown(t *testing.T) {
	t.Parallel()
	var got atomic.Pointer[http.Request]
	var body atomic.Pointer[string]
	s := newHookService(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		text := string(b)
		got.Store(r)
		body.Store(&text)
		_, _ = io.WriteString(w, `{}`)
	})
	h := startHook(t, strings.Replace(s.URL, "http://", "http://pod:pass-word@", 1)+"/may?from=pods", time.Minute)
	for want, q := range map[string]Question{
		`{"user":"żółw","token":"t","ip":"::1","origin":"https://a","device":"phone"}`: {User: "żółw", Token: "t", IP: "::1", Origin: "https://a", Device: "phone"},
		`{"user":"alice","ip":"192.0.2.1"}`:                                            {User: "alice", IP: "192.0.2.1"},
		`{"origin":"\ufffd","device":"\"\n\u0000"}`:                                    {Origin: "\xff", Device: "\"\n\x00"},
	} {
		if v, err := h.answer(q); err != nil || v.User != "" || !v.Expires.IsZero() || v.Topics != nil {
			t.Errorf("%s: %+v, %v", want, v, err)
		}
		if *body.Load() != want {
			t.Errorf("asked %s, want %s", *body.Load(), want)
		}
		r := got.Load()
		name, password, _ := r.BasicAuth()
		if r.Method != http.MethodPost || r.RequestURI != "/may?from=pods" || r.Header.Get("Content-Type") != "application/json" ||
			name != "pod" || password != "pass-word" || len(r.Header.Values("Idempotency-Key")) > 0 || r.ContentLength != int64(len(want)) {
			t.Errorf("asked by %s %s %v", r.Method, r.RequestURI, r.Header)
		}
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	var body atomic.Pointer[string]
	s := newHookService(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, *body.Load()) })
	h := startHook(t, s.URL, time.Minute)
	in := time.Now().Add(time.Hour).UnixMilli()
	for text, want := range map[string]Verdict{
		`{}`:                                    {},
		` { } ` + "\n":                          {},
		`{"user":"bob"}`:                        {User: "bob"},
		`{"user":"\u0062ob","more":{"a":[1]}}`:  {User: "bob"},
		`{"expires":9007199254740991}`:          {Expires: time.UnixMilli(9007199254740991)},
		`{"topics":[]}`:                         {Topics: []string{}},
		`{"reason":"because","USER":"mallory"}`: {},
		fmt.Sprintf(`{"user":"bob","expires":%d,"topics":["news.*","user.{user}"]}`, in): {User: "bob", Expires: time.UnixMilli(in), Topics: []string{"news.*", "user.{user}"}},
		`{"x":"` + strings.Repeat("x", maxVerdict-8) + `"}`:                              {},
	} {
		body.Store(&text)
		if v, err := h.answer(Question{Token: secretToken}); err != nil || !reflect.DeepEqual(v, want) {
			t.Errorf("%.80s: %+v, %v", text, v, err)
		}
	}
	for text, why := range map[string]string{
		``:                               "not a JSON object",
		`null`:                           "not a JSON object",
		`true`:                           "not a JSON object",
		`[{"user":"bob"}]`:               "not a JSON object",
		`"bob"`:                          "not a JSON object",
		`<html>welcome</html>`:           "not a JSON object",
		`{"user":"bob"`:                  "not a JSON object",
		`{"user":"bob"}{}`:               "not a JSON object",
		`{'user':'bob'}`:                 "not a JSON object",
		"\ufeff{}":                       "not a JSON object",
		"{\"user\":\"\xff\"}":            "UTF-8",
		`{"user":"a","user":"b"}`:        "twice",
		`{"x":1,"\u0078":2}`:             "twice",
		`{"a":0` + manyMembers(64) + `}`: "too many members",
		`{"user":null}`:                  "no user id",
		`{"user":7}`:                     "no user id",
		`{"user":["bob"]}`:               "no user id",
		`{"user":""}`:                    "no user id",
		`{"user":"}a"}`:                  "no user id",
		`{"user":"a\nb"}`:                "no user id",
		`{"user":"\ud800"}`:              "no user id",
		`{"user":"` + strings.Repeat("u", 257) + `"}`:     "no user id",
		`{"expires":3600}`:                                "expires",
		`{"expires":3600000}`:                             "expires",
		`{"expires":1800000000}`:                          "expires", // seconds
		`{"expires":99999999999}`:                         "expires",
		`{"expires":0}`:                                   "expires",
		`{"expires":-1}`:                                  "expires",
		`{"expires":"1800000000000"}`:                     "expires",
		`{"expires":1800000000000.5}`:                     "expires",
		`{"expires":1.8e12}`:                              "expires",
		`{"expires":9007199254740992}`:                    "expires",
		`{"expires":null}`:                                "expires",
		`{"topics":null}`:                                 "topics",
		`{"topics":"news"}`:                               "topics",
		`{"topics":["news",1]}`:                           "topics",
		`{"topics":[""]}`:                                 "topics",
		`{"x":"` + strings.Repeat("x", maxVerdict) + `"}`: "larger than 65536 bytes",
	} {
		body.Store(&text)
		before := len(h.logged())
		if v, err := h.answer(Question{Token: secretToken}); !errors.Is(err, ErrUndecided) || v.User != "" {
			t.Errorf("%.80q: %+v, %v", text, v, err)
		}
		if said := h.logged()[before:]; !strings.Contains(said, why) {
			t.Errorf("%.80q: the log says %q, want %q", text, said, why)
		}
	}
	for _, ms := range []int64{100_000_000_000, time.Now().UnixMilli()} { // over already
		text := fmt.Sprintf(`{"user":"bob","expires":%d}`, ms)
		body.Store(&text)
		if v, err := h.answer(Question{}); !isDenied(err, 401, "over") || v.User != "" {
			t.Errorf("%s: %+v, %v", text, v, err)
		}
	}
	if h.Stats().CircuitOpen {
		t.Error("answers of no use have opened the circuit")
	}
}

func isDenied(err error, status int, reason string) bool {
	var denied *Denied
	return errors.As(err, &denied) && denied.Status == status && strings.Contains(denied.Reason, reason)
}

func TestRefusalsOfAHook(t *testing.T) {
	t.Parallel()
	s := newHookService(t, nil)
	h := startHook(t, s.URL, time.Minute)
	for _, code := range []int{401, 403} {
		usual := map[int]string{401: "not accepted", 403: "not allowed in"}[code]
		for body, reason := range map[string]string{
			``:                              usual,
			`{}`:                            usual,
			`{"reason":"no more Ünicorns"}`: "no more Ünicorns",
			`{"reason":"because","x":1}`:    "because",
			`{"reason":7}`:                  usual,
			`{"reason":null}`:               usual,
			`{"reason":"a","reason":"b"}`:   usual,
			`{"reason":"a\nb"}`:             usual,
			`{"reason":"a"`:                 usual,
			`because`:                       usual,
			"{\"reason\":\"\xff\"}":         usual,
			`{"reason":"bad token ` + secretToken + `"}`:            usual, // it is logged
			`{"reason":"` + strings.Repeat("r", maxReason) + `"}`:   strings.Repeat("r", maxReason),
			`{"reason":"` + strings.Repeat("r", maxReason+1) + `"}`: usual,
			strings.Repeat(" ", maxVerdict+1):                       usual,
		} {
			s.set(status(code, body))
			if v, err := h.answer(Question{User: "alice", Token: secretToken}); !isDenied(err, code, reason) || v.User != "" {
				t.Errorf("%d %.80q: %+v, %v", code, body, v, err)
			}
		}
		s.set(func(w http.ResponseWriter, _ *http.Request) { // cut off
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(code)
		})
		if _, err := h.answer(Question{User: "alice"}); !isDenied(err, code, usual) {
			t.Errorf("%d, cut off: %v", code, err)
		}
	}
	if stats := h.Stats(); stats.CircuitOpen || stats.Refused != uint64(s.asked.Load()) || stats.Failed != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestOtherStatusesOfAHookAreNoAnswer(t *testing.T) {
	t.Parallel()
	elsewhere := newHookService(t, status(200, `{"user":"mallory"}`))
	s := newHookService(t, nil)
	h := startHook(t, s.URL, time.Minute)
	for _, code := range []int{201, 202, 204, 206, 301, 302, 303, 307, 308, 400, 404, 405, 407, 418, 429} {
		s.set(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(code)
		})
		if v, err := h.answer(Question{Token: secretToken}); !errors.Is(err, ErrUndecided) || v.User != "" {
			t.Errorf("%d: %+v, %v", code, v, err)
		}
		if want := fmt.Sprint("status ", code); !strings.Contains(h.logged(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if elsewhere.asked.Load() > 0 {
		t.Error("a redirect was followed")
	}
	if h.Stats().CircuitOpen {
		t.Error("a hook that answers is taken for one that is down")
	}
}

func TestFailuresOfAHook(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"500":       status(500, `{"user":"alice"}`),
		"502":       status(502, strings.Repeat("x", 2*maxVerdict)),
		"503":       status(503, ``),
		"no answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"user":"alice"}`)
		},
		"a huge header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 100<<10))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startHook(t, newHookService(t, answer).URL, time.Minute)
			if v, err := h.answer(Question{Token: secretToken}); !errors.Is(err, ErrUndecided) || v.User != "" {
				t.Errorf("%+v, %v", v, err)
			}
			if s := h.Stats(); s.Failed != 1 || h.logged() == "" {
				t.Errorf("%+v, log %q", s, h.logged())
			}
		})
	}
	for name, answer := range map[string]http.HandlerFunc{
		"silent": hang,
		"a slow body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"user":"alice"`)
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startHook(t, newHookService(t, answer).URL, 200*time.Millisecond)
			if v, err := h.answer(Question{Token: secretToken}); !errors.Is(err, ErrUndecided) || v.User != "" {
				t.Errorf("%+v, %v", v, err)
			}
			if s := h.Stats(); s.TimedOut != 1 || !strings.Contains(h.logged(), "auth.hook_timeout") {
				t.Errorf("%+v, log %q", s, h.logged())
			}
		})
	}
	down := newHookService(t, status(200, `{}`))
	h := startHook(t, strings.Replace(down.URL, "http://", "http://pod:pass-word@", 1), time.Minute)
	down.Close()
	if _, err := h.answer(Question{}); !errors.Is(err, ErrUndecided) || h.Stats().Failed != 1 {
		t.Errorf("down: %v, %+v", err, h.Stats())
	}
}

func TestConnectionsToAHookAreKept(t *testing.T) {
	t.Parallel()
	s := newHookService(t, status(200, `{}`))
	h := startHook(t, s.URL, time.Minute)
	for i := range 30 {
		s.set(status([]int{200, 401, 500}[i%3], `{"reason":"r"}`)) // their bodies are read to the end
		_, _ = h.answer(Question{})
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections for 30 questions", n)
	}
	s.set(status(200, `{}`))
	s.CloseClientConnections() // as a service does with those that rest too long
	if _, err := h.answer(Question{}); err != nil {
		t.Errorf("after the kept connection has broken: %v", err)
	}
}

// TestHookIsAskedByFewAtOnce holds it up, so that questions wait: for no longer than they may.
func TestHookIsAskedByFewAtOnce(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second
	var now, most atomic.Int32
	s := newHookService(t, func(w http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		hang(w, r)
	})
	h := startHook(t, s.URL, timeout)
	var first, waiting []<-chan hookAnswer
	start := time.Now()
	for range maxAsking {
		first = append(first, h.ask(Question{}))
	}
	h.eventually("all that may are asked", func() bool { return now.Load() == maxAsking })
	began := time.Now()
	for range maxAsked {
		waiting = append(waiting, h.ask(Question{}))
	}
	if err := h.Ask(Question{}, always, func(Verdict, error) { t.Error("done is called") }); !errors.Is(err, ErrUndecided) {
		t.Errorf("one too many: %v", err)
	}
	inTime := time.Since(start) < timeout/3 // for the last to wait too long while the first are asked
	for _, answer := range append(first, waiting...) {
		if a := <-answer; !errors.Is(a.err, ErrUndecided) {
			t.Errorf("%+v", a)
		}
	}
	if took := time.Since(began); took > 2*timeout {
		t.Errorf("answered after %v", took)
	}
	if n := most.Load(); n != maxAsking {
		t.Errorf("%d were asked at once, want %d", n, maxAsking)
	}
	if n := s.asked.Load(); inTime && n != maxAsking {
		t.Errorf("%d were asked: those that had waited for too long too", n)
	}
	if stats := h.Stats(); inTime && (stats.Busy+stats.Open != maxAsked+1 || stats.TimedOut != maxAsking) {
		t.Errorf("%+v", stats)
	}
}

func TestNobodyIsAskedAboutWhoHasLeft(t *testing.T) {
	t.Parallel()
	s := newHookService(t, status(200, `{}`))
	h := startHook(t, s.URL, time.Minute)
	done := make(chan error, 1)
	if err := h.Ask(Question{}, func() bool { return false }, func(_ Verdict, err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil || s.asked.Load() != 0 {
		t.Errorf("%v, asked %d times", err, s.asked.Load())
	}
}

func TestCircuitOpensAndClosesAgain(t *testing.T) {
	t.Parallel()
	s := newHookService(t, status(500, ``))
	h := startHook(t, s.URL, time.Minute)
	for range 5 {
		_, _ = h.answer(Question{Token: secretToken})
	}
	h.eventually("the circuit is open", func() bool { return h.Stats().CircuitOpen })
	opened := time.Now()
	s.set(status(200, `{}`))
	if _, err := h.answer(Question{}); !errors.Is(err, ErrUndecided) {
		t.Errorf("while it is open: %v", err)
	}
	if n := s.asked.Load(); n != 5 || h.Stats().Open != 1 {
		t.Errorf("asked %d times, %+v", n, h.Stats())
	}
	for { // clients that come again
		if _, err := h.answer(Question{}); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if waited := time.Since(opened); waited > 5*time.Second {
		t.Errorf("tried again after %v", waited)
	}
	if n := s.asked.Load(); n != 6 || h.Stats().CircuitOpen {
		t.Errorf("asked %d times, %+v", n, h.Stats())
	}
	for _, line := range []string{"circuit is open", "closed again"} {
		if strings.Count(h.logged(), line) != 1 {
			t.Errorf("%q is not said once:\n%s", line, h.logged())
		}
	}
}

func TestCircuitOpensWhereHalfFail(t *testing.T) {
	t.Parallel()
	s := newHookService(t, nil)
	h := startHook(t, s.URL, time.Minute)
	for i := range 20 {
		s.set(status([]int{200, 500}[i%2], `{}`))
		_, _ = h.answer(Question{})
	}
	if !h.Stats().CircuitOpen {
		t.Errorf("%+v", h.Stats())
	}
}

func TestHookThatFailsAgainIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newHookService(t, status(500, ``))
	h := startHook(t, s.URL, time.Minute)
	for range 5 {
		_, _ = h.answer(Question{})
	}
	for s.asked.Load() < 7 { // two that try
		_, _ = h.answer(Question{})
		time.Sleep(20 * time.Millisecond)
	}
	if s := h.Stats(); !s.CircuitOpen || s.Failed != 7 {
		t.Errorf("%+v", s)
	}
}

func TestHookEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := newHookService(t, hang)
	h, err := NewHook(HookOptions{URL: s.URL, Timeout: time.Hour, ValidID: validID, LogFailure: func(what string, err error) { t.Error(what, err) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); h.Run(ctx) }()
	done := make(chan error, 1)
	if err := h.Ask(Question{}, always, func(_ Verdict, err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	for s.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, ErrUndecided) {
		t.Errorf("%v", err)
	}
	<-ended
	if s := h.Stats(); s.Failed+s.TimedOut != 0 || s.CircuitOpen {
		t.Errorf("what we end ourselves is no failure: %+v", s)
	}
}

func TestHookURLs(t *testing.T) {
	for _, url := range []string{"", "/may", "hook.example/may", "ftp://hook.example/", "http://", "http:///may", "http://a:pass-word@b:c/", "unix:/run/hook"} {
		if _, err := NewHook(HookOptions{URL: url}); err == nil || strings.Contains(err.Error(), "pass-word") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestStatsOfAHook(t *testing.T) {
	t.Parallel()
	s := newHookService(t, status(200, `{}`))
	h := startHook(t, s.URL, time.Minute)
	for range 3 {
		_, _ = h.answer(Question{})
	}
	stats := h.Stats()
	n := uint64(0)
	for _, c := range stats.Latency {
		n += c
	}
	if stats.Allowed != 3 || n != 3 || stats.LatencySum <= 0 || len(stats.LatencyBounds()) != len(stats.Latency)-1 {
		t.Errorf("%+v", stats)
	}
}

func FuzzVerdict(f *testing.F) {
	h, err := NewHook(HookOptions{URL: "http://h/", ValidID: validID})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"user":"bob","expires":1900000000000,"topics":["a"]}`)
	f.Add(`{"reason":"r","user":"\ud800"}`)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, body string) {
		v, err := h.readVerdict([]byte(body))
		if err == nil && (!json.Valid([]byte(body)) || v.User != "" && !validID(v.User)) {
			t.Errorf("%q: %+v", body, v)
		}
		if reason := readReason([]byte(body), 401, "t"); reason == "" || strings.Contains(reason, "\n") || len(reason) > maxReason {
			t.Errorf("%q: reason %q", body, reason)
		}
	})
}
