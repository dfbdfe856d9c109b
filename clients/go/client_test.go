package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

// A running is a Client whose Run has been called, and what it has told so far.
type running struct {
	*Client
	t      *testing.T
	result chan error

	told   sync.Mutex // guards what the callbacks tell
	events []string
	waits  []time.Duration
}

// run starts a client in a synctest bubble. Its jitter draws always the whole ceiling.
func run(ctx context.Context, t *testing.T, o Options) *running {
	t.Helper()
	r := &running{t: t, result: make(chan error, 1)}
	tell := func(format string, args ...any) {
		r.told.Lock()
		defer r.told.Unlock()
		r.events = append(r.events, fmt.Sprintf(format, args...))
	}
	o.OnConnect = func(w Welcome) { tell("connect %s", w.UUID) }
	o.OnDisconnect = func(err error) { tell("disconnect %v", err) }
	o.OnRetry = func(_ error, wait time.Duration) { r.waits = append(r.waits, wait) }
	if o.OnMessage == nil {
		o.OnMessage = func(m Message) { tell("message %s %s", m.ID, m.Data) }
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.retry.draw = func(below time.Duration) time.Duration { return below }
	r.Client = c
	go func() { r.result <- c.Run(ctx) }()
	return r
}

// wantResult waits for Run's return.
func (r *running) wantResult(want func(error) bool) {
	r.t.Helper()
	if err := <-r.result; !want(err) {
		r.t.Errorf("Run = %v", err)
	}
}

func (r *running) wantEvents(why string, want ...string) {
	r.t.Helper()
	r.told.Lock()
	defer r.told.Unlock()
	if !reflect.DeepEqual(r.events, want) {
		r.t.Errorf("%s: events are\n%q, want\n%q", why, r.events, want)
	}
}

func (r *running) wantWaits(why string, want ...time.Duration) {
	r.t.Helper()
	if !reflect.DeepEqual(r.waits, want) {
		r.t.Errorf("%s: waits are %v, want %v", why, r.waits, want)
	}
}

func isNil(err error) bool { return err == nil }

// ends plays a connection that ends with a close frame, lasting after its welcome.
func ends(lasting time.Duration, code int, reason string) func(p *peer) {
	return func(p *peer) { p.welcome(); time.Sleep(lasting); p.close(code, reason) }
}

// stays plays a connection that stays until the client says goodbye, however long. It promises no pings.
func stays(p *peer) { p.upgrade(text(quietWelcome)); goodbye(p) }

const quietWelcome = `{"type":"welcome","uuid":"018f-1","user":"alice","max_message":1000}`

func goodbye(p *peer) { p.wantClose(1000); p.write(closeFrame(1000, "")) }

func TestReconnectsAsTheCloseCodeSays(t *testing.T) {
	const minimum, second = 500 * time.Millisecond, time.Second
	for name, tc := range map[string]struct {
		script func(p *peer)
		wait   time.Duration
	}{
		"1001 after retry_ms":         {ends(0, 1001, "retry_ms=12345"), 12345 * time.Millisecond},
		"1001 after retry_ms=0":       {ends(0, 1001, "retry_ms=0"), 0},
		"1001 without retry_ms":       {ends(0, 1001, ""), minimum},
		"1013 after retry_ms":         {ends(0, 1013, "retry_ms=7"), 7 * time.Millisecond},
		"4029 after retry_ms":         {ends(0, 4029, "retry_ms=1500"), 1500 * time.Millisecond},
		"4053 after retry_ms":         {ends(0, 4053, "retry_ms=2500"), 2500 * time.Millisecond},
		"1008 backs off":              {ends(0, 1008, "rate"), minimum},
		"1008 has no retry_ms":        {ends(0, 1008, "retry_ms=5"), minimum},
		"1011":                        {ends(0, 1011, ""), minimum},
		"4000":                        {ends(0, 4000, "token expired"), minimum},
		"4100":                        {ends(0, 4100, "retry_ms=5"), minimum},
		"4499":                        {ends(0, 4499, ""), minimum},
		"no code":                     {ends(0, 0, ""), minimum},
		"no close frame":              {func(p *peer) { p.welcome() }, minimum},
		"no welcome":                  {func(p *peer) { p.upgrade(text(`{"type":"ping"}`)); p.wantClose(1002) }, minimum},
		"not a word":                  {func(p *peer) { p.readRequest() }, minimum},
		"not HTTP":                    {func(p *peer) { p.readRequest(); p.write([]byte("SSH-2.0\r\n")) }, minimum},
		"503":                         {func(p *peer) { p.refuse(503, "") }, minimum},
		"503 with Retry-After":        {func(p *peer) { p.refuse(503, "", "Retry-After: 60") }, 60*second + minimum},
		"429 with Retry-After":        {func(p *peer) { p.refuse(429, "", "Retry-After: 1") }, second + minimum},
		"408":                         {func(p *peer) { p.refuse(408, "") }, minimum},
		"frame that breaks the rules": {func(p *peer) { p.upgrade(text(welcomeFrame), []byte{0x82, 0}); p.wantClose(1003) }, minimum},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pod := newFakePod(t, tc.script, stays)
				r := run(t.Context(), t, pod.options())
				time.Sleep(2 * time.Minute)
				r.Close()
				r.wantResult(isNil)
				r.wantWaits(name, tc.wait)
				if pod.dials() != 2 {
					t.Errorf("%d dials, want 2", pod.dials())
				}
			})
		})
	}
}

