package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/spf13/cobra"
)

const connectWelcome = `{"type":"welcome","uuid":"` + uuid1 + `","user":"alice","ping":25,"max_message":1000,"time":0}`

// A podSide is a connection as the pod sees it.
type podSide struct {
	t    *testing.T
	conn net.Conn
}

// playPod plays a pod that gives a welcome, and then what script does with each
// connection. It returns the URL.
func playPod(t *testing.T, script func(p podSide)) string {
	t.Helper()
	var playing sync.WaitGroup
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user := r.URL.Query().Get("user"); user != "alice" {
			t.Errorf("connected as %q", user)
		}
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		playing.Go(func() {
			defer conn.Close()
			p := podSide{t, conn}
			p.send(connectWelcome)
			script(p)
		})
	}))
	t.Cleanup(playing.Wait)
	t.Cleanup(pod.Close)
	return "ws" + strings.TrimPrefix(pod.URL, "http") + "/ws"
}

func (p podSide) send(frame string) {
	if err := wsutil.WriteServerText(p.conn, []byte(frame)); err != nil {
		p.t.Errorf("pod's write: %v", err)
	}
}

// next returns the next frame, or the client's close code as text. The close
// frame is answered.
func (p podSide) next() string {
	_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	payload, err := wsutil.ReadClientText(p.conn)
	if closed := (wsutil.ClosedError{}); errors.As(err, &closed) {
		return fmt.Sprint(int(closed.Code))
	}
	if err != nil {
		return err.Error()
	}
	return string(payload)
}

func (p podSide) want(why, frame string) {
	if got := p.next(); got != frame {
		p.t.Errorf("%s: the pod got %s, want %s", why, got, frame)
	}
}

// wantRequest reads a request with this data, and answers.
func (p podSide) wantRequest(data, status string) {
	var f struct {
		Type, ID string
		Data     json.RawMessage
	}
	frame := p.next()
	if err := json.Unmarshal([]byte(frame), &f); err != nil || f.Type != "request" || f.ID == "" || string(f.Data) != data {
		p.t.Errorf("the pod got %s, want a request with %s", frame, data)
		return
	}
	p.send(fmt.Sprintf(`{"type":"receipt","id":%q,%s}`, f.ID, status))
}

// runConnected runs `pushpod connect alice` against a pod at url.
func runConnected(t *testing.T, stdin io.Reader, stdout io.Writer, atTerminal bool, url string, args ...string) result {
	t.Helper()
	var stderr bytes.Buffer
	root := &cobra.Command{Use: "pushpod", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(newConnectCommand(func(any) bool { return atTerminal }))
	root.SetArgs(append([]string{"connect", "alice", "--url", url}, args...))
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(&stderr)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(&stderr, err)
	}
	if ctx.Err() != nil {
		t.Errorf("connect %v did not end by itself", args)
	}
	r := result{code: ExitCode(err), stderr: strings.ReplaceAll(stderr.String(), url, "URL")}
	if b, ok := stdout.(*bytes.Buffer); ok {
		r.stdout = b.String()
	}
	return r
}

const (
	connectingLine = "connecting to URL as alice\n"
	connectedLine  = "connected as alice, connection " + uuid1 + "\n"
)

// Between the two connections of a handover nobody is disconnected.
func TestConnectTellsOfNoEndInAHandover(t *testing.T) {
	var connections atomic.Int32
	url := playPod(t, func(p podSide) {
		if connections.Add(1) == 1 {
			p.send(`{"type":"goaway","within_ms":3000}`)
		} else {
			p.send(`{"type":"message","data":1}`)
		}
		p.want("the end", "1000")
	})
	var stdout bytes.Buffer
	r := runConnected(t, strings.NewReader(""), &stdout, false, url, "--count", "1")
	if r.code != 0 || connections.Load() != 2 {
		t.Errorf("exit %d after %d connections", r.code, connections.Load())
	}
	if strings.Contains(r.stderr, "disconnected") || strings.Count(r.stderr, "connected as") != 2 {
		t.Errorf("stderr:\n%s", r.stderr)
	}
}

