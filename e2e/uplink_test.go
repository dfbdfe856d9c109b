package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// uplink returns the entries of push:uplink.
func uplink(t testing.TB, r *redis.Client) []redis.XMessage {
	t.Helper()
	all, err := r.XRange(t.Context(), "push:uplink", "-", "+").Result()
	if err != nil {
		t.Fatalf("XRANGE: %v", err)
	}
	return all
}

func TestRequestsReachTheStream(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, quick())
	c := dial(t, p, "alice")
	n := 0
	for name, data := range oddData() {
		id := fmt.Sprintf("r-%d", n)
		c.request(name, id, data)
		n++
		all := uplink(t, db) // the receipt comes only once Redis has it
		if len(all) != n {
			t.Fatalf("%s: %d entries at the receipt, want %d", name, len(all), n)
		}
		want := map[string]any{"user": "alice", "uuid": c.uuid, "pod": p.channel, "id": id, "data": data}
		for field, value := range want {
			if got := all[n-1].Values[field]; got != value {
				t.Errorf("%s: field %s is %s, want %s", name, field, short(fmt.Sprint(got)), short(fmt.Sprint(value)))
			}
		}
	}

	// The form of the frame is the client's choice.
	odd := map[string]string{
		"order and space": " {\n\"data\" : [ 1 ] , \"id\":\"%s\",\"type\" :\t\"request\" } ",
		"unknown members": `{"later":{"data":[]},"type":"request","id":"%s","data":[ 1 ],"more":null}`,
		"escaped names":   `{"t\u0079pe":"\u0072equest","id":"%s","dat\u0061":[ 1 ]}`,
	}
	for name, format := range odd {
		c.say(format, name)
		c.wantReceipt(name, name, "accepted", "")
		all := uplink(t, db)
		if got := all[len(all)-1].Values["data"]; got != `[ 1 ]` {
			t.Errorf("%s: data %q, want %q", name, got, `[ 1 ]`)
		}
	}
	ids := map[string]string{
		"one byte":     "x",
		"256 bytes":    strings.Repeat("x", 256),
		"odd":          "a \"quoted\" \\ id\twith 😀 {braces}",
		"said before":  "r-0",
		"looks like 0": "0",
	}
	for name, id := range ids {
		c.request(name, id, `0`)
		all := uplink(t, db)
		if got := all[len(all)-1].Values["id"]; got != id {
			t.Errorf("%s: id %q, want %q", name, got, id)
		}
	}
	c.wantNothing("one receipt each", 50*time.Millisecond)
	wantBooks(t, p, books{})
}

func TestUplinkIsCapped(t *testing.T) {
	t.Parallel()
	r := startRedis(t, "--stream-node-max-entries", "10")
	p := startPod(t, r, quick().with("uplink.max_length", "100", "limits.frames_per_second", "0"))
	c := dial(t, p, "alice")
	for i := range 300 {
		c.request("many", fmt.Sprint(i), `0`)
	}
	all := uplink(t, r.Client())
	if len(all) > 200 || len(all) < 100 {
		t.Errorf("%d entries, want about uplink.max_length, 100", len(all))
	}
	if last := all[len(all)-1].Values["id"]; last != "299" {
		t.Errorf("the last entry is %v, want the newest", last)
	}
}

func TestBadClientFrames(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p := startPod(t, r, quick().with("limits.frames_per_second", "0"))
	c := dial(t, p, "alice")

	// Without an id that could be answered to, an error.
	noID := map[string][]string{
		``:                                    {"bad_frame"},
		` `:                                   {"bad_frame"},
		`x`:                                   {"bad_frame"},
		`{`:                                   {"bad_frame"},
		`[]`:                                  {"bad_frame"},
		`"ping"`:                              {"bad_frame"},
		`null`:                                {"bad_frame"},
		`{"type":"ping"} x`:                   {"bad_frame"},
		`{"type":"ping",}`:                    {"bad_frame"},
		`{"type":5}`:                          {"bad_frame", "unknown_type"},
		`{}`:                                  {"bad_frame", "unknown_type"},
		`{"type":"fly"}`:                      {"unknown_type"},
		`{"type":"Ping"}`:                     {"unknown_type"},
		`{"type":"welcome"}`:                  {"unknown_type"},
		`{"type":"request"}`:                  {"bad_frame"},
		`{"type":"ping","id":5}`:              {"bad_frame"},
		`{"type":"ping","id":null}`:           {"bad_frame"},
		`{"type":"ping","id":""}`:             {"bad_frame"},
		`{"type":"ping","id":["a"]}`:          {"bad_frame"},
		`{"type":"request","id":{},"data":1}`: {"bad_frame"},
		`{"type":"ping","id":"` + strings.Repeat("x", 257) + `"}`: {"bad_frame"},
	}
	for frame, want := range noID {
		c.say("%s", frame)
		got := c.wantText(frame)
		c.check("the connection stays after " + short(frame))
		if !strings.Contains(got.text, `"type":"error"`) || !anyIn(got.text, want) {
			t.Errorf("%s: got %v, want an error of %v", short(frame), got, want)
		}
	}

	// With an id, a receipt.
	withID := map[string]string{
		`{"type":"fly","id":"x"}`:                        "unknown_type",
		`{"id":"x","type":"message","data":1}`:           "unknown_type",
		`{"type":"request","id":"x"}`:                    "bad_frame",
		`{"data_":1,"Data":2,"type":"request","id":"x"}`: "bad_frame",
	}
	for frame, want := range withID {
		c.say("%s", frame)
		if f := c.wantReceipt(frame, "x", "rejected", want); f.Reason == "" {
			t.Errorf("%s: no reason for people", frame)
		}
	}

	// Never answered.
	c.say(`{"type":"pong"}`)
	c.wantNothing("an answer to pong", 100*time.Millisecond)
	if n := len(uplink(t, db)); n != 0 {
		t.Errorf("%d entries in the stream from bad frames", n)
	}
}

