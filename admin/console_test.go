package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pushpod/conn"
	"pushpod/hub"
	"pushpod/internal/secret"
	"pushpod/presence"
	"pushpod/producer"
)

const (
	here  = "01890000-0000-7000-8000-000000000001" // this pod holds it
	there = "01890000-0000-7000-8000-000000000002"
)

// redisDouble stands in for the Redis of the console.
type redisDouble struct {
	err    error
	pods   []presence.Pod
	asked  int // for the pods
	pushed []producer.Message
	kicked []string
	freed  []string
}

func (d *redisDouble) Pods(context.Context) ([]presence.Pod, error) {
	d.asked++
	return d.pods, d.err
}

func (d *redisDouble) Connections(_ context.Context, user string) ([]producer.Connection, error) {
	if user != "alice" {
		return nil, d.err
	}
	ms := int64(60_000)
	return []producer.Connection{
		{UUID: here, Pod: "a:1", Channel: "push:pod:a:1", Since: 1_687_000_000_000, Expires: &ms},
		{UUID: there, Pod: "b:1", Channel: "push:pod:b:1", Since: 1_687_000_000_001},
	}, d.err
}

func (d *redisDouble) Block(_ context.Context, user string) (string, time.Duration, bool, error) {
	return "spam", time.Minute, user == "alice", nil
}

func (d *redisDouble) Push(_ context.Context, m producer.Message) ([]producer.Sent, error) {
	d.pushed = append(d.pushed, m)
	return []producer.Sent{
		{Channel: "push:pod:a:1", Envelope: `{"user":"alice"}`, Subscribers: 1, Connections: 2},
		{Channel: "push:pod:b:1", Envelope: `{"user":"alice"}`, Subscribers: 0, Connections: 3},
	}, d.err
}

func (d *redisDouble) Kick(_ context.Context, user string, k producer.Kick) (producer.Kicked, error) {
	only := ""
	if k.Connection != nil {
		only = presence.FormatUUID(*k.Connection)
	}
	d.kicked = append(d.kicked, fmt.Sprint(user, " ", only, " ", k.Lasts, " ", k.Reason))
	return producer.Kicked{Closed: 1, Blocked: k.Lasts.Milliseconds(), Sent: []producer.Sent{{Channel: "push:ctl:a:1", Envelope: "{}", Subscribers: 1, Connections: 1}}}, d.err
}

func (d *redisDouble) Unblock(_ context.Context, user string) (bool, error) {
	d.freed = append(d.freed, user)
	return true, d.err
}

// desk is a console with a stand-in for Redis.
type desk struct {
	*door
	redis   *redisDouble
	console *Console
	acted   []string
}

func newDesk(token secret.Text, change func(*Options)) *desk {
	d := &desk{redis: &redisDouble{}}
	held, _ := presence.ParseUUID(here)
	d.console = &Console{
		Pod: "a:1", Version: "v1", Keys: presence.NewKeys("push:"), Lease: 10 * time.Second, TTL: 90 * time.Second, Auth: "none", CLI: func() string { return "redis-cli -p 6380" },
		Clients: func() (string, bool) { return "127.0.0.1:8080", false },
		Sources: Sources{
			Conn: func() conn.Stats {
				return conn.Stats{Open: 3, Handshakes: map[int]uint64{101: 5, 503: 2}, Written: 7, Dropped: 1}
			},
			Hub:  func() hub.Stats { return hub.Stats{EnvelopesOK: 4, EnvelopesBad: 1} },
			Pods: func() presence.PodsStats { return presence.PodsStats{RTT: 1500 * time.Microsecond} },
		},
		Producer: d.redis,
		Address: func(u presence.UUID) (netip.Addr, bool) {
			return netip.MustParseAddr("192.0.2.7"), u == held
		},
		BadEnvelopes: func() []hub.BadEnvelope { return []hub.BadEnvelope{{At: 5, Reason: "no target", Bytes: 9}} },
		Acted:        func(what, whom string, _ netip.Addr) { d.acted = append(d.acted, what+" "+whom) },
	}
	o := Options{
		Listen: "127.0.0.1:9090", Token: token, Registry: prometheus.NewRegistry(), Console: d.console,
		Problems: func() []hub.Problem { return []hub.Problem{{Name: "claim", Reason: "why"}} },
	}
	if change != nil {
		change(&o)
	}
	d.door = &door{gate: newGate(o, routes)}
	return d
}

// post sends JSON, and reads the answer's.
func (d *desk) post(t *testing.T, path, body string, lines ...string) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Host = "127.0.0.1:9090"
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	var said map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &said)
	return w.Code, said
}

