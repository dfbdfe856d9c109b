package cli

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fakePod answers at admin.listen.
type fakePod struct {
	*httptest.Server
	mu    sync.Mutex // protects following
	asked []string   // method, path, Authorization
}

func startFakePod(t *testing.T, secure bool, answer http.HandlerFunc) *fakePod {
	t.Helper()
	p := &fakePod{}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization")))
		p.mu.Unlock()
		answer(w, r)
	}))
	if secure {
		p.StartTLS()
	} else {
		p.Start()
	}
	t.Cleanup(p.Close)
	return p
}

func (p *fakePod) addr() string { return p.Listener.Addr().String() }

func (p *fakePod) wantAsked(t *testing.T, want ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if fmt.Sprint(p.asked) != fmt.Sprint(want) {
		t.Errorf("asked for %q, want %q", p.asked, want)
	}
	p.asked = nil
}

// says answers with a status and a body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

const ready = `{"status":"ready"}`

func TestHealthSaysWhetherThePodIsReady(t *testing.T) {
	for name, c := range map[string]struct {
		status       int
		body         string
		code         int
		stdout       string
		stderr, json string
	}{
		"ready": {200, ready, 0, "ready\n", "", `{"status":"ready"}`},
		"a warning": {200, `{"status":"ready","warnings":[{"name":"eviction","reason":"may evict"}]}`, 0, "ready\nwarning: eviction: may evict\n", "",
			`{"status":"ready","warnings":[{"name":"eviction","reason":"may evict"}]}`},
		"not ready": {503, `{"status":"not ready","problems":[{"name":"claim","reason":"6.2s left"},{"name":"x","reason":"y"}]}`, 1, "",
			"not ready\nclaim: 6.2s left\nx: y\n", `{"status":"not ready","problems":[{"name":"claim","reason":"6.2s left"},{"name":"x","reason":"y"}]}`},
		"a stranger":        {200, "<html>", 1, "", "is no pod: HTTP status 200 OK", ""},
		"JSON of another's": {404, `{"error":"?"}`, 1, "", "is no pod: HTTP status 404 Not Found", ""},
		"what moves the cursor": {503, `{"status":"not ready","problems":[{"name":"a","reason":"\u001b[2J"}]}`, 1, "", `a: "\x1b[2J"`,
			"{\"status\":\"not ready\",\"problems\":[{\"name\":\"a\",\"reason\":\"\\u001b[2J\"}]}"},
	} {
		p := startFakePod(t, false, says(c.status, c.body))
		env := []string{"PUSHPOD_ADMIN_LISTEN=" + p.addr(), "PUSHPOD_ADMIN_TOKEN=a token of operators"}
		run(t, env, "health").want(t, name, c.code, c.stdout, c.stderr)
		p.wantAsked(t, "GET /readyz") // and no token goes along
		want := c.json
		if want != "" {
			want += "\n"
		}
		run(t, env, "health", "--json").want(t, name+", as JSON", c.code, want, c.stderr)
	}
}

func TestHealthAsksForLife(t *testing.T) {
	p := startFakePod(t, false, says(200, `{"status":"ok"}`))
	run(t, []string{"PUSHPOD_ADMIN_LISTEN=" + p.addr()}, "health", "--live").want(t, "live", 0, "ok\n", "")
	p.wantAsked(t, "GET /healthz")
}

func TestHealthFindsThePodAsItIsConfigured(t *testing.T) {
	p := startFakePod(t, false, says(200, ready))
	_, port, err := net.SplitHostPort(p.addr())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pushpod.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, listen := range []string{p.addr(), ":" + port, "0.0.0.0:" + port, "localhost:" + port, "[::]:" + port} {
		run(t, nil, "health", "--admin.listen", listen).want(t, "at "+listen, 0, "ready\n", "")
	}
	// What a pod that runs has not loaded makes nobody restart it.
	write(fmt.Sprintf("admin: {listen: ':%s'}\nlisten: nowhere\nlogg: {level: x}\npresence: {ttl: 1s}\n", port))
	run(t, []string{"PUSHPOD_CONN_PING=never"}, "health", "--config", file).want(t, "other keys are wrong", 0, "ready\n", "")
	write("admin:\n  listen: [::]:9090\n")
	run(t, nil, "health", "--config", file).want(t, "a file that is no YAML", 2, "", "admin.listen")
	write("redis: {prefix: push:}}\n")
	run(t, nil, "health", "--config", file).want(t, "a file that is no YAML", 2, "", "YAML")
	run(t, nil, "health", "--admin.listen", "9090").want(t, "a bad address", 2, "", "config: admin.listen")
	run(t, nil, "health", "--admin.listen", "127.0.0.1:0").want(t, "any port", 2, "", "admin.listen has port 0")
	run(t, nil, "health", "--timeout", "0s").want(t, "no time", 2, "", "--timeout is 0s")
}

