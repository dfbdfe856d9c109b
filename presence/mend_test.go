package presence

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"

	"pushpod/redisconn"
)

// aliveNode is a node whose Redis answers, with an error to HSET where there is one.
func aliveNode(t *testing.T, o Options) (n *node, refuse *atomic.Pointer[string]) {
	t.Helper()
	m := miniredis.RunT(t)
	refuse = new(atomic.Pointer[string])
	m.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		text := refuse.Load()
		if cmd != "HSET" || text == nil {
			return false
		}
		c.WriteError(*text)
		return true
	})
	c := redisconn.NewClient(redisconn.Options{Addresses: []string{m.Addr()}, NoRetry: true})
	t.Cleanup(func() { _ = c.Close() })
	o.Redis, o.Keys, o.Pod = redisconn.Of(c), NewKeys("push:"), "a:1"
	return NewStore(o).routes.single, refuse
}

// aCleanSlate is a link on which all is well.
func aCleanSlate(l *link) bool {
	return l.failures == 0 && l.until == 0 && l.refusals == 0 && l.mendAt == 0 && l.kept == 0 && l.leaveAt == 0
}

func TestALinkThatIsMendedHasACleanSlate(t *testing.T) {
	for _, refused := range []bool{false, true} {
		n, _ := aliveNode(t, Options{})
		n.setExpiry(expiryFields)
		if refused {
			n.link.refused(n.now())
			n.link.refusedRemoval(n.now())
		} else {
			n.link.failed(n.now(), true)
		}
		n.away.Store(1)
		n.setErr(errors.New("lost"))
		if !n.mend(t.Context()) {
			t.Fatal("the turn may not go on")
		}
		if !aCleanSlate(&n.link) || n.err() != nil || n.away.Load() != 0 {
			t.Errorf("refused before: %v: %+v, %v, away %d", refused, n.link, n.err(), n.away.Load())
		}
		// While Redis refused everything it may have been asked for nothing.
		if unknown := n.expiry.mode == expiryUnknown; unknown != refused {
			t.Errorf("refused before: %v; how entries expire is asked again: %v", refused, unknown)
		}
		if !refused && n.link.settleAt == 0 {
			t.Error("the doubt never settles")
		}
	}
}

func TestARefusedTryIsToldOf(t *testing.T) {
	n, refuse := aliveNode(t, Options{})
	text := "OOM command not allowed"
	refuse.Store(&text)
	n.link.failed(n.now(), false)
	n.setErr(errors.New("lost"))
	if !n.mend(t.Context()) {
		t.Error("the turn may not go on, though Redis answers")
	}
	if n.link.failures != 0 || n.link.refusals != 1 || n.link.mendAt <= n.now() {
		t.Errorf("%+v", n.link)
	}
	if err := n.err(); err == nil || !strings.Contains(err.Error(), text) || n.count.errors.Load() != 1 {
		t.Errorf("Err = %v, %d errors", err, n.count.errors.Load())
	}
}

func TestATurnTriesALinkOnce(t *testing.T) {
	for what, prepare := range map[string]func(n *node){
		"writes failed":                   func(n *node) { n.setErr(errors.New("lost")) },
		"how entries expire is not known": func(n *node) {},
		"all is known":                    func(n *node) { n.expiry.mode = expiryFields },
	} {
		n := testNode(t, Options{Timeout: time.Second}) // where nobody answers, so nothing is sent
		prepare(n)
		n.q.renew(of("alice"), n.now())
		n.turn(t.Context(), n.now()+time.Second)
		if n.link.failures != 1 || n.link.refusals != 0 || n.count.errors.Load() != 1 || n.away.Load() <= int64(n.now()) {
			t.Errorf("%s: %+v, %d errors, away until %v", what, n.link, n.count.errors.Load(), n.away.Load())
		}
		if it := n.q.waiting[of("alice").UUID]; n.link.doubt || it == nil || it.sent {
			t.Errorf("%s: in doubt: %v, %+v waits", what, n.link.doubt, it)
		}
	}
}

func TestABatchThatIsAnsweredEndsWhatWasDoubted(t *testing.T) {
	n, _ := aliveNode(t, Options{Timeout: time.Minute})
	n.link.failedElsewhere()
	n.away.Store(1)
	for range 3 { // nothing is there to be renewed at first
		n.sweeper.repairs = []*repair{{user: "carol", kind: fixPersist}, {user: "dora", kind: fixPersist}}
		n.q.renew(of("alice"), n.now())
		n.q.renew(of("bob"), n.now())
		n.turn(t.Context(), n.now()+time.Minute)
	}
	if n.link.settleAt == 0 || n.away.Load() != 0 || n.count.renewed.Load() != 4 {
		t.Errorf("settles at %v, away until %v, %d renewed", n.link.settleAt, n.away.Load(), n.count.renewed.Load())
	}
	if len(n.batch.slots) != 2 {
		t.Errorf("%d slots for batches of 2", len(n.batch.slots))
	}
	if sum := time.Duration(n.count.latencySum.Load()); sum <= 0 || sum > n.now() {
		t.Errorf("the batches took %v, of %v", sum, n.now())
	}
}