func anyIn(s string, words []string) bool {
	for _, w := range words {
		if strings.Contains(s, `"error":"`+w+`"`) {
			return true
		}
	}
	return false
}

func TestUplinkRefusedByRedis(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick())
	r.CLI("SET", "push:uplink", "not a stream")
	c := dial(t, p, "alice")
	c.say(`{"type":"request","id":"x","data":1}`)
	c.wantReceipt("the stream is of the wrong type", "x", "rejected", "unavailable")
	publish(t, r.Client(), p.channel, to(`1`, c))
	c.wantMessage("pushes flow", `1`)
	r.CLI("DEL", "push:uplink")
	c.request("healed", "x", `1`)
}

func TestTooManyFrames(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick().with("limits.frames_per_second", "5"))
	flood := func(c *client, frame rawFrame) {
		for range 200 {
			if c.trySend(frame.bytes()) != nil {
				return
			}
		}
	}
	t.Run("requests", func(t *testing.T) {
		c := dial(t, p, "alice")
		c.request("within the limit", "first", `1`)
		flood(c, text(`{"type":"request","id":"x","data":1}`))
		messages, closed := c.wantClosed("too many requests", 1008, settle)
		rejected := 0
		for _, m := range messages {
			switch {
			case strings.Contains(m.text, `"rejected"`) && strings.Contains(m.text, `"error":"rate"`):
				rejected++
			case !strings.Contains(m.text, `"accepted"`):
				t.Errorf("got %v, want receipts", m)
			}
		}
		if rejected == 0 || !strings.Contains(closed.reason, "rate") {
			t.Errorf("%d rejected for rate, then %v; receipts must say rate first", rejected, closed)
		}
	})
	for name, frame := range map[string]rawFrame{
		"pings":           control(opPing, "x"),
		"pongs":           control(opPong, "x"),
		"empty fragments": {first: opContinuation},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, p, "alice")
			if frame.first == opContinuation {
				c.send(rawFrame{first: opText, payload: []byte(`{`)}.bytes())
			}
			flood(c, frame)
			f, ok := c.take(settle, func(f received) bool { return f.err == nil && f.opcode != opClose })
			if !ok || f.err != nil || f.code != 1008 || !strings.Contains(f.reason, "rate") {
				t.Fatalf("got %v (%v), want close 1008 for rate", f, ok)
			}
		})
	}
	t.Run("few", func(t *testing.T) {
		c := dial(t, p, "alice")
		for i := range 8 {
			c.check(fmt.Sprint("frame ", i, " of a calm client"))
			time.Sleep(250 * time.Millisecond)
		}
	})
}

func TestEchoBackend(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	p := startPod(t, r, quick())
	c, other := dial(t, p, "alice"), dial(t, p, "bob")
	backend := runScript(t, r, "echo-backend.sh")
	var out output
	backend.Stdout, backend.Stderr = &out, &out
	startGroup(t, backend)
	data := `{"say" : "héllo $(id) 'x'", "n": 12345678901234567890}`
	deadline := time.Now().Add(settle)
	for n := 0; ; n++ { // it may take up only what comes after its start
		c.request("a request", fmt.Sprint("r-", n), data)
		if f, ok := c.take(time.Second, pings); ok {
			if !strings.Contains(f.text, data) {
				t.Errorf("got %v, want an echo of %s", f, data)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no echo; the backend says:\n%s", tail(out.String()))
		}
	}
	other.wantNothing("alice's echo", 100*time.Millisecond)
}