func TestConnectPrintsFramesUntilTheCountOfMessages(t *testing.T) {
	url := playPod(t, func(p podSide) {
		p.send(`{"type":"odd"}`)
		p.send("{\"type\":\"message\",\r\n\t\"data\":\"a\u009b\x7f\\n\"}")
		p.send(`{"type":"message","data":2.0,"id":"m2"}`)
		p.send(`{"type":"message","data":2.0,"id":"m2"}`) // a double does not count
		p.send(`{"type":"message","data":3}`)
		p.send(`{"type":"message","data":4}`)
		p.want("at the end", "1000")
	})
	var stdout bytes.Buffer
	r := runConnected(t, strings.NewReader(""), &stdout, false, url, "--count", "3", "--ping", "app,15")
	want := connectWelcome + "\n" + `{"type":"odd"}` + "\n" +
		"{\"type\":\"message\",  \t\"data\":\"a\\u009b\\u007f\\n\"}\n" +
		strings.Repeat(`{"type":"message","data":2.0,"id":"m2"}`+"\n", 2) +
		`{"type":"message","data":3}` + "\n"
	if r.code != 0 || r.stdout != want {
		t.Errorf("exit code %d, stdout\n%s, want 0,\n%s", r.code, r.stdout, want)
	}
	if want := connectingLine + connectedLine + "closed\n"; r.stderr != want {
		t.Errorf("stderr is %q, want %q", r.stderr, want)
	}
}

func TestConnectSendsWhatIsTyped(t *testing.T) {
	url := playPod(t, func(p podSide) {
		p.want("an object with a type", `{ "type":"ping", "id":"1" }`)
		p.wantRequest(`{"order":5}`, `"status":"accepted"`)
		p.wantRequest(`[1, {"type":"x"}]`, `"status":"rejected","error":"rate","reason":"slower"`)
		p.wantRequest(`null`, `"status":"accepted"`)
		p.wantRequest(`"say \"hi\""`, `"status":"accepted"`)
		p.wantRequest(`"}"`, `"status":"accepted"`)
		p.want("Ctrl-D at a terminal", "1000")
	})
	typed := strings.Join([]string{`{ "type":"ping", "id":"1" }`, `{"order":5}`, "", ` [1, {"type":"x"}]`, "null\r", `say "hi"`,
		strings.Repeat("x", 1001), "\xff", "}"}, "\n")
	var stdout bytes.Buffer
	r := runConnected(t, strings.NewReader(typed), &stdout, true, url)
	if r.code != 0 || strings.Count(r.stdout, `"type":"receipt"`) != 5 || !strings.Contains(r.stdout, `"rate"`) {
		t.Errorf("exit code %d, stdout %s", r.code, r.stdout)
	}
	for _, want := range []string{"not sent: client: message too large", "not sent: the line is not UTF-8", "\nclosed\n"} {
		if strings.Count(r.stderr, want) != 1 {
			t.Errorf("stderr has not once %q:\n%s", want, r.stderr)
		}
	}
	if strings.Count(r.stderr, "not sent") != 2 {
		t.Errorf("stderr is\n%s", r.stderr)
	}
}

func TestConnectGoesOnAfterTheEndOfAPipe(t *testing.T) {
	url := playPod(t, func(p podSide) {
		p.wantRequest(`"hi"`, `"status":"accepted"`)
		time.Sleep(100 * time.Millisecond) // the end of stdin has been seen by then
		p.send(`{"type":"message","data":"answer"}`)
		p.want("after the answer", "1000")
	})
	var stdout bytes.Buffer
	r := runConnected(t, strings.NewReader("hi\n"), &stdout, false, url, "--count", "1")
	if r.code != 0 || !strings.HasSuffix(r.stdout, `{"type":"message","data":"answer"}`+"\n") {
		t.Errorf("exit code %d, stdout %s", r.code, r.stdout)
	}
}

func TestConnectTellsStatesAsJSON(t *testing.T) {
	var connections atomic.Int64
	url := playPod(t, func(p podSide) {
		if connections.Add(1) == 1 {
			_ = wsutil.WriteServerMessage(p.conn, ws.OpClose, ws.NewCloseFrameBody(1001, "retry_ms=7"))
			p.next()
			return
		}
		p.send(`{"type":"message","data":1}`)
		p.next()
	})
	var stdout bytes.Buffer
	r := runConnected(t, strings.NewReader("\xff\n"), &stdout, false, url, "--count", "1", "--json")
	var states []string
	for line := range strings.Lines(r.stderr) {
		var s state
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Errorf("stderr has %q: %v", line, err)
		}
		switch s.State {
		case "not_sent": // at any time between
			if s.Reason != "the line is not UTF-8" {
				t.Errorf("state %s", line)
			}
			continue
		case "connecting":
			if s.URL != "URL" || s.User != "alice" {
				t.Errorf("state %s", line)
			}
		case "connected":
			if s.UUID != uuid1 || s.User != "alice" {
				t.Errorf("state %s", line)
			}
		case "retrying":
			if s.InMs == nil || *s.InMs != 7 || !strings.Contains(s.Reason, "1001") {
				t.Errorf("state %s", line)
			}
		}
		states = append(states, s.State)
	}
	if got := strings.Join(states, " "); r.code != 0 || got != "connecting connected disconnected retrying connected closed" {
		t.Errorf("exit code %d, states %s", r.code, got)
	}
}

