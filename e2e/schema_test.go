package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
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
	events := listenForEvents(t, p, url.Values{"token": {tokenOf("eve")}, "ping": {"app"}})
	publish(t, p.redisClient(), p.channel, "{\"user\":\"eve\",\"data\":[1,\n2]}")
	events.want("welcome", "message", "ping")
	p.sigterm()
	seen.read(t, schema, leaving, "goaway", "")
	events.want("close")

	for _, want := range []string{
		"welcome", "message", "ping", "receipt", "receipt bad_frame", "receipt unknown_type", "receipt not_allowed", "receipt unavailable", "receipt rate", "error bad_frame",
	} {
		if !seen[want] {
			t.Errorf("%s has not come", want)
		}
	}
}

// An eventStream is GET /sse, read as EventSource does, each event held against docs/schemas.
type eventStream struct {
	t      *testing.T
	schema *schematest.Schema
	lines  *bufio.Scanner
}

func listenForEvents(t *testing.T, p *pod, query url.Values) eventStream {
	t.Helper()
	conn, err := net.Dial("tcp", p.listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(settle))
	if _, err := io.WriteString(conn, request("GET /sse?"+query.Encode()+" HTTP/1.1", "Host: 127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	e := eventStream{t, schematest.LoadStrict(t, "docs/schemas/events.json"), bufio.NewScanner(conn)}
	for e.lines.Scan() && e.lines.Text() != "" { // the head
	}
	return e
}

// want reads events until one of each type has come, in this order, others between them.
func (e eventStream) want(kinds ...string) {
	e.t.Helper()
	kind, data := "message", []string(nil)
	for len(kinds) > 0 && e.lines.Scan() {
		field, value, _ := strings.Cut(e.lines.Text(), ": ")
		switch {
		case field == "event":
			kind = value
		case field == "data":
			data = append(data, value)
		case field == "" && data != nil:
			text := strings.Join(data, "\n")
			if err := e.schema.Fault(text); err != nil {
				e.t.Errorf("%s: %v", text, err)
			}
			var f serverFrame
			if err := json.Unmarshal([]byte(text), &f); err != nil || (kind == "close") != (f.Type == "close") {
				e.t.Errorf("an event %s: %s: %v", kind, text, err)
			}
			if f.Type == kinds[0] {
				kinds = kinds[1:]
			}
			kind, data = "message", nil
		}
	}
	if len(kinds) > 0 {
		e.t.Fatalf("no event %s has come: %v", kinds[0], e.lines.Err())
	}
}

// refusalsOfTheProtocol reads the table in docs/protocol.md: the words that each status may have.
func refusalsOfTheProtocol(t *testing.T) map[string]bool {
	t.Helper()
	_, section, _ := strings.Cut(readPage(t, "docs/protocol.md"), "| status | `error` |")
	section, _, _ = strings.Cut(section, "\n\n")
	all := map[string]bool{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, status := range regexp.MustCompile(`[0-9]{3}`).FindAllString(cells[1], -1) {
			for _, word := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[2], -1) {
				all[status+" "+word[1]] = true
			}
		}
	}
	return all
}

// Each refusal is one that docs/protocol.md names, and each that it names happens.
func TestRefusalsAreAsTheProtocolSays(t *testing.T) {
	t.Parallel()
	documented := refusalsOfTheProtocol(t)
	schema := schematest.LoadStrict(t, "docs/schemas/refusal.json")
	r := startRedis(t)
	p := startPod(t, r, patient().with("conn.handshake_timeout", "1s", "limits.per_user", "1", "limits.connections", "2", "limits.handshakes_per_second", "30"))
	seen := map[string]bool{}
	check := func(why string, a answer) {
		t.Helper()
		wantRefusal(t, why, a, a.status)
		key := fmt.Sprint(a.status, " ", a.fault)
		if !documented[key] {
			t.Errorf("%s: %s: docs/protocol.md does not name it", why, key)
		}
		if err := schema.Fault(a.body); err != nil {
			t.Errorf("%s: %s: %v", why, a.body, err)
		}
		if after := a.header.Get("Retry-After"); (after != "") != (a.status == 429 || a.status == 503) {
			t.Errorf("%s: %d with Retry-After %q", why, a.status, after)
		}
		seen[key] = true
	}
	const good = "/ws?user=alice"
	for why, text := range map[string]string{
		"a parameter twice":    upgradeRequest(good + "&user=bob"),
		"a body":               upgradeRequest(good, "Content-Length: 1"),
		"a bad value of ping":  upgradeRequest(good + "&ping=app,1"),
		"no user":              upgradeRequest("/ws"),
		"a page of another":    upgradeRequest(good, "Origin: http://other.example"),
		"another path":         upgradeRequest("/other"),
		"another method":       request("POST /ws HTTP/1.1", "Host: 127.0.0.1"),
		"an unknown method":    request("FLY /ws HTTP/1.1", "Host: 127.0.0.1"),
		"another version":      upgradeRequest(good, "Sec-WebSocket-Version: 8"),
		"HTTP/1.0":             request("GET /ws HTTP/1.0", "Host: 127.0.0.1"),
		"a plain GET":          request("GET "+good+" HTTP/1.1", "Host: 127.0.0.1"),
		"a large head":         upgradeRequest(good, "Cookie: "+strings.Repeat("x", 17<<10)),
		"a head without end":   "GET /ws HTTP/1.1\r\n",
		"a binary subprotocol": upgradeRequest(good, "Sec-WebSocket-Protocol: mqtt"),
	} {
		check(why, exchange(t, p.listen, text))
	}
	dial(t, p, "alice")
	check("too many of a user", exchange(t, p.listen, upgradeRequest(good)))
	dial(t, p, "bob")
	check("too many at all", exchange(t, p.listen, upgradeRequest("/ws?user=carol")))
	var asking sync.WaitGroup
	answers := make(chan answer, 60)
	for range cap(answers) {
		asking.Go(func() { answers <- exchange(t, p.listen, upgradeRequest("/ws?user=carol")) })
	}
	asking.Wait()
	close(answers)
	for a := range answers {
		check("too many handshakes", a)
	}
	for key := range documented {
		if !seen[key] {
			t.Errorf("docs/protocol.md names %s, which has not come", key)
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
