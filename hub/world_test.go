package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	client "pushpod/clients/go"
	"pushpod/conn"
	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

// TestMain fails where a goroutine of this module is left behind.
func TestMain(m *testing.M) {
	if addr := os.Getenv(bystanderOf); addr != "" {
		standBy(addr)
		return
	}
	code := m.Run()
	for end := time.Now().Add(5 * time.Second); code == 0; time.Sleep(20 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		left := ""
		for i, g := range strings.Split(string(buf), "\n\n") {
			if i > 0 && strings.Contains(g, "pushpod/") { // the first one is this one
				left += g + "\n\n"
			}
		}
		if left == "" {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+left)
			code = 1
		}
	}
	os.Exit(code)
}

const (
	patience    = 20 * time.Second // until a test that waits gives up
	testPod     = "10.0.0.1:8080"
	testTimeout = 2 * time.Second // redis.timeout
	testProbe   = 200 * time.Millisecond
)

// pod is a hub with all that is around it: a redis-server, a conn.Server, and
// proxies on the ways to Redis.
type pod struct {
	*Hub
	t       *testing.T
	keys    presence.Keys
	channel string
	server  *conn.Server
	redis   *redistest.Server
	admin   *redis.Client    // not by a proxy
	feed    *redistest.Proxy // before the subscription
	once    *redistest.Proxy // before probes and uplink
	clients []*wsClient
	stop    func()

	// What is left in Redis is not looked at, where a test has put it there.
	untidy bool
}

// set changes how a pod is made.
type set struct {
	redis    []string // arguments of the server
	hub      func(*Options)
	conn     func(*conn.Options)
	presence func(*presence.Options)
}

