package hub

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	client "pushpod/clients/go"
	"pushpod/conn"
	"pushpod/presence"
)

const otherPod = "push:pod:10.0.0.2:8080"

// startRenewing starts a pod whose renewals come soon.
func startRenewing(t *testing.T, change ...func(*set)) *pod {
	t.Helper()
	s := set{conn: func(o *conn.Options) { o.Settings.Renew = 100 * time.Millisecond }}
	for _, f := range change {
		f(&s)
	}
	return startPod(t, s)
}

// dialInstead connects with ?replaces=.
func (p *pod) dialInstead(user, replaces string) (*client.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return client.Dial(ctx, client.Options{URL: "ws://" + p.server.Addr().String() + conn.Path + "?replaces=" + replaces, User: user})
}

// instead opens a connection that takes the place of another one.
func (p *pod) instead(user, replaces string) *wsClient {
	p.t.Helper()
	raw, err := p.dialInstead(user, replaces)
	if err != nil {
		p.t.Fatalf("%s can't connect: %v", user, err)
	}
	return p.greeted(raw, user)
}

// swap gives the place of a connection to one of another pod, as that does.
func (p *pod) swap(user string, old *wsClient) (uuid string) {
	p.t.Helper()
	p.keepOtherAlive()
	uuid = presence.FormatUUID(presence.NewUUID(time.Now().UnixMilli()))
	ctx, key := context.Background(), p.keys.User(user)
	pipe := p.admin.TxPipeline()
	pipe.HSet(ctx, key, uuid, otherPod)
	pipe.HDel(ctx, key, old.uuid)
	pipe.Publish(ctx, p.channel, fmt.Sprintf(`{"replaced":%q,"of":%q}`, old.uuid, user))
	if _, err := pipe.Exec(ctx); err != nil {
		p.t.Fatal(err)
	}
	p.untidy = true // the other pod's stays
	return uuid
}

// keepOtherAlive has the other pod's heartbeats in Redis from now on: a dead one's entries
// are removed.
func (p *pod) keepOtherAlive() {
	beat := func() {
		p.admin.ZAdd(context.Background(), p.keys.Pods(), redis.Z{Score: float64(time.Now().UnixMilli()), Member: otherPod})
	}
	beat()
	stop := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				beat()
			}
		}
	})
	p.t.Cleanup(func() {
		close(stop)
		beating.Wait()
	})
}

// wantOnly holds that the user's hash names this connection alone, now and for some
// renewals.
func (p *pod) wantOnly(why, user, uuid, channel string) {
	p.t.Helper()
	only := func() bool {
		found := p.entries(user)
		return len(found) == 1 && found[uuid] == channel
	}
	time.Sleep(200 * time.Millisecond) // a renewal that was under way is through, and what it brought back may stand for a moment
	p.eventually(why, only)
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if !only() {
			p.t.Fatalf("%s: then %v", why, p.entries(user))
		}
	}
}

func (p *pod) wantDelivered(why string, c *wsClient) {
	p.t.Helper()
	for i, envelope := range []string{`{"to":"` + c.uuid + `","data":%q}`, `{"user":"alice","data":%q}`, `{"all":true,"data":%q}`} {
		data := fmt.Sprint(why, " ", i)
		p.publish(fmt.Sprintf(envelope, data))
		c.want(fmt.Sprintf("%q", data))
	}
}

