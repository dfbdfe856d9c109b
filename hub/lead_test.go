package hub

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"pushpod/internal/redistest"
	"pushpod/redisconn"
)

// refusal is what Redis says itself.
type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

var _ redis.Error = refusal("")

func TestWhoHearsTellsWhereTheAddressLeads(t *testing.T) {
	a, b, nameless := redisconn.Server{ID: "a"}, redisconn.Server{ID: "b"}, redisconn.Server{}
	for name, c := range map[string]struct {
		old, now  redisconn.Server
		heard     int64
		err       error
		elsewhere bool
		failed    bool
	}{
		"another server, where nobody hears":       {a, b, 0, nil, true, false},
		"another name, and the subscription hears": {a, b, 1, nil, false, false},
		"no name, and nobody hears":                {nameless, nameless, 0, nil, true, false},
		"no name, and the subscription hears":      {nameless, nameless, 1, nil, false, false},
		"another server refuses PUBLISH":           {a, b, 0, refusal("NOPERM"), true, false},
		"another server does not answer PUBLISH":   {a, b, 0, io.EOF, true, false},
		"no name, and PUBLISH is refused":          {nameless, nameless, 0, refusal("NOPERM"), false, false},
		"no name, and PUBLISH is not answered":     {nameless, nameless, 0, io.EOF, false, true},
		"a name that was not told before":          {nameless, b, 0, nil, true, false},
		"PUBLISH waits, and the name is not told":  {a, nameless, 0, io.EOF, false, true},
	} {
		var l lead
		elsewhere, err := l.judge(c.old, c.now, c.heard, c.err)
		if elsewhere != c.elsewhere || (err != nil) != c.failed {
			t.Errorf("%s: %v, %v; want %v", name, elsewhere, err, c.elsewhere)
		}
	}
}

// Some proxies answer PUBLISH with 0, whoever hears: to subscribe again does not help, so
// it is done a few times only.
func TestAReplyThatIsAlways0TellsNothing(t *testing.T) {
	var l lead
	given := 0
	for range 20 {
		elsewhere, err := l.judge(redisconn.Server{}, redisconn.Server{}, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if elsewhere {
			given++
		}
	}
	if given != lookMost-1 {
		t.Errorf("%d subscriptions were given up, want %d", given, lookMost-1)
	}
	if l.judge(redisconn.Server{}, redisconn.Server{}, 1, nil); l.uncounted {
		t.Error("a reply that counts is not believed again")
	}
	if elsewhere, _ := l.judge(redisconn.Server{}, redisconn.Server{}, 0, nil); !elsewhere {
		t.Error("nor is the next one")
	}
}

// Whole pods follow in e2e. Here the subscription's way alone leads elsewhere.
func TestASubscriptionIsGivenUpWhereItsAddressLeadsElsewhere(t *testing.T) {
	var log logLines
	p := startPod(t, set{hub: func(o *Options) { o.Log = zerolog.New(&log) }})
	c := p.connect("alice")
	other := redistest.Start(t)
	p.feed.Lead(other.Addr())
	p.eventually("the pod is subscribed at the other server", func() bool {
		return other.CLI("PUBSUB", "NUMSUB", p.channel) == p.channel+"\n1"
	})
	if !strings.Contains(log.String(), errElsewhere.Error()) {
		t.Error(log.String())
	}
	p.feed.Lead(p.redis.Addr())
	p.eventually("and back", func() bool { return p.redis.CLI("PUBSUB", "NUMSUB", p.channel) == p.channel+"\n1" })
	p.wantReady()
	p.publish(`{"user":"alice","data":1}`)
	c.want("1")
}

func TestLooksThatFailMakeThePodNotReady(t *testing.T) {
	p := startPod(t, set{})
	c := p.connect("alice")
	p.feed.Lead("127.0.0.1:1")
	p.eventually("not ready", func() bool { return p.has("endpoint") })
	p.publish(`{"user":"alice","data":1}`)
	c.want("1")
	p.feed.Lead(p.redis.Addr())
	p.wantReady()
	if got := p.Hub.Stats().Gaps; got != 0 {
		t.Errorf("%d gaps", got)
	}
	// Who is full says so himself: the subscription is well.
	if err := p.admin.ConfigSet(t.Context(), "maxclients", "1").Err(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * lookFirst)
	if p.has("endpoint") {
		t.Error("not ready because of maxclients")
	}
	if err := p.admin.ConfigSet(t.Context(), "maxclients", "1000").Err(); err != nil {
		t.Fatal(err)
	}
}

func TestAPodLooksNotTooOften(t *testing.T) {
	for probe, want := range map[time.Duration]time.Duration{10 * time.Millisecond: lookFirst, 500 * time.Millisecond: 2 * time.Second, 3 * time.Second: lookLast, time.Minute: lookLast} {
		h := &Hub{opts: Options{Redis: Redis{Probe: probe}}}
		for range 100 {
			if got := h.lookWait(); got > want || got < want*3/4 {
				t.Fatalf("redis.probe %v: looks after %v, want up to %v", probe, got, want)
			}
		}
	}
	if errors.Is(errMoved, errElsewhere) {
		t.Error("one error for both")
	}
}