func TestStaysAwayWhereItIsToldSo(t *testing.T) {
	for _, code := range []int{1000, 1002, 1003, 1007, 1009, 4001, 4003, 4500, 4501, 4600, 4999} {
		synctest.Test(t, func(t *testing.T) {
			pod := newFakePod(t, ends(time.Second, code, "go"), stays)
			r := run(t.Context(), t, pod.options())
			r.wantResult(func(err error) bool { return isClose(err, code) })
			r.wantEvents("final close", "connect 018f-1", fmt.Sprintf(`disconnect client: closed by the server: %d "go"`, code))
			if err := r.Request(t.Context(), []byte("1")); !errors.Is(err, ErrClosed) || !isClose(err, code) {
				t.Errorf("Request after the end = %v", err)
			}
		})
	}
	for _, status := range []int{400, 401, 403, 404, 413, 426, 431, 501, 505} {
		synctest.Test(t, func(t *testing.T) {
			pod := newFakePod(t, func(p *peer) { p.refuse(status, `{"error":"x","reason":"because"}`, "Retry-After: 1") }, stays)
			r := run(t.Context(), t, pod.options())
			r.wantResult(func(err error) bool {
				var refused *HandshakeError
				return errors.As(err, &refused) && refused.Status == status && refused.Reason == "because"
			})
			r.wantEvents("refused")
		})
	}
}

func TestWaitsGrowUntilAConnectionHasLasted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangUp := func(p *peer) { p.welcome() }
		pod := newFakePod(t, hangUp, hangUp, ends(time.Second, 1008, "rate"), ends(0, 1008, "rate"), hangUp, hangUp,
			ends(11*time.Second, 4100, ""), hangUp)
		o := pod.options()
		o.Backoff = Backoff{Min: time.Second, Max: 10 * time.Second}
		r := run(t.Context(), t, o)
		time.Sleep(time.Hour - time.Nanosecond)
		r.Close()
		r.wantResult(isNil)
		want := []time.Duration{1, 2, 4, 8, 10, 10, 1, 2, 4, 8, 10, 10} // the pod is refusing from the ninth on
		for i := range want {
			want[i] *= time.Second
		}
		r.waits = r.waits[:len(want)]
		r.wantWaits("doubling up to the most, anew after 11 s", want...)
	})
}

func TestJitterIsUniformFromZero(t *testing.T) {
	r := retry{backoff: Backoff{Min: 4, Max: 4}, draw: uniform}
	got := map[time.Duration]int{}
	for range 5000 {
		wait, again := r.after(io.EOF, 0)
		if !again {
			t.Fatal("a network failure is final")
		}
		got[wait]++
	}
	for wait := range time.Duration(5) {
		if n := got[wait]; n < 800 || n > 1200 {
			t.Errorf("wait %d was drawn %d times in 5000, want some 1000", wait, n)
		}
		delete(got, wait)
	}
	if len(got) > 0 {
		t.Errorf("waits out of bounds: %v", got)
	}
}

func TestNoReconnectReturnsTheFirstEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := newFakePod(t, ends(0, 1001, "retry_ms=1"), stays)
		o := pod.options()
		o.NoReconnect = true
		r := run(t.Context(), t, o)
		r.wantResult(func(err error) bool { return isClose(err, 1001) })
		r.wantWaits("none")
	})
}

func TestSilentServerIsTakenForDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var gaveUp time.Duration
		silent := func(p *peer) {
			p.welcome()
			for range 3 {
				time.Sleep(30 * time.Second) // within ping and grace
				p.write(frame(ws.NewPingFrame(nil)))
				p.want(ws.OpPong, "")
			}
			p.wantEnd()
			gaveUp = time.Since(start)
		}
		pod := newFakePod(t, silent, stays)
		r := run(t.Context(), t, pod.options())
		time.Sleep(3 * time.Minute)
		r.Close()
		r.wantResult(isNil)
		r.wantEvents("silent server", "connect 018f-1", "disconnect client: server silent", "connect 018f-1", "disconnect context canceled")
		pod.playing.Wait()
		if want := 3*30*time.Second + 35*time.Second; gaveUp != want {
			t.Errorf("given up after %v, want %v", gaveUp, want)
		}
	})
}

func TestServerWithoutWelcomeIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t.Context(), t, newFakePod(t, func(p *peer) { p.upgrade(); p.wantEnd() }, stays).options())
		time.Sleep(10*time.Second + 499*time.Millisecond)
		synctest.Wait()
		r.wantEvents("before the bound")
		time.Sleep(time.Minute)
		r.Close()
		r.wantResult(isNil)
		r.wantEvents("after it", "connect 018f-1", "disconnect context canceled")
	})
}

func TestOnFrameSeesEachFrameAsItCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const odd, doubled, oops = `{ "type":"odd","x":1}`, `{"type":"message","id":"a","data":1}`, `{"type":"error","error":"bad_frame"}`
		pod := newFakePod(t, func(p *peer) {
			p.upgrade(text(welcomeFrame), text(odd), text(doubled), text(doubled), text(oops))
			p.close(4500, "")
		})
		var got []string
		o := pod.options()
		o.OnFrame = func(f Frame) { got = append(got, string(f.Raw)) }
		r := run(t.Context(), t, o)
		r.wantResult(func(err error) bool { return isClose(err, 4500) })
		if want := []string{welcomeFrame, odd, doubled, doubled, oops}; !reflect.DeepEqual(got, want) {
			t.Errorf("frames are %q, want %q", got, want)
		}
	})
}

func TestPingFramesArePonged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t.Context(), t, newFakePod(t, func(p *peer) {
			p.welcome()
			p.send(`{"type":"ping"}`)
			p.wantText(`{"type":"pong"}`)
			p.close(4500, "")
		}).options())
		r.wantResult(func(err error) bool { return isClose(err, 4500) })
	})
}

func TestSeenMessagesAreDroppedAlsoAfterAReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		message := func(id string) string { return `{"type":"message","id":"` + id + `","data":0}` }
		pod := newFakePod(t, func(p *peer) {
			p.welcome()
			p.send(message("a"))
			p.send(message("b"))
			p.send(message("a"))
			p.send(`{"type":"message","data":1}`)
			p.send(`{"type":"message","data":1}`)
			p.send(`{"type":"unheard-of"}`)
			p.close(1001, "retry_ms=0")
		}, func(p *peer) {
			p.welcome()
			p.send(message("a"))
			p.send(message("c"))
			p.send(message("b")) // forgotten: a was met after it
			p.close(4500, "")
		})
		o := pod.options()
		o.SeenIDs = 2
		r := run(t.Context(), t, o)
		r.wantResult(func(err error) bool { return isClose(err, 4500) })
		r.wantEvents("messages", "connect 018f-1", "message a 0", "message b 0", "message  1", "message  1",
			`disconnect client: closed by the server: 1001 "retry_ms=0"`,
			"connect 018f-1", "message c 0", "message b 0", `disconnect client: closed by the server: 4500`)
	})
}

func TestSeenIDsStayBounded(t *testing.T) {
	s := seenIDs{limit: 3}
	for i := range 1000 {
		s.add(fmt.Sprint(i))
	}
	if len(s.byID) != 3 || s.order.Len() != 3 {
		t.Errorf("%d and %d ids are kept, want 3", len(s.byID), s.order.Len())
	}
	none := seenIDs{limit: -1}
	none.add("a")
	if none.add("a") {
		t.Error("an id is remembered though the limit is negative")
	}
}