func TestAReplacedConnectionIsDeliveredToAndNeverWrittenAgain(t *testing.T) {
	t.Parallel()
	p := startRenewing(t)
	old := p.connect("alice")
	bob := p.connect("bob") // by whom it is seen that what is awaited has happened
	uuid := p.swap("alice", old)
	p.wantOnly("renewals go by", "alice", uuid, otherPod)
	p.wantDelivered("replaced", old)
	bob.next("the one for all")

	p.feed.Cut()
	p.eventually("the subscription is lost", func() bool { return p.Hub.Stats().Gaps == 1 })
	p.wantReady()
	p.wantOnly("subscribed again", "alice", uuid, otherPod)
	p.wantDelivered("subscribed again", old)
	bob.next("the one for all")

	if err := p.admin.FlushAll(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	p.eventually("an emptied Redis is whole again", func() bool { return len(p.entries("bob")) == 1 })
	time.Sleep(300 * time.Millisecond)
	if found := p.entries("alice"); len(found) != 0 {
		t.Errorf("brought back into an emptied Redis: %v", found)
	}
	p.wantDelivered("emptied", old)
	s := p.Hub.Stats()
	if s.EnvelopesBad != 0 || s.UnknownMembers != 0 || s.Misses != 0 {
		t.Errorf("a replacement is in the books: %+v", s)
	}
	old.close()
	p.eventually("it has ended", func() bool { return p.Len() == 1 })
	p.untidy = false
}

// Its client is about to replace it, and a renewal that is late would stand beside the new entry.
func TestAConnectionThatWasToldGoawayIsRenewedNoMore(t *testing.T) {
	t.Parallel()
	p := startRenewing(t, func(s *set) {
		s.conn = func(o *conn.Options) { o.Settings.Renew, o.Settings.MaxAge = 50*time.Millisecond, 4*time.Second }
	})
	c := p.instead("alice", "&goaway=1")
	if f := c.next("its age"); f.Type != "goaway" {
		t.Fatalf("got %s, want goaway", f.Raw)
	}
	time.Sleep(200 * time.Millisecond) // what was under way is through
	if err := p.admin.Del(context.Background(), p.keys.User("alice")).Err(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(400 * time.Millisecond)
	if found := p.entries("alice"); len(found) != 0 {
		t.Errorf("a renewal has written %v", found)
	}
	c.close()
	p.eventually("it has ended", func() bool { return p.Len() == 0 })
}

// What Redis does with a renewal that was under way, behind the transaction.
func TestAnEntryThatARenewalBringsBackIsRemoved(t *testing.T) {
	t.Parallel()
	p := startRenewing(t, func(s *set) { s.conn = func(o *conn.Options) { o.Settings.Renew = time.Hour } })
	old := p.connect("alice")
	p.keepOtherAlive()
	ctx, key := context.Background(), p.keys.User("alice")
	if err := p.admin.HSet(ctx, key, "another", otherPod).Err(); err != nil {
		t.Fatal(err)
	}
	p.publish(fmt.Sprintf(`{"replaced":%q,"of":"alice"}`, old.uuid)) // and its entry stands
	p.wantOnly("it is removed", "alice", "another", otherPod)
	p.admin.Del(ctx, key)
}

func TestAPlaceOnTheSamePodIsTaken(t *testing.T) {
	t.Parallel()
	p := startRenewing(t, func(s *set) {
		s.presence = func(o *presence.Options) { o.PerUser = 1 }
	})
	old := p.connect("alice")
	p.wantHandshakeRefused("alice", http.StatusTooManyRequests)
	for range 3 {
		c := p.instead("alice", old.uuid)
		p.wantOnly("one for the other", "alice", c.uuid, p.channel)
		p.publish(`{"to":["` + old.uuid + `","` + c.uuid + `"],"data":1}`)
		old.want("1")
		c.want("1")
		old.close()
		p.wantOnly("the old one is closed", "alice", c.uuid, p.channel)
		old = c
	}
	p.wantHandshakeRefused("alice", http.StatusTooManyRequests)
}

func TestOnlyAPlaceOfTheSameUserIsTaken(t *testing.T) {
	t.Parallel()
	p := startRenewing(t)
	a, b := p.connect("alice"), p.connect("bob")
	uuids := map[string]string{"another user's": a.uuid, "nobody's": someUUID, "none": ""}
	for why, replaces := range uuids {
		c := p.instead("carol", replaces)
		p.wantOnly(why, "carol", c.uuid, p.channel)
		c.close()
		p.eventually("it is closed", func() bool { return len(p.entries("carol")) == 0 })
	}
	// Who may publish may say so of another user: it is not believed.
	p.publish(`{"replaced":"` + a.uuid + `","of":"bob"}`)
	p.publishAll(`{"replaced":"` + a.uuid + `","of":"alice"}`) // bad: it is for one pod
	p.wantOnly("still there", "alice", a.uuid, p.channel)
	p.wantOnly("still there", "bob", b.uuid, p.channel)
	p.wantBooks(0, 0, 1)
	for _, replaces := range []string{"x", "018F0000-0000-7000-8000-00000000000A", someUUID + "0", "{" + someUUID + "}"} {
		c, err := p.dialInstead("alice", replaces)
		if err == nil {
			c.Close(1000, "")
			t.Errorf("replaces=%s is taken", replaces)
		} else if h, ok := err.(*client.HandshakeError); !ok || h.Status != http.StatusBadRequest {
			t.Errorf("replaces=%s: %v", replaces, err)
		}
	}
}

// Where producers close nobody (redis.control), they take nobody out of presence either.
func TestWithControlReplacementsAreObeyedOnTheControlChannelOnly(t *testing.T) {
	t.Parallel()
	p := startRenewing(t, func(s *set) { s.hub = func(o *Options) { o.Control = true } })
	a := p.connect("alice")
	p.publish(`{"replaced":"` + a.uuid + `","of":"alice"}`)
	p.publishOn(ctlAll, `{"replaced":"`+a.uuid+`","of":"alice"}`) // bad: it is for one pod
	p.eventually("it is ignored", func() bool { return p.Hub.Stats().ClosesIgnored == 1 && p.Hub.Stats().EnvelopesBad == 1 })
	p.wantOnly("still there", "alice", a.uuid, p.channel)
	c := p.instead("alice", a.uuid) // by the control channel
	p.wantOnly("replaced", "alice", c.uuid, p.channel)
	if s := p.Hub.Stats(); s.ClosesIgnored != 1 || s.EnvelopesBad != 1 {
		t.Errorf("%+v", s)
	}
}

// Its entry is renewed no more, and yet it must not outlive a block.
func TestABlockedUsersReplacedConnectionIsClosed(t *testing.T) {
	t.Parallel()
	p := startRenewing(t)
	old := p.connect("alice")
	uuid := p.swap("alice", old)
	p.wantOnly("replaced", "alice", uuid, otherPod)
	p.set("push:block:{alice}", "spam")
	old.wantClosed(4500, "blocked: spam")
}

// A pod that loses its subscription in that moment writes all entries again. It is told
// once it is subscribed.
func TestAPodThatWasNotSubscribedIsToldAgain(t *testing.T) {
	t.Parallel()
	p := startRenewing(t)
	old := p.connect("alice")
	p.feed.Refuse(true)
	p.eventually("the loss is noticed", func() bool { return p.has("unsubscribed") })
	p.eventually("Redis has noticed, too", func() bool {
		return p.admin.PubSubNumSub(context.Background(), p.channel).Val()[p.channel] == 0
	})
	// As another pod does, of which this is the hub: this one refuses handshakes.
	uuid := p.swap("alice", old)
	u, _ := presence.ParseUUID(old.uuid)
	p.unheard.add(p.Replacement("alice", presence.Located{UUID: u, Channel: p.channel}))
	p.feed.Refuse(false)
	p.wantReady()
	p.eventually("all entries are rewritten", func() bool { return len(p.entries("alice")) == 2 })
	p.wantOnly("told again", "alice", uuid, otherPod)
	p.wantDelivered("told again", old)
	if n := len(p.unheard.take()); n != 0 {
		t.Errorf("%d are to be told still", n)
	}
}
