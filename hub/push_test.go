package hub

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"pushpod/conn"
	"pushpod/presence"
)

func TestPushesReachTheirTargetsOnceOverBothChannels(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	a1, a2, b := p.connect("alice"), p.connect("alice"), p.connect("bob")

	p.publish(`{"to":"` + a1.uuid + `","data":1}`)
	p.publishAll(`{"to":["` + a1.uuid + `","` + b.uuid + `"],"data":2}`)
	p.publish(`{"user":"alice","data":{"x": 3 }}`)
	p.publishAll(`{"user":["alice","bob"],"data":"4","id":"m4"}`)
	p.publish(`{"all":true,"data":5}`)
	p.publishAll(`{"all":true,"data":null}`)
	// Several targets, of which each connection is several: once.
	p.publish(`{"to":["` + a1.uuid + `","` + a1.uuid + `"],"user":["alice","alice"],"data":7}`)
	p.publishAll(`{"to":"` + b.uuid + `","user":["bob","alice"],"all":true,"data":8}`)
	p.publish("{\"user\":\"bob\",\"data\":\t\"\\ud834\\udd1e \\/\" }")

	a1.want("1")
	a1.want("2")
	a1.want(`{"x": 3 }`)
	if f := a1.next("a message with an id"); string(f.Raw) != `{"type":"message","id":"m4","data":"4"}` {
		t.Errorf("got %s", f.Raw)
	}
	for _, data := range []string{"5", "null", "7", "8"} {
		a1.want(data)
	}
	for _, data := range []string{`{"x": 3 }`, `"4"`, "5", "null", "7", "8"} {
		a2.want(data)
	}
	for _, data := range []string{"2", `"4"`, "5", "null", "8", `"\ud834\udd1e \/"`} {
		b.want(data)
	}
	p.wantBooks(8+6+6, 0, 0)
	if s := p.Hub.Stats(); s.EnvelopesOK != 9 || s.Gaps != 0 {
		t.Errorf("%+v", s)
	}
}

func TestProducersCloseBehindTheData(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	a, b, c := []*wsClient{p.connect("alice"), p.connect("alice")}, p.connect("bob"), p.connect("carol")
	p.publish(`{"user":"alice","data":"last","close":{"code":4500,"reason":"blocked"}}`)
	for _, a := range a {
		a.want(`"last"`)
		a.wantClosed(4500, "blocked")
	}
	p.publish(`{"to":"` + b.uuid + `","close":{"code":4100}}`)
	b.wantClosed(4100, "")
	p.publish(`{"all":true,"data":1}`)
	c.want("1")
}

func TestBadEnvelopesDisturbNobody(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{hub: func(o *Options) { o.Redis.MaxEnvelope = 1000 }})
	a := p.connect("alice")
	bad := []string{"", "{", "[]", `{"all":true}`, `{"user":"}x","data":1}`, "\xff", strings.Repeat("x", 1001), `{"all":true,"data":"` + strings.Repeat("x", 200_000) + `"}`}
	for i, text := range bad {
		p.publish(text)
		p.publish(fmt.Sprintf(`{"user":"alice","data":%d}`, i))
		a.want(fmt.Sprint(i))
	}
	p.publish(`{"user":"alice","data":"` + strings.Repeat("y", 1000-len(`{"user":"alice","data":""}`)) + `"}`) // at the bound
	a.next("a message at the bound")
	p.publishAll(`{"probe":"elsewhere"}`) // is none on this channel
	p.wantBooks(len(bad)+1, 0, len(bad)+1)
}

func TestUnknownMembersAreNamedInTheLogWithoutTheirValue(t *testing.T) {
	var log strings.Builder
	h := New(Options{Pod: testPod, Keys: presence.NewKeys("push:"), Log: zerolog.New(&log)})
	h.Attach(conn.New(conn.Options{Admitter: h, Loops: 1}))
	if h.router.route(roleAll, []byte(`{"all":true,"data":1}`)); log.Len() > 0 {
		t.Errorf("the log of a good envelope: %s", &log)
	}
	whole, long := strings.Repeat("x", 64), strings.Repeat("é", 100)
	for range 100 {
		h.router.route(roleAll, []byte(`{"usr":"hunter2","data":1,"`+long+`":"hunter2","\n\"":0,"`+whole+`":0}`))
	}
	if n := h.router.unknown.Load(); n != 400 {
		t.Errorf("%d unknown members, want 400", n)
	}
	if want := `"members":["usr","` + strings.Repeat("é", 32) + `…","\n\"","` + whole + `"]`; !strings.Contains(log.String(), want) {
		t.Errorf("the log lacks %s:\n%s", want, &log)
	}
	if strings.Contains(log.String(), "hunter2") || strings.Count(log.String(), "unknown") > 6 {
		t.Errorf("the log says too much:\n%s", &log)
	}
}