// Redis has received the writes before it ends the connection: at one of them, or at a look-up behind them.
func TestABatchThatFailsOnceItIsSentMayBeInRedis(t *testing.T) {
	for _, last := range []string{"HSET", "GET"} {
		m := miniredis.RunT(t)
		m.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
			if cmd == last {
				c.Close()
			}
			return cmd == last
		})
		c := redisconn.NewClient(redisconn.Options{Addresses: []string{m.Addr()}, NoRetry: true})
		t.Cleanup(func() { _ = c.Close() })
		n := NewStore(Options{Redis: redisconn.Of(c), Keys: NewKeys("push:"), Pod: "a:1", Timeout: time.Minute}).routes.single
		_ = m.Set("push:block:{alice}", "spam")
		n.q.register(of("alice"), nil, n.now())
		n.turn(t.Context(), n.now()+time.Minute)
		if it := n.q.waiting[of("alice").UUID]; it == nil || !it.sent || !n.link.doubt {
			t.Errorf("%s: %+v waits, in doubt: %v", last, it, n.link.doubt)
		}
	}
}

func TestWhatRedisMayHaveIsRemembered(t *testing.T) {
	for _, before := range []bool{false, true} {
		for _, sent := range []bool{false, true} {
			n := testNode(t, Options{})
			n.q.register(of("alice"), nil, 0)
			n.gather()
			n.batch.items[0].sent = before
			n.linkFailed(errors.New("lost"), sent)
			if got := n.q.waiting[of("alice").UUID].sent; got != (before || sent) {
				t.Errorf("sent before: %v, and now: %v; remembered as %v", before, sent, got)
			}
		}
	}
}

// What is in the batch is tried again; what waits is given up after the second failure.
func TestWhatALinkThatFailsMeansForWhoWaits(t *testing.T) {
	lost := errors.New("lost")
	n := testNode(t, Options{})
	n.setExpiry(expiryFields)
	told := map[string]error{}
	register := func(user string) { n.q.register(of(user), func(r Registered) { told[user] = r.Err }, n.now()) }
	fail := func(sent bool) {
		n.linkFailed(lost, sent)
		n.batch.reset()
		n.callOutcomes()
	}
	register("batch")
	n.q.renew(of("renewed"), n.now())
	n.q.examineFor(&item{entry: of("examined"), op: registering, registered: func(r Registered) { told["examined"] = r.Err }})
	n.gather()
	register("waits")
	fail(true)
	if len(told) != 0 || n.q.joining.len() != 2 || n.q.staying.len() != 1 || n.q.exams.len() != 1 {
		t.Fatalf("after one failure: told %v; %d, %d and %d wait", told, n.q.joining.len(), n.q.staying.len(), n.q.exams.len())
	}
	if !n.q.waiting[of("batch").UUID].sent || n.q.waiting[of("waits").UUID].sent {
		t.Error("it is not known which registration Redis may have")
	}
	if n.expiry.mode != expiryUnknown || !errors.Is(n.err(), lost) || n.count.errors.Load() != 1 || !n.link.doubt {
		t.Errorf("mode %d, Err %v, %d errors, doubt %v", n.expiry.mode, n.err(), n.count.errors.Load(), n.link.doubt)
	}
	fail(false)
	for _, user := range []string{"batch", "waits", "examined"} {
		if err := told[user]; !errors.Is(err, lost) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("after two failures %s is told %v", user, err)
		}
	}
	if n.q.joining.len()+n.q.staying.len()+n.q.exams.len() != 0 {
		t.Errorf("after two failures %d, %d and %d wait", n.q.joining.len(), n.q.staying.len(), n.q.exams.len())
	}
	if got := waits(&n.q.leaving)[unregistering]; got != 1 {
		t.Errorf("%d entries that Redis may have are removed, want 1", got)
	}
}

func TestWhatFailsAndHasALaterOperationIsOver(t *testing.T) {
	lost := errors.New("lost")
	n := testNode(t, Options{})
	var told []error
	n.q.register(of("alice"), func(r Registered) { told = append(told, r.Err) }, 0)
	n.q.renew(of("bob"), 0)
	n.gather()
	n.q.unregister(of("alice"), nil, 0)
	n.q.unregister(of("bob"), nil, 0)
	n.linkFailed(lost, true)
	n.batch.reset()
	n.callOutcomes()
	if len(told) != 1 || !errors.Is(told[0], lost) || n.q.joining.len()+n.q.staying.len() != 0 || n.q.leaving.len() != 2 {
		t.Errorf("told %v; %d, %d and %d wait", told, n.q.joining.len(), n.q.staying.len(), n.q.leaving.len())
	}
}

