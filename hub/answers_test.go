package hub

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"pushpod/conn"
	"pushpod/internal/redistest"
	"pushpod/presence"
	"pushpod/redisconn"
)

// What Redis answers in these states is no failure of the subscription: it goes on,
// what others publish arrives, and the pod says by Redis's own word what it can't do.
func TestWhatRedisRefusesEndsNoSubscription(t *testing.T) {
	t.Parallel()
	gone := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		redis   []string // arguments of the server
		begin   func(p *pod)
		end     func(p *pod)
		problem string // of which Redis's word is told
		word    string
		mute    bool // nobody can publish meanwhile
		deaf    bool // nor subscribe
	}{
		"it can't save": {
			redis: []string{"--dir", gone, "--save", "3600 1000000"},
			begin: func(p *pod) {
				if err := os.Remove(gone); err != nil {
					p.t.Fatal(err)
				}
				p.redis.CLI("BGSAVE")
				p.eventually("PING is refused", func() bool {
					out, _ := p.redis.TryCLI("PING")
					return strings.HasPrefix(out, "MISCONF")
				})
			},
			end:     func(p *pod) { p.redis.CLI("CONFIG", "SET", "stop-writes-on-bgsave-error", "no") },
			problem: "presence", word: "MISCONF",
		},
		"it is full": {
			begin:   func(p *pod) { p.redis.CLI("CONFIG", "SET", "maxmemory", "1") },
			end:     func(p *pod) { p.redis.CLI("CONFIG", "SET", "maxmemory", "0") },
			problem: "presence", word: "OOM",
		},
		"it is a replica now": {
			begin:   func(p *pod) { p.redis.CLI("REPLICAOF", "127.0.0.1", "1") },
			end:     func(p *pod) { p.redis.CLI("REPLICAOF", "NO", "ONE") },
			problem: "presence", word: "READONLY",
		},
		"it is a replica without its master": {
			redis:   []string{"--replica-serve-stale-data", "no", "--replica-read-only", "no"},
			begin:   func(p *pod) { p.redis.CLI("REPLICAOF", "127.0.0.1", "1") },
			end:     func(p *pod) { p.redis.CLI("REPLICAOF", "NO", "ONE") },
			problem: "presence", word: "MASTERDOWN",
		},
		"it is busy with a script": {
			redis: []string{"--lua-time-limit", "100"},
			begin: func(p *pod) {
				go p.redis.Client().Eval(context.Background(), "while true do end", nil) // ends with end
				p.eventually("it is busy", func() bool {
					out, _ := p.redis.TryCLI("PING")
					return strings.HasPrefix(out, "BUSY")
				})
			},
			end:     func(p *pod) { p.redis.CLI("SCRIPT", "KILL") },
			problem: "unproved", word: "BUSY", mute: true, deaf: true,
		},
		"the account may not publish": {
			begin:   func(p *pod) { p.redis.CLI("ACL", "SETUSER", "default", "-publish") },
			end:     func(p *pod) { p.redis.CLI("ACL", "SETUSER", "default", "+publish") },
			problem: "unproved", word: "NOPERM",
		},
		"the account may neither publish nor ping": {
			begin:   func(p *pod) { p.redis.CLI("ACL", "SETUSER", "default", "-publish", "-ping") },
			end:     func(p *pod) { p.redis.CLI("ACL", "SETUSER", "default", "+publish", "+ping") },
			problem: "unproved", word: "NOPERM",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPod(t, set{redis: x.redis, conn: func(o *conn.Options) { o.Settings.Renew = testProbe }})
			p.redis.CLI("ACL", "SETUSER", "other", "on", ">pass", "+@all", "~*", "&*")
			p.admin = p.redis.ClientAs("other", "pass")
			a := p.connect("alice")
			p.untidy = true // a renewal may come behind the removal

			x.begin(p)
			p.eventually("Redis's word is told", func() bool { return strings.Contains(p.reason(x.problem), x.word) })
			p.wantHandshakeRefused("bob", http.StatusServiceUnavailable)
			time.Sleep(testTimeout + 2*testProbe) // longer than a probe waits
			if !x.mute {
				p.publish(`{"user":"alice","data":1}`)
				a.want("1")
			}
			if gaps := p.Hub.Stats().Gaps; gaps != 0 || p.has("unsubscribed") {
				t.Errorf("%d gaps; problems %v", gaps, p.Problems())
			}
			lost := 0
			if !x.deaf { // who has lost the subscription all the same gets it again
				p.feed.Cut()
				p.eventually("it is subscribed again", func() bool { return p.Hub.Stats().Gaps == 1 && !p.has("unsubscribed") })
				p.publish(`{"user":"alice","data":2}`)
				a.want("2")
				lost = 1
			}
			x.end(p)
			p.wantReady()
			p.publish(`{"user":"alice","data":3}`)
			a.want("3")
			p.connect("bob")
			if s := p.Hub.Stats(); s.Gaps != uint64(lost) || s.ProbeFailures != 0 {
				t.Errorf("%d gaps, %d failed probes, want %d and none", s.Gaps, s.ProbeFailures, lost)
			}
		})
	}
}