func TestCloseAndContextSayGoodbye(t *testing.T) {
	for name, end := range map[string]func(c *Client, cancel func()) error{
		"Close":   func(c *Client, _ func()) error { c.Close(); c.Close(); return nil },
		"context": func(_ *Client, cancel func()) error { cancel(); return context.Canceled },
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := run(ctx, t, newFakePod(t, stays).options()) // fails unless 1000 comes
			synctest.Wait()
			want := end(r.Client, cancel)
			start := time.Now()
			r.wantResult(func(err error) bool { return err == want })
			if took := time.Since(start); took > 0 {
				t.Errorf("%s took %v, though the server answered", name, took)
			}
			if err := r.Send(t.Context(), []byte("{}")); !errors.Is(err, ErrClosed) {
				t.Errorf("Send after %s = %v", name, err)
			}
			if err := r.Run(t.Context()); err != ErrStarted {
				t.Errorf("second Run = %v", err)
			}
		})
	}
}

func TestCloseEndsRunInWhateverItWaitsFor(t *testing.T) {
	gone := func(t *testing.T) <-chan struct{} { return t.Context().Done() }
	for name, script := range map[string]func(t *testing.T) func(p *peer){
		"answer to the handshake": func(t *testing.T) func(p *peer) { return func(p *peer) { p.readRequest(); p.wantEnd() } },
		"welcome":                 func(t *testing.T) func(p *peer) { return func(p *peer) { p.upgrade(); p.wantEnd() } },
		"deaf server":             func(t *testing.T) func(p *peer) { return func(p *peer) { p.welcome(); <-gone(t) } },
		"middle of a frame": func(t *testing.T) func(p *peer) {
			return func(p *peer) { p.upgrade(text(welcomeFrame), []byte{0x81, 50, 'x'}); p.wantEnd() }
		},
		"next attempt": func(t *testing.T) func(p *peer) { return func(p *peer) { p.refuse(503, "", "Retry-After: 3000") } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := run(t.Context(), t, newFakePod(t, script(t)).options())
				time.Sleep(time.Second)
				start := time.Now()
				r.Close()
				r.wantResult(isNil)
				if took := time.Since(start); took > closeTimeout {
					t.Errorf("Run returned %v after Close", took)
				}
			})
		})
	}
}

func TestCloseBeforeRun(t *testing.T) {
	c, err := New(Options{URL: "ws://h/ws", NetDial: newFakePod(t).dial})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := c.Request(t.Context(), []byte("1")); err != ErrClosed {
		t.Errorf("Request = %v", err)
	}
	if err := c.Run(t.Context()); err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestCloseFromACallbackIsTheLastMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := newFakePod(t, func(p *peer) {
			p.upgrade(text(welcomeFrame), text(`{"type":"message","data":1}`), text(`{"type":"message","data":2}`))
			p.wantClose(1000)
			p.write(closeFrame(1000, ""))
		})
		var c *Client
		got := ""
		o := pod.options()
		o.OnMessage = func(m Message) { got += string(m.Data); c.Close() }
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Run(t.Context()); err != nil {
			t.Errorf("Run = %v", err)
		}
		if got != "1" {
			t.Errorf("messages %q came, want the one before Close", got)
		}
	})
}

func TestSendRefusesWhatThePodWouldCloseFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t.Context(), t, newFakePod(t, func(p *peer) {
			p.welcome()
			p.wantText(`{"type":"ping","id":"1"}`)
			p.wantClose(1000)
			p.write(closeFrame(1000, ""))
		}).options())
		if err := r.Send(t.Context(), []byte(strings.Repeat("x", 1001))); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Send of 1001 bytes = %v", err)
		}
		if err := r.Send(t.Context(), []byte("\xff")); err == nil {
			t.Error("Send took what is not UTF-8")
		}
		if err := r.Send(t.Context(), []byte(`{"type":"ping","id":"1"}`)); err != nil {
			t.Errorf("Send = %v", err)
		}
		r.Close()
		r.wantResult(isNil)
	})
}
