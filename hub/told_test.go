package hub

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/rs/zerolog"

	"pushpod/conn"
	"pushpod/presence"
)

func TestTheLogTellsWhoCameAndWent(t *testing.T) {
	t.Parallel()
	var debug, info logLines
	for log, level := range map[*logLines]zerolog.Level{&debug: zerolog.DebugLevel, &info: zerolog.InfoLevel} {
		p := startPod(t, set{hub: func(o *Options) { o.Log = zerolog.New(log).Level(level); o.Limits.Connections = 1 }})
		a := p.connect("alice")
		p.wantHandshakeRefused("bob", http.StatusServiceUnavailable)
		refused := `"user":"bob","status":503,"reason":"this pod holds as many connections as it may","origin":"","address":"127.0.0.1","message":"handshake refused"`
		p.eventually("the refusal is logged", func() bool { return log.count(refused) == 1 })
		p.Hub.registry.mu.Lock()
		s := p.Hub.registry.uuid(parsed(t, a.uuid))
		p.Hub.registry.mu.Unlock()
		s.Slow(1000, conn.DropNewest)
		slow := `"user":"alice","uuid":"` + a.uuid + `","address":"127.0.0.1","waiting_bytes":1000,"policy":"drop_newest","message":"slow consumer"`
		p.eventually("a slow consumer is logged", func() bool { return log.count(slow) == 1 })
		a.close()
		p.eventually("she has gone", func() bool { return p.Hub.Len() == 0 })
		want := map[bool]int{true: 1}[level == zerolog.DebugLevel]
		opened := `"user":"alice","uuid":"` + a.uuid + `","address":"127.0.0.1","message":"connection opened"`
		closed := `"user":"alice","uuid":"` + a.uuid + `","reason":"peer","message":"connection closed"`
		p.eventually("opened and closed are logged", func() bool { return log.count(opened) == want && log.count(closed) == want })
	}
}

func parsed(t *testing.T, text string) presence.UUID {
	t.Helper()
	u, ok := presence.ParseUUID([]byte(text))
	if !ok {
		t.Fatalf("%q is no UUID", text)
	}
	return u
}

// While a pod is without its subscription that is said once, however often it tries.
func TestTheLogTellsThatTheSubscriptionIsBack(t *testing.T) {
	t.Parallel()
	var log logLines
	p := startPod(t, set{hub: func(o *Options) { o.Log = zerolog.New(&log) }})
	p.connect("alice")
	p.eventually("ready is logged", func() bool { return log.count(`"message":"the pod is ready"`) == 1 })
	p.feed.Refuse(true)
	p.eventually("not ready is logged", func() bool { return log.count(`"message":"the pod is not ready"`) > 0 })
	p.feed.Refuse(false)
	p.wantReady()
	back := regexp.MustCompile(`"away_ms":[1-9][0-9]*,"failures":[1-9][0-9]*,"entries":1,"message":"subscribed again`)
	p.eventually("it is back", func() bool { return back.MatchString(log.String()) })
	p.eventually("ready is logged again", func() bool {
		return regexp.MustCompile(`"not_ready_ms":[1-9][0-9]*,"message":"the pod is ready"`).MatchString(log.String())
	})
	if lost, tries := log.count("subscription lost"), log.count("can't subscribe"); lost != 1 || tries > 1 {
		t.Errorf("lost is logged %d times, and %d attempts", lost, tries)
	}
	if first, again := log.count(`"message":"subscribed"`), log.count("subscribed again;"); first != 1 || again != 1 {
		t.Errorf("subscribed is logged %d times, subscribed again %d times", first, again)
	}
}

// pushpod_not_ready has each reason.
func TestProblemNamesAreAll(t *testing.T) {
	names := map[string]bool{}
	for _, file := range []string{"status.go", "lead.go"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?:Problem\{|add\()"(\w+)"`).FindAllStringSubmatch(string(b), -1) {
			names[m[1]] = true
			if !slices.Contains(ProblemNames(), m[1]) {
				t.Errorf("%s: %q is not in ProblemNames", file, m[1])
			}
		}
	}
	for _, name := range ProblemNames() {
		if !names[name] {
			t.Errorf("nothing is called %q", name)
		}
	}
}