func TestARemovalThatFailsIsOverWhereItsEntryIsMadeAnew(t *testing.T) {
	n := testNode(t, Options{})
	var told []error
	n.q.unregister(of("alice"), func(err error) { told = append(told, err) }, 0)
	n.gather()
	n.q.register(of("alice"), nil, 0)
	n.linkFailed(errors.New("lost"), true)
	n.callOutcomes()
	if len(told) != 1 || told[0] != nil || n.q.leaving.len() != 0 || n.q.joining.len() != 1 {
		t.Errorf("told %v; %d removals and %d registrations wait", told, n.q.leaving.len(), n.q.joining.len())
	}
}

func TestWhoWaitsForARefusedEntryToGoIsToldWhenTheLinkFails(t *testing.T) {
	n := testNode(t, Options{})
	var told []error
	n.mu.Lock()
	n.reject(&item{entry: of("alice"), op: registering, registered: func(r Registered) { told = append(told, r.Err) }}, ErrTooMany)
	n.mu.Unlock()
	n.gather()
	n.linkFailed(context.DeadlineExceeded, true)
	n.callOutcomes()
	if len(told) != 1 || !errors.Is(told[0], ErrTooMany) || n.q.leaving.len() != 1 {
		t.Errorf("told %v; %d removals wait", told, n.q.leaving.len())
	}
}

// What comes back from a batch may belong to another node by then, which sleeps.
func TestAnotherNodeIsWokenForWhatIsPutBack(t *testing.T) {
	for what, put := range map[string]func(n *node){
		"a removal that is repeated": func(n *node) { n.link.failed(0, true); n.link.note(of("alice"), 1); n.repeatRemovals() },
		"an operation that failed":   func(n *node) { n.requeue(n.q.item(of("alice"), unregistering, 0), nil) },
	} {
		n := testNode(t, Options{})
		owner := newNode(n.shared, n.server)
		n.routes.single = owner
		put(n)
		if owner.q.leaving.len() != 1 || n.q.leaving.len() != 0 || len(owner.wake) != 1 {
			t.Errorf("%s: %d wait, woken: %v", what, owner.q.leaving.len(), len(owner.wake) == 1)
		}
	}
}

// The pod's own score goes before entries that are written, and only where the pod has one.
func TestThePodsScoreGoesBeforeItsEntries(t *testing.T) {
	register := func(q *queue) { q.register(of("alice"), nil, 0) }
	renew := func(q *queue) { q.renew(of("alice"), 0) }
	remove := func(q *queue) { q.unregister(of("alice"), nil, 0) }
	for _, c := range []struct {
		what    string
		started int64
		queue   []func(*queue)
		wanted  bool
	}{
		{"a registration", 5, []func(*queue){register}, true},
		{"a renewal", 5, []func(*queue){renew}, true},
		{"a removal", 5, []func(*queue){remove}, false},
		{"no address is claimed", 0, []func(*queue){register}, false},
		{"a registration and a removal", 5, []func(*queue){register, func(q *queue) { q.unregister(of("bob"), nil, 0) }}, true},
	} {
		p := NewPods(PodsOptions{Keys: NewKeys("push:"), Pod: "a:1"})
		p.started, p.score = c.started, float64(c.started)
		n := testNode(t, Options{Pods: p})
		for range 2 { // the command is used again
			for _, queue := range c.queue {
				queue(&n.q)
			}
			n.gather()
			n.guard()
			if got := len(n.batch.cmds) == 1; got != c.wanted || n.batch.scoreUsed != c.wanted {
				t.Errorf("%s: the score is written: %v, want %v", c.what, got, c.wanted)
			}
			if c.wanted && (n.batch.score != "5" || n.batch.cmds[0].Name() != "zadd") {
				t.Errorf("%s: %v is written", c.what, n.batch.cmds[0])
			}
			n.batch.reset()
		}
	}
}

// A batch's names take no more memory than the largest batch needs.
func TestNamesOfABatchTakeThePlaceOfTheLastOnes(t *testing.T) {
	n := testNode(t, Options{})
	replaces := of("bob")
	replaces.Replaces = of("old").UUID
	for range 3 {
		n.batch.items = []*item{{entry: of("alice"), op: registering}, {entry: replaces, op: registering}}
		n.batch.name(n.opt.Keys, n.looks)
		for _, want := range []string{
			"push:user:{alice}", FormatUUID(of("alice").UUID), "push:block:{alice}",
			"push:user:{bob}", FormatUUID(replaces.UUID), FormatUUID(replaces.Replaces), "push:block:{bob}",
		} {
			if got := n.batch.next(); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		if len(n.batch.cuts) != 7 {
			t.Errorf("%d names, want 7", len(n.batch.cuts))
		}
	}
}