func TestHealthOfAPodThatDoesNotAnswer(t *testing.T) {
	run(t, []string{"PUSHPOD_ADMIN_LISTEN=127.0.0.1:1"}, "health").want(t, "nobody", 1, "", "no pod listens at admin.listen (127.0.0.1:1) on this machine: ")
	end := make(chan struct{})
	defer close(end)
	p := startFakePod(t, false, func(http.ResponseWriter, *http.Request) { <-end })
	run(t, []string{"PUSHPOD_ADMIN_LISTEN=" + p.addr()}, "health", "--timeout", "100ms").want(t, "silence", 1, "", "no answer from the pod at admin.listen")
	slow := startFakePod(t, false, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"status":`))
		_ = http.NewResponseController(w).Flush()
		<-end
	})
	run(t, []string{"PUSHPOD_ADMIN_LISTEN=" + slow.addr()}, "health", "--timeout", "100ms").want(t, "half an answer", 1, "", "no whole answer in time")
}

// certificateOf writes the certificate that a fake pod shows.
func certificateOf(t *testing.T, p *fakePod) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "cert.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestByTLSTheTokenGoesToThePodAlone(t *testing.T) {
	p := startFakePod(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			says(202, "{\"status\":\"draining\",\"within_ms\":5000}\n{\"status\":\"left\"}\n")(w, r)
			return
		}
		says(200, ready)(w, r)
	})
	env := []string{"PUSHPOD_ADMIN_LISTEN=" + p.addr(), "PUSHPOD_ADMIN_TLS=on", "PUSHPOD_ADMIN_TOKEN=a token of operators"}
	run(t, env, "health").want(t, "health asks whoever is there", 0, "ready\n", "")
	p.wantAsked(t, "GET /readyz")
	run(t, append(env, "PUSHPOD_TLS_CERT_FILE="+certificateOf(t, p)), "drain").want(t, "drain", 0, "left\n", "")
	p.wantAsked(t, "POST /drain?wait=1 Bearer a token of operators")

	other := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(other, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("another one")}), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, append(env, "PUSHPOD_TLS_CERT_FILE="+other), "drain").want(t, "a stranger", 1, "", "does not show the certificate in tls.cert_file")
	run(t, append(env, "PUSHPOD_TLS_CERT_FILE=/nonexistent"), "drain").want(t, "no certificate", 1, "", "tls.cert_file: open /nonexistent")
	p.wantAsked(t)
}

func TestDrainWaitsUntilThePodHasLeft(t *testing.T) {
	leave := make(chan string, 1)
	p := startFakePod(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(202)
		fmt.Fprintln(w, `{"status":"draining","within_ms":5000}`)
		_ = http.NewResponseController(w).Flush()
		if r.URL.Query().Get("wait") == "" {
			return
		}
		select {
		case how := <-leave:
			fmt.Fprint(w, how)
		case <-r.Context().Done():
		}
	})
	env := []string{"PUSHPOD_ADMIN_LISTEN=" + p.addr()}
	time.AfterFunc(200*time.Millisecond, func() { leave <- "{\"status\":\"left\"}\n" })
	run(t, env, "drain").want(t, "it leaves", 0, "left\n", "")
	p.wantAsked(t, "POST /drain?wait=1")
	leave <- "{\"status\":\"left\"}\n"
	run(t, env, "drain", "--json", "--wait", "10s").want(t, "as JSON", 0, "{\"status\":\"left\"}\n", "")
	run(t, env, "drain", "--wait", "0").want(t, "without waiting", 0, "draining, for 5s at most\n", "")
	run(t, env, "drain", "--wait", "0", "--json").want(t, "without waiting, as JSON", 0, "{\"status\":\"draining\",\"within_ms\":5000}\n", "")
	run(t, env, "drain", "--wait", "50ms").want(t, "not in time", 1, "", "the pod has not left within 50ms; it goes on leaving")
	dies := startFakePod(t, false, says(202, "{\"status\":\"draining\",\"within_ms\":5000}\n"))
	run(t, []string{"PUSHPOD_ADMIN_LISTEN=" + dies.addr()}, "drain").want(t, "it dies", 1, "", "before it had left in order")
	run(t, env, "drain", "--wait", "-1s").want(t, "a wrong time", 2, "", "--wait is -1s")
}

func TestDrainThatIsRefused(t *testing.T) {
	for stderr, answer := range map[string]http.HandlerFunc{
		"wants another admin.token":                          says(401, "{}"),
		"send its process SIGTERM":                           says(404, "404 page not found"),
		"HTTP status 403 Forbidden: the Host of the request": says(403, `{"status":"refused","reason":"the Host of the request"}`),
		"is not understood":                                  says(202, "what\n"),
	} {
		p := startFakePod(t, false, answer)
		run(t, []string{"PUSHPOD_ADMIN_LISTEN=" + p.addr()}, "drain").want(t, stderr, 1, "", stderr)
	}
	run(t, []string{"PUSHPOD_ADMIN_LISTEN=127.0.0.1:1"}, "drain").want(t, "nobody", 1, "", "no pod listens")
}

// What the commands of a pod on this machine offer of its keys is what they need.
func TestLocalCommandsOfferNoMoreKeysThanTheyNeed(t *testing.T) {
	for _, name := range []string{"health", "drain"} {
		r := run(t, nil, name, "--help")
		if r.code != 0 || !strings.Contains(r.stdout, "--admin.listen") || strings.Contains(r.stdout, "--redis.") || strings.Contains(r.stdout, "--admin.token") {
			t.Errorf("%+v", r)
		}
	}
}
