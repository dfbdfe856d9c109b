package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/golang-jwt/jwt/v5"

	"pushpod/internal/schematest"
)

// seenFrames are the types that have come, with the errors that they told of.
type seenFrames map[string]bool

// read takes all text frames that come to c until one of that type, with that error, and holds each
// against the schema.
func (s seenFrames) read(t *testing.T, schema *schematest.Schema, c *client, kind, fault string) {
	t.Helper()
	for {
		f := c.wantText(kind + " " + fault)
		got := s.check(t, schema, f.text)
		if got.Type == kind && got.Error == fault {
			return
		}
	}
}

func (s seenFrames) check(t *testing.T, schema *schematest.Schema, text string) serverFrame {
	t.Helper()
	if err := schema.Fault(text); err != nil {
		t.Errorf("%s: %v", short(text), err)
	}
	var f serverFrame
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatalf("%s: %v", short(text), err)
	}
	s[strings.TrimSpace(f.Type+" "+f.Error)] = true
	return f
}

// Every type of frame that a pod sends is as docs/schemas says, without a member that is not in it.
func TestFramesAreAsTheSchemaSays(t *testing.T) {
	t.Parallel()
	schema := schematest.LoadStrict(t, "docs/schemas/frames-server.json")
	r := startRedis(t)
	p := startPod(t, r, quick().with("auth.mode", "jwt", "auth.hmac_secret", tokenSecret, "conn.ping", "1s", "limits.frames_per_second", "6"))
	tokenOf := func(user string) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": user, "exp": time.Now().Add(time.Hour).Unix()}).SignedString([]byte(tokenSecret))
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	seen := seenFrames{}
	alice := dial(t, p, "alice", withQuery("token", tokenOf("alice")))
	pinged := dial(t, p, `b"\ü`, withQuery("token", tokenOf(`b"\ü`)), withQuery("ping", "app"))
	for _, c := range []*client{alice, pinged} {
		seen.check(t, schema, c.hello)
	}

	publish(t, p.redisClient(), p.channel, to(`{"text": "hi"}`, alice))
	seen.read(t, schema, alice, "message", "")
	publish(t, p.redisClient(), "push:all", `{"all":true,"data":null,"id":"\u00e9"}`)
	seen.read(t, schema, alice, "message", "")
	seen.read(t, schema, pinged, "ping", "")

	alice.say(`{"type":"request","id":"\u00e9","data":1}`)
	seen.read(t, schema, alice, "receipt", "")
	alice.say(`{"type":"request","id":"1"}`)
	seen.read(t, schema, alice, "receipt", "bad_frame")
	alice.say(`{"type":"other","id":"1"}`)
	seen.read(t, schema, alice, "receipt", "unknown_type")
	alice.say(`{`)
	seen.read(t, schema, alice, "error", "bad_frame")
	time.Sleep(time.Second) // limits.frames_per_second
	alice.say(`{"type":"token","id":"1","token":%q}`, tokenOf("eve"))
	seen.read(t, schema, alice, "receipt", "not_allowed")
	r.Pause()
	alice.say(`{"type":"request","id":"2","data":1}`)
	seen.read(t, schema, alice, "receipt", "unavailable")
	r.Resume()
	alice.send([]byte(strings.Repeat(string(text(`{"type":"ping","id":"3"}`)), 8)))
	seen.read(t, schema, alice, "receipt", "rate")

	leaving := dial(t, p, "alice", withQuery("token", tokenOf("alice")), withQuery("goaway", "1"))
	p.sigterm()
	seen.read(t, schema, leaving, "goaway", "")

	for _, want := range []string{
		"welcome", "message", "ping", "receipt", "receipt bad_frame", "receipt unknown_type", "receipt not_allowed", "receipt unavailable", "receipt rate", "error bad_frame",
	} {
		if !seen[want] {
			t.Errorf("%s has not come", want)
		}
	}
}

// What the project's own producers publish is as docs/schemas says.
func TestPublishedEnvelopesAreAsTheSchemaSays(t *testing.T) {
	t.Parallel()
	schema := schematest.Load(t, "docs/schemas/envelope.json")
	r := startRedis(t)
	p := startPod(t, r, patient())
	spy := r.Client().PSubscribe(t.Context(), "push:*")
	defer spy.Close()
	if _, err := spy.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	const hostile = `a"\ü`
	for _, user := range []string{"alice", "alice", hostile} {
		dial(t, p, user)
	}
	luaPush(t, r, "alice", `{"a":1}`, "id", "m", "ttl", "60000", "collapse", "k")
	luaPush(t, r, hostile, `null`)
	shellPush(t, r, "alice", `"hi"`)
	mustRun(t, envOf(r, operator), "push", "alice", "1", "--id", "x")
	mustRun(t, envOf(r, operator), "kick", hostile, "--reason", `"why"`)
	publish(t, r.Client(), p.channel, `{"all":true,"data":"the end"}`)

	published := 0
	for within := time.After(settle); ; {
		select {
		case m := <-spy.Channel():
			if strings.HasPrefix(m.Payload, `{"probe":`) {
				continue // pods' own
			}
			published++
			if err := schema.Fault(m.Payload); err != nil {
				t.Errorf("%s: %v", m.Payload, err)
			}
			if !strings.Contains(m.Payload, "the end") {
				continue
			}
			if published < 6 {
				t.Errorf("%d envelopes were published", published)
			}
			return
		case <-within:
			t.Fatal("not all was published")
		}
	}
}

// The frames of the Go client's are in clients/go. This one sees that the schema of clients' frames is as
// strict as a pod: what it refuses, a pod refuses, and the other way round.
func TestClientsFramesAreRefusedAsTheSchemaSays(t *testing.T) {
	t.Parallel()
	schema := schematest.Load(t, "docs/schemas/frames-client.json")
	p := startPod(t, startRedis(t), patient())
	c := dial(t, p, "alice")
	for _, frame := range []string{
		`{"type":"request","id":"1","data":null}`, `{"type":"request","id":"1","data":[1],"more":true}`, `{"type":"request","id":"1"}`, `{"type":"request","id":"","data":1}`,
		`{"type":"request","data":1}`, `{"type":"ping","id":"1"}`, `{"type":"pong","id":1}`, `{"type":"Ping","id":"1"}`, `{"id":"1"}`, `[]`, `{"type":"ping","id":"` + strings.Repeat("x", 257) + `"}`,
	} {
		c.say("%s", frame)
		f := c.wantFrameOf("an answer to "+short(frame), "receipt", "error")
		if refused, says := f.Error != "", schema.Fault(frame); refused != (says != nil) {
			t.Errorf("%s: the pod answers %+v, the schema says %v", short(frame), f, says)
		}
	}
	// pong has no answer, but for a bad one.
	c.say(`{"type":"pong"}`)
	c.check("after a pong")
	if err := schema.Fault(`{"type":"pong"}`); err != nil {
		t.Error(err)
	}
}

// wantFrameOf consumes the next message, of one of the types.
func (c *client) wantFrameOf(why string, kinds ...string) serverFrame {
	c.t.Helper()
	f := c.wantText(why)
	var s serverFrame
	if err := json.Unmarshal([]byte(f.text), &s); err != nil || f.opcode != ws.OpText || !slices.Contains(kinds, s.Type) {
		c.t.Fatalf("%s: %s got %v, want %q", why, c.name, f, kinds)
	}
	return s
}