func TestMissesAreCountedAndHealed(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	a := p.connect("alice")
	gone, other := p.stale("alice"), p.stale("bob")

	// The UUID is not held; who its user is, is known.
	p.publish(`{"to":["` + gone + `","` + a.uuid + `","` + gone + `"],"of":"alice","data":1}`)
	a.want("1")
	p.eventually("alice's stale entry is removed", func() bool { return p.entries("alice")[gone] == "" })
	if p.entries("alice")[a.uuid] != p.channel {
		t.Error("a live entry was removed")
	}
	// A user of whom nothing is held, on the pod's own channel.
	p.publish(`{"user":["bob","alice","bob"],"data":2}`)
	a.want("2")
	p.eventually("bob's stale entry is removed", func() bool { return p.entries("bob")[other] == "" })
	p.wantBooks(2, 2, 0)

	// Whose UUID it is, is not known: counted only. On the common channel a
	// user of whom nothing is held is no miss; a UUID is.
	p.publish(`{"to":"` + a.uuid + `","of":"alice","data":"no miss"}`)
	a.want(`"no miss"`)
	gone = p.stale("carol")
	p.publish(`{"to":"` + gone + `","data":3}`)
	p.publishAll(`{"user":"carol","data":4}`)
	p.publishAll(`{"to":"` + gone + `","data":5}`)
	p.wantBooks(3, 4, 0)
	// Each counts once, wherever it stands.
	another := presence.FormatUUID(presence.NewUUID(1))
	p.publish(`{"to":["` + gone + `","` + another + `","` + gone + `"],"data":6}`)
	p.wantBooks(3, 6, 0)
	if p.entries("carol")[gone] == "" {
		t.Error("an entry was removed, of a user who was not named")
	}
	if s := p.Hub.Stats(); s.Heals != 2 {
		t.Errorf("%d heals, want 2", s.Heals)
	}
	p.publish(`{"user":["dave","erin","dave"],"data":7}`)
	p.wantBooks(3, 8, 0)
	p.untidy = true
}

func TestOrderHoldsUnderLoadOverBothChannels(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{conn: func(o *conn.Options) { o.Loops = 3 }})
	const users, each, messages = 3, 4, 6000
	var clients []*wsClient
	want := map[*wsClient][]int{}
	for u := range users {
		for range each {
			clients = append(clients, p.connect(fmt.Sprint("user", u)))
		}
	}
	random := rand.New(rand.NewPCG(7, 7))
	total := 0
	pipe := p.admin.Pipeline()
	for i := range messages {
		channel := p.channel
		if random.IntN(2) == 0 {
			channel = p.keys.AllChannel()
		}
		var targets []string
		hit := map[*wsClient]bool{}
		if random.IntN(2) == 0 {
			var ids []string
			for range 1 + random.IntN(3) {
				c := clients[random.IntN(len(clients))]
				hit[c] = true
				ids = append(ids, `"`+c.uuid+`"`)
			}
			targets = append(targets, `"to":[`+strings.Join(ids, ",")+`]`)
		}
		if random.IntN(3) == 0 {
			u := random.IntN(users)
			for _, c := range clients[u*each : (u+1)*each] {
				hit[c] = true
			}
			targets = append(targets, fmt.Sprintf(`"user":"user%d"`, u))
		}
		if random.IntN(8) == 0 || len(targets) == 0 {
			for _, c := range clients {
				hit[c] = true
			}
			targets = append(targets, `"all":true`)
		}
		for c := range hit {
			want[c] = append(want[c], i)
		}
		total += len(hit)
		pad := ""
		if random.IntN(50) == 0 {
			pad = strings.Repeat(" ", random.IntN(20_000))
		}
		pipe.Publish(context.Background(), channel, fmt.Sprintf(`{%s,"data":%s%d}`, strings.Join(targets, ","), pad, i))
		if random.IntN(200) == 0 || i == messages-1 {
			if _, err := pipe.Exec(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range clients {
		for _, i := range want[c] {
			c.want(fmt.Sprint(i))
		}
	}
	p.wantBooks(total, 0, 0)
}