// reason is what is told of a problem; "": there is none.
func (p *pod) reason(name string) string {
	for _, problem := range p.Problems() {
		if problem.Name == name {
			return problem.Reason
		}
	}
	return ""
}

func TestARedisThatLoadsIsSubscribedToAtOnce(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{
		redis: []string{"--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024"},
		conn:  func(o *conn.Options) { o.Settings.Renew = testProbe },
	})
	a := p.connect("alice")
	pipe := p.admin.Pipeline()
	for i := range 4000 {
		pipe.Set(context.Background(), fmt.Sprint("key", i), "a value of some length", 0)
	}
	if _, err := pipe.Exec(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.redis.CLI("SAVE")
	p.redis.Restart()
	p.eventually("Redis's word is told", func() bool { return strings.Contains(p.reason("presence"), "LOADING") })
	p.eventually("it is subscribed", func() bool { return !p.has("unsubscribed") && !p.has("unproved") })
	p.publish(`{"user":"alice","data":1}`)
	a.want("1")
	if out, _ := p.redis.TryCLI("GET", "key1"); !strings.HasPrefix(out, "LOADING") {
		t.Errorf("it does not load any more: %q", out)
	}
	p.redis.CLI("CONFIG", "SET", "key-load-delay", "0") // which is enough
	p.wantReady()
	p.eventually("presence is whole", func() bool { return p.entries("alice")[a.uuid] == p.channel })
	p.publish(`{"user":"alice","data":2}`)
	a.want("2")
	if gaps := p.Hub.Stats().Gaps; gaps != 1 {
		t.Errorf("%d gaps", gaps)
	}
}

// pauseWrites has Redis hold back what writes and what is published for so long, and
// publishes many messages meanwhile, which all arrive afterwards.
func pauseWrites(t *testing.T, pause time.Duration) {
	t.Helper()
	const messages = 200
	var log logLines
	p := startPod(t, set{hub: func(o *Options) { o.Log = zerolog.New(&log) }})
	a := p.connect("alice")
	patient := redis.NewClient(&redis.Options{Addr: p.redis.Addr(), ReadTimeout: pause + patience, MaxRetries: -1, Protocol: 2})
	defer patient.Close()
	ended := time.Now().Add(pause)
	p.redis.CLI("CLIENT", "PAUSE", fmt.Sprint(pause.Milliseconds()), "WRITE")
	published := make(chan error, 1)
	go func() {
		pipe := patient.Pipeline()
		for i := range messages {
			pipe.Publish(context.Background(), p.channel, fmt.Sprintf(`{"user":"alice","data":%d}`, i))
		}
		_, err := pipe.Exec(context.Background())
		published <- err
	}()
	p.eventually("not ready", func() bool { return strings.Contains(p.reason("unproved"), "no answer within") })
	p.wantRefused("bob", http.StatusServiceUnavailable)
	for time.Now().Before(ended.Add(-testTimeout)) {
		time.Sleep(testProbe)
		if len(p.Problems()) == 0 || p.has("unsubscribed") {
			t.Fatalf("problems %v", p.Problems())
		}
	}
	for i := range messages {
		a.want(fmt.Sprint(i))
	}
	if err := <-published; err != nil {
		t.Error(err)
	}
	p.wantReady()
	if s := p.Hub.Stats(); s.Gaps != 0 || s.ProbeFailures != 0 {
		t.Errorf("%d gaps, %d failed probes", s.Gaps, s.ProbeFailures)
	}
	p.eventually("it is told that it is over", func() bool { return log.count("takes the pod's probe again") == 1 })
	if told := log.count("does not take the pod's probe"); told != 1 {
		t.Errorf("told %d times", told)
	}
}

func TestWhatIsPublishedWhileWritesArePausedArrives(t *testing.T) {
	t.Parallel()
	pauseWrites(t, 3*testTimeout)
}

func TestFaultsWritesPausedForLong(t *testing.T) {
	redistest.Faults(t)
	t.Parallel()
	pauseWrites(t, 20*time.Second)
}

// A pod without a right that it has no use for misses nothing.
func TestAPodWithoutPINGIsReady(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{
		redis: []string{"--user", "default", "on", "nopass", "+@all", "-ping", "~*", "&*"},
		hub:   func(o *Options) { o.Redis.Rights = testProbe },
	})
	a := p.connect("alice")
	p.publish(`{"user":"alice","data":1}`)
	a.want("1")
	time.Sleep(2 * testProbe)
	if len(p.Problems()) > 0 {
		t.Errorf("%v", p.Problems())
	}
}

// Whether something will be refused is known before the first client is.
func TestAPodIsNotReadyBeforeItKnowsWhatIsRefused(t *testing.T) {
	t.Parallel()
	h := New(Options{
		Pod: testPod, Keys: presence.NewKeys("push:"), Presence: &failingPresence{}, Pods: &failingPods{}, Log: zerolog.Nop(),
		Redis: Redis{Nodes: redisconn.Open(redisconn.Options{Addresses: []string{"127.0.0.1:1"}})},
	})
	h.status.update(func(s *status) { s.claimed, s.subscribed, s.proved = true, true, true })
	if list := h.Problems(); len(list) != 1 || list[0].Name != "rights" || h.open() == nil {
		t.Errorf("problems %v, refused with %v", list, h.open())
	}
}