func TestConnectEndsWith1WhereItCannotGoOn(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"error":"blocked","reason":"go away"}`)
	}))
	defer refusing.Close()
	closing := func(code ws.StatusCode, reason string) string {
		return playPod(t, func(p podSide) {
			_ = wsutil.WriteServerMessage(p.conn, ws.OpClose, ws.NewCloseFrameBody(code, reason))
			p.next()
		})
	}
	welcoming := playPod(t, func(p podSide) { p.next() })
	input, _ := io.Pipe()
	defer input.Close()
	for _, c := range []struct {
		why, url, stderr string
		stdin            io.Reader
		stdout           io.Writer
		args             []string
	}{
		{"refused", "ws" + strings.TrimPrefix(refusing.URL, "http") + "/ws", `connect: client: handshake refused: 403 "blocked": "go away"`, nil, nil, nil},
		{"revoked", closing(4500, "revoked"), `connect: client: closed by the server: 4500 "revoked"`, nil, nil, nil},
		{"no reconnect", closing(1001, "retry_ms=60000"), `closed by the server: 1001`, nil, nil, []string{"--no-reconnect"}},
		{"nobody listens", "ws://127.0.0.1:1/ws", "connection refused", nil, nil, []string{"--no-reconnect"}},
		{"stdout is gone", welcoming, "connect: write the result: ", nil, brokenWriter{}, nil},
		{"too long a line", welcoming, "connect: a line on stdin has more than 1048576 bytes", strings.NewReader(strings.Repeat("x", 1<<20+1)), nil, nil},
	} {
		stdin, stdout := c.stdin, c.stdout
		if stdin == nil {
			stdin = input // where nobody types
		}
		if stdout == nil {
			stdout = new(bytes.Buffer)
		}
		r := runConnected(t, stdin, stdout, true, c.url, c.args...)
		if r.code != 1 || !strings.Contains(r.stderr, c.stderr) || strings.Contains(r.stderr, "\nclosed\n") {
			t.Errorf("%s: exit code %d, stderr %s; want 1, %s", c.why, r.code, r.stderr, c.stderr)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestConnectSendsTheToken(t *testing.T) {
	got := make(chan string, 1)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Authorization")
		w.WriteHeader(http.StatusForbidden)
	}))
	defer refusing.Close()
	r := run(t, nil, "connect", "alice", "--token", "a.b.c", "--url", "ws"+strings.TrimPrefix(refusing.URL, "http"))
	if r.code != 1 || strings.Contains(r.stderr, "a.b.c") {
		t.Errorf("%+v", r)
	}
	if field := <-got; field != "Bearer a.b.c" {
		t.Errorf("Authorization: %s", field)
	}
}

func TestConnectSaysGoodbyeOnASignal(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		url := playPod(t, func(p podSide) {
			p.want("once connected", `{"type":"ping"}`)
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				t.Error(err)
			}
			p.want("after the signal", "1000")
		})
		input, typing := io.Pipe()
		go func() { _, _ = io.WriteString(typing, `{"type":"ping"}`+"\n") }() // and the pipe stays open
		r := runConnected(t, input, new(bytes.Buffer), true, url)
		typing.Close()
		if r.code != 0 || !strings.HasSuffix(r.stderr, "closed\n") {
			t.Errorf("%v: exit code %d, stderr %q", s, r.code, r.stderr)
		}
	}
}

func TestConnectUsedWronglyEndsWith2(t *testing.T) {
	for args, stderr := range map[string]string{
		"connect":                            "pushpod connect: USER is missing",
		"connect a b":                        `unexpected argument "b"`,
		"connect }a":                         "does not begin with }",
		"connect -a":                         "put -- before",
		"connect a --bogus":                  "unknown flag: --bogus",
		"connect a --count -1":               "connect: --count is -1",
		"connect a --count x":                `invalid argument "x" for "--count"`,
		"connect a --ping ws":                `connect: --ping is "ws": app is allowed`,
		"connect a --ping app,14":            "with 15 to 300",
		"connect a --ping app,301":           "with 15 to 300",
		"connect a --url http://127.0.0.1/x": "ws://HOST[:PORT]/PATH",
	} {
		var errs bytes.Buffer
		root := &cobra.Command{Use: "pushpod", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(newConnectCommand(IsTerminal))
		root.SetArgs(strings.Split(args, " "))
		root.SetOut(&errs)
		root.SetErr(&errs)
		root.SetIn(strings.NewReader(""))
		err := root.ExecuteContext(t.Context())
		if err == nil || ExitCode(err) != 2 || !strings.Contains(err.Error(), stderr) || errs.Len() > 0 {
			t.Errorf("%s: exit code %d, %v, output %q; want 2, %s", args, ExitCode(err), err, &errs, stderr)
		}
	}
}