func TestTheConsoleIsBehindTheGate(t *testing.T) {
	d := newDesk(testToken, func(o *Options) {
		o.Console.Demo = true
		o.Config = func() any { return "c" }
	})
	acts := 0
	for pattern, a := range d.access {
		method, path, _ := strings.Cut(pattern, " ")
		if !strings.HasPrefix(path, "/console/") && path != "/demo" && path != "/config" && path != "/{$}" || a == open {
			continue
		}
		if w := d.ask(method, strings.TrimSuffix(path, "{$}")); w.Code != http.StatusUnauthorized {
			t.Errorf("%s without the token: %d", pattern, w.Code)
		}
		if a != acting {
			continue
		}
		acts++
		for _, foreign := range []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: http://127.0.0.1:8080"} {
			if status, _ := d.post(t, path, `{"user":"alice","data":"1"}`, bearer, foreign); status != http.StatusForbidden {
				t.Errorf("%s for a page of another origin (%s): %d", pattern, foreign, status)
			}
		}
		if w := d.ask("GET", path, bearer); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
	if acts != 3 || len(d.redis.pushed)+len(d.redis.kicked)+len(d.redis.freed) > 0 {
		t.Errorf("%d paths act; done: %+v", acts, d.redis)
	}
}

func TestPagesHaveNothingInlineAndAStrictPolicy(t *testing.T) {
	d := newDesk(testToken, func(o *Options) { o.Console.Demo = true })
	inline := regexp.MustCompile(`(?i)<style|style=|\son[a-z]+=|javascript:|<script[^>]*>[^<]`)
	for path, connect := range map[string]string{"/": "ws://127.0.0.1:8080", "/demo": "ws://127.0.0.1:8080 ws://127.0.0.1:* ws://localhost:*"} {
		w := d.ask("GET", path, bearer)
		want := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' " + connect +
			"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
		if got := w.Header().Get("Content-Security-Policy"); got != want || w.Code != 200 {
			t.Errorf("%s: %d, the policy is %s, want %s", path, w.Code, got, want)
		}
		if found := inline.FindString(w.Body.String()); found != "" {
			t.Errorf("%s: %q stands inline", path, found)
		}
		for _, m := range regexp.MustCompile(`(?:src|href)="(/console/[^"]+)"`).FindAllStringSubmatch(w.Body.String(), -1) {
			if w := d.ask("GET", m[1]); w.Code != 200 || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s needs %s: %d", path, m[1], w.Code)
			}
		}
	}
	form := d.ask("GET", "/")
	if found := inline.FindString(form.Body.String()); found != "" || form.Code != 401 {
		t.Errorf("the form: %d, %q stands inline", form.Code, found)
	}
}

func TestThePolicyNamesWhereClientsConnect(t *testing.T) {
	for _, c := range []struct {
		listen string
		tls    bool
		host   string
		want   string
	}{
		{"0.0.0.0:8080", false, "10.1.2.3:9090", " ws://10.1.2.3:8080;"},
		{"[::]:8443", true, "pod.localhost:9090", " wss://pod.localhost:8443;"},
		{"10.0.0.1:8080", false, "127.0.0.1:9090", " ws://10.0.0.1:8080;"},
		{"[::]:8080", false, "[::1]:9090", " ws: wss:;"},
		{"0.0.0.0:8080", false, "a;script-src *", " ws: wss:;"},
	} {
		d := newDesk(testToken, func(o *Options) {
			o.Listen = ":9090"
			o.Console.Clients = func() (string, bool) { return c.listen, c.tls }
		})
		w := d.ask("GET", "/", bearer, "Host: "+c.host)
		if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, "connect-src 'self'"+c.want) {
			t.Errorf("%+v: %d %s", c, w.Code, got)
		}
	}
}