// startPod starts a pod, waits until it is ready, and checks what it leaves
// behind when the test ends.
func startPod(t *testing.T, s set) *pod {
	t.Helper()
	p := &pod{t: t, keys: presence.NewKeys("push:"), redis: redistest.Start(t, s.redis...)}
	p.channel = p.keys.PodChannel(testPod)
	p.admin = p.redis.Client()
	p.feed, p.once = redistest.NewProxy(t, p.redis.Addr()), redistest.NewProxy(t, p.redis.Addr())
	open := func(addr string) *redisconn.Redis {
		r := redisconn.Open(redisconn.Options{Addresses: []string{addr}, Timeout: testTimeout, NoRetry: true})
		t.Cleanup(r.Close)
		return r
	}
	direct := open(p.redis.Addr())
	pods := presence.NewPods(presence.PodsOptions{Redis: direct, Keys: p.keys, Pod: testPod, Timeout: testTimeout, Heartbeat: testProbe, Log: zerolog.Nop()})
	po := presence.Options{
		Redis: direct, Keys: p.keys, Pod: testPod, Timeout: testTimeout, Pods: pods, Log: zerolog.Nop(),
		Own:     func(user string) int { return p.CountUser(user) },
		Refused: func(e presence.Entry, r *presence.Refused) { p.Revoke(e, r) },

		Replaced: func(user string, old presence.Located) (string, []byte) { return p.Replacement(user, old) },
	}
	if s.presence != nil {
		s.presence(&po)
	}
	store := presence.NewStore(po)
	ho := Options{
		Pod: testPod, Keys: p.keys, Presence: store, Pods: pods,
		Redis: Redis{
			Nodes:       open(p.feed.Addr()),
			MaxEnvelope: 1 << 20, Timeout: testTimeout, Probe: testProbe,
		},
		Uplink: open(p.once.Addr()), Settings: Settings{UplinkMaxLength: 100_000}, Log: zerolog.Nop(),
	}
	if s.hub != nil {
		s.hub(&ho)
	}
	p.Hub = New(ho)
	co := conn.Options{Admitter: p.Hub, Loops: 2, Now: pods.NowMs, Settings: conn.Settings{Renew: 30 * time.Second, QueueBytes: 8 << 20}}
	if s.conn != nil {
		s.conn(&co)
	}
	p.server = conn.New(co)
	p.Attach(p.server)
	p.spare.Store(runtime.GOMAXPROCS(0) > 1)
	if err := p.server.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := p.server.Serve(); err != nil {
		t.Fatal(err)
	}
	hubCtx, stopHub := context.WithCancel(context.Background())
	storeCtx, stopStore := context.WithCancel(context.Background())
	var hubRuns, storeRuns sync.WaitGroup
	hubRuns.Go(func() {
		if err := p.Run(hubCtx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	storeRuns.Go(func() { _ = store.Run(storeCtx) })
	p.stop = sync.OnceFunc(func() {
		stopHub()
		hubRuns.Wait()
		p.server.Close()
		stopStore()
		storeRuns.Wait()
	})
	t.Cleanup(p.end)
	p.wantReady()
	return p
}

// end closes all clients and the pod, and checks that nothing is left.
func (p *pod) end() {
	p.t.Helper()
	defer p.stop()
	for _, c := range p.clients {
		c.close()
	}
	if p.t.Failed() {
		return
	}
	p.eventually("all connections have ended", func() bool { return p.server.Len() == 0 && p.Len() == 0 })
	if !p.untidy {
		p.eventually("all entries are removed", func() bool {
			left, err := p.admin.Keys(context.Background(), "push:user:*").Result()
			return err == nil && len(left) == 0
		})
	}
	p.stop()
	if err := p.ConsistencyCheck(); err != nil {
		p.t.Error(err)
	}
	g := p.gate
	if g.total != 0 || len(g.perIP) != 0 {
		p.t.Errorf("the gate still counts %d connections, %d addresses", g.total, len(g.perIP))
	}
	if p.registry.byUser.n != 0 {
		p.t.Errorf("%d users are left in the registry", p.registry.byUser.n)
	}
	s, c := p.Hub.Stats(), p.server.Stats()
	var ended uint64
	for _, n := range c.Ended {
		ended += n
	}
	if s.UplinkWaiting != 0 || c.QueuedBytes != 0 || c.QueuedConns != 0 || c.Open != 0 || c.Pending != 0 {
		p.t.Errorf("left: %d requests, %+v", s.UplinkWaiting, c)
	}
	if ended < c.Handshakes[http.StatusSwitchingProtocols] {
		p.t.Errorf("%d connections were accepted, %d have ended", c.Handshakes[http.StatusSwitchingProtocols], ended)
	}
}

func (p *pod) eventually(what string, f func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("never: %s; problems %v, %+v", what, p.Problems(), p.Hub.Stats())
		}
	}
}

func (p *pod) wantReady() {
	p.t.Helper()
	p.eventually("ready", func() bool { return len(p.Problems()) == 0 })
}

// has reports whether the pod has this problem.
func (p *pod) has(name string) bool {
	for _, problem := range p.Problems() {
		if problem.Name == name {
			return true
		}
	}
	return false
}

// publish publishes on the pod's own channel.
func (p *pod) publish(envelope string) { p.t.Helper(); p.publishOn(p.channel, envelope) }

// publishAll publishes on the channel of all pods.
func (p *pod) publishAll(envelope string) { p.t.Helper(); p.publishOn(p.keys.AllChannel(), envelope) }

func (p *pod) publishOn(channel, envelope string) {
	p.t.Helper()
	if err := p.admin.Publish(context.Background(), channel, envelope).Err(); err != nil {
		p.t.Fatal(err)
	}
}

// wantBooks waits until so many deliveries, misses and bad envelopes are
// counted since the pod's start, and holds that it stays so.
func (p *pod) wantBooks(written, misses, bad int) {
	p.t.Helper()
	sum := func() string {
		c, h := p.server.Stats(), p.Hub.Stats()
		return fmt.Sprint(c.Written+c.Expired+c.Collapsed+c.Dropped+c.Closed, " ", h.Misses, " ", h.EnvelopesBad)
	}
	want := fmt.Sprint(written, " ", misses, " ", bad)
	for end := time.Now().Add(patience); sum() != want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("books (deliveries, misses, bad) are %s, want %s", sum(), want)
		}
	}
}

// entries is what the user's hash in Redis holds.
func (p *pod) entries(user string) map[string]string {
	p.t.Helper()
	m, err := p.admin.HGetAll(context.Background(), p.keys.User(user)).Result()
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

// stale puts an entry of this pod in Redis which it does not hold.
func (p *pod) stale(user string) (uuid string) {
	p.t.Helper()
	uuid = presence.FormatUUID(presence.NewUUID(time.Now().UnixMilli()))
	if err := p.admin.HSet(context.Background(), p.keys.User(user), uuid, p.channel).Err(); err != nil {
		p.t.Fatal(err)
	}
	return uuid
}

// logLines keeps what is logged, from whichever goroutine.
type logLines struct {
	mu   sync.Mutex // protects following
	text strings.Builder
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// count is how often this has been logged.
func (l *logLines) count(text string) int { return strings.Count(l.String(), text) }

// wsClient is one end user's connection.
type wsClient struct {
	*client.Conn
	t    *testing.T
	uuid string
}

func (p *pod) dial(user string, header http.Header) (*client.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return client.Dial(ctx, client.Options{URL: "ws://" + p.server.Addr().String() + conn.Path, User: user, Header: header})
}

// connect opens a connection and reads its welcome.
func (p *pod) connect(user string) *wsClient {
	p.t.Helper()
	return p.welcomed(user, user, nil)
}

// welcomed connects with a header, and holds whose connection it is.
func (p *pod) welcomed(asked, user string, h http.Header) *wsClient {
	p.t.Helper()
	raw, err := p.dial(asked, h)
	if err != nil {
		p.t.Fatalf("%s can't connect: %v", asked, err)
	}
	return p.greeted(raw, user)
}

// greeted reads the welcome of a connection of the user.
func (p *pod) greeted(raw *client.Conn, user string) *wsClient {
	p.t.Helper()
	c := &wsClient{Conn: raw, t: p.t}
	p.clients = append(p.clients, c)
	f := c.next("the welcome")
	if f.Type != "welcome" || f.User != user {
		p.t.Fatalf("the first frame is %s, want the welcome of %s", f.Raw, user)
	}
	c.uuid = f.UUID
	return c
}

// wantRefused holds that a handshake gets this status, and that a plain GET
// gets the same: browsers hide the first one.
func (p *pod) wantRefused(user string, status int) {
	p.t.Helper()
	p.wantHandshakeRefused(user, status)
	if got := p.get(user); got != status {
		p.t.Fatalf("a plain GET gets %d, the handshake %d", got, status)
	}
}

func (p *pod) wantHandshakeRefused(user string, status int) {
	p.t.Helper()
	c, err := p.dial(user, nil)
	if err == nil {
		c.Close(0, "")
	}
	var refused *client.HandshakeError
	if !errors.As(err, &refused) || refused.Status != status {
		p.t.Fatalf("handshake: %v, want status %d", err, status)
	}
}

// get is the status of a plain GET of the endpoint.
func (p *pod) get(user string) int {
	p.t.Helper()
	r, err := http.Get("http://" + p.server.Addr().String() + conn.Path + "?user=" + user)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Body.Close()
	return r.StatusCode
}

func (c *wsClient) close() { _ = c.Conn.Close(1000, "") }

func (c *wsClient) next(what string) client.Frame {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f, err := c.Next(ctx)
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
	return f
}

// want holds that the next frame is a push with this data.
func (c *wsClient) want(data string) {
	c.t.Helper()
	if f := c.next("a push of " + data); f.Type != "message" || string(f.Data) != data {
		c.t.Fatalf("got %s, want a message with %s", f.Raw, data)
	}
}

// wantClosed holds that nothing comes but the close frame.
func (c *wsClient) wantClosed(code int, reason string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f, err := c.Next(ctx)
	var closed *client.CloseError
	if !errors.As(err, &closed) || closed.Code != code || closed.Reason != reason {
		c.t.Fatalf("got %s, %v; want close %d %q", f.Raw, err, code, reason)
	}
}

func (c *wsClient) request(id, data string) {
	c.t.Helper()
	quoted, _ := json.Marshal(id)
	c.send(`{"type":"request","id":` + string(quoted) + `,"data":` + data + `}`)
}

func (c *wsClient) send(frame string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.SendText(ctx, []byte(frame)); err != nil {
		c.t.Fatal(err)
	}
}

// receipt reads the next receipt: its id, and "" or why it was rejected.
func (c *wsClient) receipt() (id, why string) {
	c.t.Helper()
	f := c.next("a receipt")
	if f.Type != "receipt" || (f.Status == "accepted") != (f.Error == "") {
		c.t.Fatalf("got %s, want a receipt", f.Raw)
	}
	return f.ID, f.Error
}