func TestWhatThePagesNeedToKnow(t *testing.T) {
	for control, closes := range map[bool]string{false: "push:pod:ADDRESS", true: "push:ctl:ADDRESS"} {
		d := newDesk("", func(o *Options) {
			o.Console.Control = control
			o.Console.Clients = func() (string, bool) { return "0.0.0.0:8080", true }
		})
		var said map[string]any
		w := d.ask("GET", "/console/info")
		if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		delete(said, "bounds")
		got, _ := json.Marshal(said)
		want := `{"auth":"none","cli":"redis-cli -p 6380","clients":{"host":"","path":"/ws","port":"8080","scheme":"wss"},"demo":false,"keys":{"all":"push:all","block":"push:block:{USER}","close":"` + closes +
			`","pod":"push:pod:ADDRESS","pods":"push:pods","user":"push:user:{USER}"},"pod":"a:1","version":"v1"}`
		if string(got) != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestAUsersConnections(t *testing.T) {
	d := newDesk("", nil)
	w := d.ask("GET", "/console/user?id=alice")
	const want = `{"block":{"lasts_ms":60000,"reason":"spam"},"connections":[` +
		`{"uuid":"` + here + `","pod":"a:1","channel":"push:pod:a:1","since":1687000000000,"expires":60000,"self":true,"address":"192.0.2.7","seen":30000},` +
		`{"uuid":"` + there + `","pod":"b:1","channel":"push:pod:b:1","since":1687000000001,"self":false}],"key":"push:user:{alice}","user":"alice"}`
	if got := strings.TrimSpace(w.Body.String()); got != want || w.Code != 200 {
		t.Errorf("%d %s, want %s", w.Code, got, want)
	}
	if w := d.ask("GET", "/console/user?id=bob"); strings.TrimSpace(w.Body.String()) != `{"connections":[],"key":"push:user:{bob}","user":"bob"}` {
		t.Errorf("nobody: %s", w.Body)
	}
	for _, bad := range []string{"", "?id=", "?id=%7Dx", "?id=a%00"} {
		if w := d.ask("GET", "/console/user"+bad); w.Code != 400 {
			t.Errorf("%q: %d %s", bad, w.Code, w.Body)
		}
	}
	d.redis.err = errors.New("Redis is away")
	if w := d.ask("GET", "/console/user?id=alice"); w.Code != 502 || !strings.Contains(w.Body.String(), "Redis is away") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestPushesByTheConsole(t *testing.T) {
	d := newDesk("", nil)
	status, said := d.post(t, "/console/push", `{"user":"alice","data":"{\"a\": 1 }","id":"i","ttl_ms":500,"collapse":"c"}`)
	if status != 200 || said["addressed"] != 2.0 || len(said["sent"].([]any)) != 2 {
		t.Errorf("%d %v", status, said)
	}
	m := d.redis.pushed[0]
	pairs := strings.Join(m.Pairs, " ")
	if m.User != "alice" || m.Data != `{"a": 1 }` || !strings.Contains(pairs, "id i") || !strings.Contains(pairs, "collapse c") || !strings.Contains(pairs, "ttl 500") {
		t.Errorf("%+v", m)
	}
	if status, _ := d.post(t, "/console/push", `{"user":"alice","connections":["`+here+`"],"data":"1"}`); status != 200 || len(d.redis.pushed[1].Connections) != 1 {
		t.Errorf("%d %+v", status, d.redis.pushed)
	}
	for _, bad := range []string{``, `x`, `{"user":"alice","data":"{"}`, `{"user":"alice","data":{"a":1}}`, `{"usr":"alice","data":"1"}`, `{"user":"alice","data":"1"}x`, `{"connections":["` + strings.ToUpper(here[:34]) + `"],"data":"1"}`} {
		if status, said := d.post(t, "/console/push", bad); status != 400 || said["error"] == "" {
			t.Errorf("%s: %d %v", bad, status, said)
		}
	}
	if len(d.redis.pushed) != 2 || !slices.Equal(d.acted, []string{"push alice", "push alice"}) {
		t.Errorf("%+v; told of %q", d.redis.pushed, d.acted)
	}
	d.redis.err = errors.New("pushpod: no such thing")
	if status, said := d.post(t, "/console/push", `{"data":"1"}`); status != 400 || said["error"] != "pushpod: no such thing" {
		t.Errorf("bad input: %d %v", status, said)
	}
	d.redis.err = errors.New("NOPERM")
	if status, said := d.post(t, "/console/push", `{"all":true,"data":"1"}`); status != 502 || len(said["sent"].([]any)) != 2 {
		t.Errorf("what Redis refuses: %d %v", status, said)
	}
}

func TestKicksByTheConsole(t *testing.T) {
	d := newDesk("", nil)
	if status, said := d.post(t, "/console/kick", `{"user":"alice","block_ms":3600000,"reason":"spam"}`); status != 200 || said["closed"] != 1.0 || said["blocked_ms"] != 3600000.0 {
		t.Errorf("%d %v", status, said)
	}
	if status, _ := d.post(t, "/console/kick", `{"user":"alice","connection":"`+here+`"}`); status != 200 {
		t.Errorf("%d", status)
	}
	if status, said := d.post(t, "/console/unblock", `{"user":"alice"}`); status != 200 || said["was"] != true {
		t.Errorf("%d %v", status, said)
	}
	for _, bad := range []string{`{}`, `{"user":"}"}`, `{"user":"alice","connection":"x"}`, `{"user":"alice","block_ms":-1}`, `{"user":"alice","block_ms":1e300}`,
		`{"user":"alice","reason":"` + strings.Repeat("x", producer.MaxReason+1) + `"}`} {
		if status, _ := d.post(t, "/console/kick", bad); status != 400 {
			t.Errorf("%s: %d", bad, status)
		}
	}
	if want := []string{"alice  1h0m0s spam", "alice " + here + " 0s "}; !slices.Equal(d.redis.kicked, want) {
		t.Errorf("%q, want %q", d.redis.kicked, want)
	}
	if want := []string{"block alice", "kick alice", "kick alice", "unblock alice"}; !slices.Equal(d.acted, want) {
		t.Errorf("told of %q, want %q", d.acted, want)
	}
}

func TestTheFeedTellsOfThisPodAndOfAllAsRedisSays(t *testing.T) {
	d := newDesk("", nil)
	d.redis.pods = []presence.Pod{
		{Channel: "push:pod:a:1", Address: "a:1", Beat: 5, Age: time.Second, Info: presence.Info{Connections: 3, Version: "v1", Started: 7}},
		{Channel: "push:pod:b:1", Address: "b:1", Beat: 5, Age: time.Minute},
	}
	server := httptest.NewServer(d)
	defer server.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var readers []*bufio.Reader
	for range 2 {
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/console/events", nil)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if kind := answer.Header.Get("Content-Type"); kind != "text/event-stream" {
			t.Errorf("it is %s", kind)
		}
		readers = append(readers, bufio.NewReader(answer.Body))
	}
	for _, events := range readers {
		pod, pods := next(t, events, "pod"), next(t, events, "pods")
		for _, part := range []string{`"ready":false`, `"name":"claim"`, `"connections":3`, `"accepted":5`, `"refused":2`, `"written":7`, `"lost":1`, `"bad":1`, `"redis_rtt_ms":1.5`} {
			if !strings.Contains(pod, part) {
				t.Errorf("no %s in %s", part, pod)
			}
		}
		for _, part := range []string{`"address":"a:1"`, `"state":"alive","self":true`, `"state":"dead","self":false`} {
			if !strings.Contains(pods, part) {
				t.Errorf("no %s in %s", part, pods)
			}
		}
	}
}

func TestRedisIsAskedOnceForAllViewers(t *testing.T) {
	d := newDesk("", nil)
	f := newFeed(d.console, Options{}, nil)
	for _, c := range []struct{ read, asked int }{{-1000, 1}, {1000, 1}, {-1000, 2}} { // seconds from now; a clock that stands still
		f.read = time.Now().Add(time.Duration(c.read) * time.Second)
		if f.all(t.Context()); d.redis.asked != c.asked {
			t.Errorf("asked %d times, want %d", d.redis.asked, c.asked)
		}
	}
	d.redis.err = errors.New("Redis is away")
	f.read = time.Time{}
	if v := f.all(t.Context()); v.Error != "Redis is away" || v.Pods == nil {
		t.Errorf("%+v", v)
	}
}

func next(t *testing.T, events *bufio.Reader, name string) (data string) {
	t.Helper()
	for found := false; ; {
		line, err := events.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if found && strings.HasPrefix(line, "data: ") {
			return line
		}
		if line == "event: "+name+"\n" {
			found = true
		}
	}
}

func TestViewersAreBounded(t *testing.T) {
	f := newFeed(&Console{}, Options{}, nil)
	for range maxViewers {
		f.viewers <- struct{}{}
	}
	w := httptest.NewRecorder()
	if f.events(w, httptest.NewRequest(http.MethodGet, "/console/events", nil)); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestWhatIsNotThereIsNotShown(t *testing.T) {
	d := newDesk("", nil)
	if w := d.ask("GET", "/"); strings.Contains(w.Body.String(), "/demo") || strings.Contains(w.Body.String(), "#config") || strings.Contains(w.Body.String(), "/logout") {
		t.Errorf("%s", w.Body)
	}
	if w := d.ask("GET", "/demo"); w.Code != 404 {
		t.Errorf("/demo: %d", w.Code)
	}
	d = newDesk("", func(o *Options) {
		o.Console.Demo = true
		o.Config = func() any { return map[string]string{"file": "f"} }
	})
	if w := d.ask("GET", "/"); !strings.Contains(w.Body.String(), "/demo") || !strings.Contains(w.Body.String(), "#config") {
		t.Errorf("%s", w.Body)
	}
	if w := d.ask("GET", "/config"); w.Code != 200 || !strings.Contains(w.Body.String(), `"file":"f"`) {
		t.Errorf("/config: %d %s", w.Code, w.Body)
	}
	if w := d.ask("GET", "/console/bad"); strings.TrimSpace(w.Body.String()) != `[{"at":5,"reason":"no target","bytes":9}]` {
		t.Errorf("/console/bad: %s", w.Body)
	}
}
