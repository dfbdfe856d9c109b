package client

import (
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

const goaway = `{"type":"goaway","within_ms":3000}`

// welcomeAs upgrades and names the connection.
func (p *peer) welcomeAs(uuid string) *http.Request {
	return p.upgrade(text(`{"type":"welcome","uuid":"` + uuid + `","user":"alice","max_message":1000}`))
}

// push sends a message.
func (p *peer) push(id string) { p.send(`{"type":"message","id":"` + id + `","data":0}`) }

// wantReplaces checks whose place a connection takes; empty: nobody's. Each one asks for a goaway.
func (p *peer) wantReplaces(r *http.Request, uuid string) {
	p.t.Helper()
	q := r.URL.Query()
	if got := q.Get("replaces"); got != uuid || q.Get("goaway") != "1" {
		p.t.Errorf("the handshake's query is %q, want replaces=%s and goaway=1", r.URL.RawQuery, uuid)
	}
}

// A signal is given once by one script, and awaited by another.
type signal chan struct{}

func (s signal) give()  { close(s) }
func (s signal) await() { <-s }

func TestHandoverOpensTheNextConnectionAndReadsTheOldOneForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		welcome := make(signal)
		var dialedAfter, closedAfter time.Duration
		var told, swapped time.Time
		pod := newFakePod(t, func(p *peer) {
			p.wantReplaces(p.welcomeAs("one"), "")
			p.push("a")
			time.Sleep(time.Minute)
			told = time.Now()
			p.send(goaway)
			p.push("b")
			welcome.await()
			// What was addressed to this connection comes late, also while it is being closed.
			time.Sleep(overlap - time.Millisecond)
			p.push("c")
			p.wantClose(1000)
			closedAfter = time.Since(swapped)
			time.Sleep(closeTimeout - time.Millisecond)
			p.push("d")
			p.write(closeFrame(1000, ""))
		}, func(p *peer) {
			dialedAfter = time.Since(told)
			time.Sleep(10 * time.Millisecond)
			p.wantReplaces(p.welcomeAs("two"), "one")
			swapped = time.Now()
			welcome.give()
			p.push("e")
			goodbye(p)
		})
		r := runFor(t, pod, 2*time.Minute)
		pod.playing.Wait()
		r.wantEvents("handover", "connect one", "message a 0", "message b 0",
			"disconnect client: another connection has taken over", "connect two", "message e 0", "message c 0", "message d 0",
			"disconnect context canceled")
		r.wantWaits("none")
		if dialedAfter != 0 || closedAfter != overlap {
			t.Errorf("the next one was dialed %v after the goaway, the old one closed %v after the welcome; want 0 and %v", dialedAfter, closedAfter, overlap)
		}
		pod.wantDials(2)
	})
}

func TestHandoverDropsWhatComesOverBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := make(signal), make(signal)
		pod := newFakePod(t, func(p *peer) {
			p.welcomeAs("one")
			p.push("a")
			time.Sleep(time.Second)
			p.send(goaway)
			first.await()
			p.push("a")
			p.push("b") // the new one had it
			p.push("c")
			second.give()
			goodbye(p)
		}, func(p *peer) {
			p.welcomeAs("two")
			p.push("a")
			p.push("b")
			first.give()
			second.await()
			p.push("c")
			goodbye(p)
		})
		r := runFor(t, pod, time.Minute)
		r.wantEvents("each once", "connect one", "message a 0", "disconnect client: another connection has taken over", "connect two",
			"message b 0", "message c 0", "disconnect context canceled")
	})
}

func TestRequestsUnderWayAreAnsweredOverTheOldConnectionOrRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		welcome := make(signal)
		pod := newFakePod(t, func(p *peer) {
			p.welcomeAs("one")
			p.wantText(requestOne)
			p.wantText(`{"type":"request","id":"r2","data":2}`)
			p.send(goaway)
			welcome.await()
			p.send(receipt("r1", `"status":"accepted"`))
			goodbye(p)
		}, func(p *peer) {
			p.welcomeAs("two")
			welcome.give()
			p.wantText(`{"type":"request","id":"r3","data":3}`) // made after the handover
			p.send(receipt("r3", `"status":"accepted"`))
			p.wantText(`{"type":"request","id":"r2","data":2}`)
			p.send(receipt("r2", `"status":"accepted"`))
			goodbye(p)
		})
		r := run(t.Context(), t, pod.options())
		time.Sleep(time.Second) // it lasts
		took := make(chan time.Duration, 2)
		request := func(id, data string) {
			start := time.Now()
			if err := r.RequestID(t.Context(), id, []byte(data)); err != nil {
				t.Errorf("request %s: %v", id, err)
			}
			took <- time.Since(start)
		}
		go request("r1", `{ "a":1 }`)
		synctest.Wait()
		go request("r2", "2")
		synctest.Wait()
		if d := <-took; d != 0 {
			t.Errorf("r1 took %v, though its receipt came at once", d)
		}
		synctest.Wait()
		request("r3", "3")
		if d := <-took; d != 0 {
			t.Errorf("r3 took %v: it is sent over the new connection", d)
		}
		if d := <-took; d != overlap {
			t.Errorf("r2 took %v: it is repeated when the old connection has ended, after %v", d, overlap)
		}
		r.Close()
		r.wantResult(isNil)
	})
}

func TestWhereNoNextConnectionCanBeHadTheOldOneIsKeptUntilItsClose(t *testing.T) {
	const within, minimum = 3 * time.Second, 500 * time.Millisecond
	refused := func(status int) func(p *peer) { return func(p *peer) { p.refuse(status, "") } }
	hung := func(p *peer) { p.readRequest(); p.wantEnd() }
	for name, tc := range map[string]struct {
		attempts []func(p *peer) // until the old one is closed, the first at once
		waits    []time.Duration
		dials    int
	}{
		// At 0, 0.5 and 1.5 s; the next would be too late.
		"unavailable":       {[]func(p *peer){refused(503), refused(503), refused(503)}, []time.Duration{77 * time.Millisecond}, 5},
		"cut off":           {[]func(p *peer){hangUp, hangUp, hangUp}, []time.Duration{77 * time.Millisecond}, 5},
		"refused for good":  {[]func(p *peer){refused(403)}, []time.Duration{77 * time.Millisecond}, 3},
		"no answer by then": {[]func(p *peer){hung}, []time.Duration{minimum}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				scripts := append([]func(p *peer){func(p *peer) {
					p.welcomeAs("one")
					time.Sleep(time.Minute)
					p.send(goaway)
					time.Sleep(within)
					p.push("last")
					p.close(1001, "retry_ms=77")
				}}, tc.attempts...)
				pod := newFakePod(t, append(scripts, func(p *peer) {
					p.wantReplaces(p.welcomeAs("two"), "") // the old one has ended
					goodbye(p)
				})...)
				r := runFor(t, pod, 2*time.Minute)
				r.wantEvents(name, "connect one", "message last 0", `disconnect client: closed by the server: 1001 "retry_ms=77"`,
					"connect two", "disconnect context canceled")
				r.wantWaits(name, tc.waits...)
				pod.wantDials(tc.dials)
			})
		})
	}
}

// hangUp plays a pod that is about to end.
func hangUp(p *peer) { p.readRequest() }

func TestSecondAttemptAtAHandoverTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := newFakePod(t, func(p *peer) {
			p.welcomeAs("one")
			time.Sleep(time.Minute)
			p.send(goaway)
			p.wantClose(1000)
			p.write(closeFrame(1000, ""))
		}, hangUp, func(p *peer) {
			p.wantReplaces(p.welcomeAs("two"), "one")
			goodbye(p)
		})
		r := runFor(t, pod, 2*time.Minute)
		r.wantEvents("taken over", "connect one", "disconnect client: another connection has taken over", "connect two", "disconnect context canceled")
		r.wantWaits("there was a connection all the while")
	})
}

func TestConnectionThatIsClosedDuringAHandover(t *testing.T) {
	// The next connection has its welcome a second after the goaway, and the old one is closed before.
	play := func(t *testing.T, code int) (*fakePod, *running) {
		pod := newFakePod(t, func(p *peer) {
			p.welcomeAs("one")
			time.Sleep(time.Minute)
			p.send(goaway)
			time.Sleep(500 * time.Millisecond)
			p.close(code, "retry_ms=0")
		}, func(p *peer) {
			r := p.readRequest()
			if code >= 4500 {
				p.wantEnd()
				return
			}
			time.Sleep(time.Second)
			p.accept(r, text(quietWelcome))
			goodbye(p)
		})
		return pod, run(t.Context(), t, pod.options())
	}
	synctest.Test(t, func(t *testing.T) {
		pod, r := play(t, 1001)
		time.Sleep(2 * time.Minute)
		r.Close()
		r.wantResult(isNil)
		r.wantEvents("the attempt goes on", "connect one", `disconnect client: closed by the server: 1001 "retry_ms=0"`, "connect 018f-1",
			"disconnect context canceled")
		pod.wantDials(2)
	})
	synctest.Test(t, func(t *testing.T) {
		_, r := play(t, 4500)
		r.wantResult(func(err error) bool { return isClose(err, 4500) })
		r.wantEvents("it ends for good", "connect one", `disconnect client: closed by the server: 4500 "retry_ms=0"`)
	})
}

func TestGoawaysMakeNoStorm(t *testing.T) {
	// Each pod says goaway at once, many times, and never closes.
	storm := func(within string) func(p *peer) {
		return func(p *peer) {
			p.welcomeAs("one")
			go func() { // over a pipe, a write waits for its reader
				for range 100 {
					if _, err := p.conn.Write(text(`{"type":"goaway"` + within + `}`)); err != nil {
						return
					}
				}
			}()
			p.wantClose(1000)
			p.write(closeFrame(1000, ""))
		}
	}
	for within, most := range map[string]int{`,"within_ms":3000`: 4, ``: 1, `,"within_ms":1e300`: 1, `,"within_ms":-5`: 1, `,"within_ms":"x"`: 1, `,"within_ms":9007199254740991`: 7} {
		synctest.Test(t, func(t *testing.T) {
			scripts := make([]func(p *peer), 1000)
			for i := range scripts {
				scripts[i] = storm(within)
			}
			pod := newFakePod(t, scripts...)
			runFor(t, pod, time.Minute)
			if n := pod.dials(); n > most {
				t.Errorf("goaway%s: %d dials in a minute, want %d at most", within, n, most)
			}
		})
	}
}

func TestGoawayOfAConnectionThatWasReplacedIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		welcome := make(signal)
		pod := newFakePod(t, func(p *peer) {
			p.welcomeAs("one")
			time.Sleep(time.Minute)
			p.send(goaway)
			p.send(goaway)
			welcome.await()
			p.send(goaway)
			goodbye(p)
		}, func(p *peer) {
			time.Sleep(time.Second)
			p.welcomeAs("two")
			welcome.give()
			goodbye(p)
		})
		runFor(t, pod, 2*time.Minute)
		pod.wantDials(2)
	})
}

// In a roll the next pod may be the one that is rolled next.
func TestHandoverDuringTheOverlapOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := func(uuid, replaces, last string) func(p *peer) {
			return func(p *peer) {
				p.wantReplaces(p.welcomeAs(uuid), replaces)
				time.Sleep(600 * time.Millisecond)
				p.send(goaway)
				time.Sleep(900 * time.Millisecond)
				p.push(last)
				goodbye(p)
			}
		}
		pod := newFakePod(t, old("one", "", "a"), old("two", "one", "b"), func(p *peer) {
			p.wantReplaces(p.welcomeAs("three"), "two")
			p.push("c")
			goodbye(p)
		})
		r := runFor(t, pod, time.Minute)
		const over = "disconnect client: another connection has taken over"
		r.wantEvents("twice", "connect one", over, "connect two", over, "connect three", "message c 0", "message a 0", "message b 0",
			"disconnect context canceled")
	})
}

func TestCloseDuringAHandover(t *testing.T) {
	for name, tc := range map[string]struct {
		next   func(p *peer)
		events []string
	}{
		"while the next one is dialed":  {func(p *peer) { p.readRequest(); p.wantEnd() }, nil},
		"while both are read":           {func(p *peer) { p.welcomeAs("two"); goodbye(p) }, []string{"disconnect client: another connection has taken over", "connect two"}},
		"before the next one's welcome": {func(p *peer) { p.upgrade(); goodbye(p) }, nil},
		"while the next one is deaf":    {func(p *peer) { p.welcomeAs("two"); <-p.t.Context().Done() }, []string{"disconnect client: another connection has taken over", "connect two"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pod := newFakePod(t, func(p *peer) {
					p.welcomeAs("one")
					time.Sleep(time.Minute)
					p.send(goaway)
					p.wantClose(1000)
					p.write(closeFrame(1000, ""))
				}, tc.next)
				r := run(t.Context(), t, pod.options())
				time.Sleep(time.Minute + 500*time.Millisecond)
				start := time.Now()
				r.Close()
				r.wantResult(isNil)
				if took := time.Since(start); took > closeTimeout {
					t.Errorf("Run returned %v after Close", took)
				}
				r.wantEvents(name, append(append([]string{"connect one"}, tc.events...), "disconnect context canceled")...)
			})
		})
	}
}

func TestWithoutHandoverAConnectionIsKeptUntilItsClose(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"NoHandover":  func(o *Options) { o.NoHandover = true },
		"NoReconnect": func(o *Options) { o.NoReconnect = true },
	} {
		synctest.Test(t, func(t *testing.T) {
			pod := newFakePod(t, func(p *peer) {
				if r := p.welcomeAs("one"); r.URL.RawQuery != "user=alice" {
					t.Errorf("%s: the handshake's query is %q", name, r.URL.RawQuery)
				}
				p.send(goaway)
				time.Sleep(time.Minute)
				p.close(4500, "")
			})
			o := pod.options()
			change(&o)
			r := run(t.Context(), t, o)
			r.wantResult(func(err error) bool { return isClose(err, 4500) })
			if pod.dials() != 1 {
				t.Errorf("%s: %d dials, want 1", name, pod.dials())
			}
		})
	}
	pod := newFakePod(t, func(p *peer) {
		if r := p.welcome(); r.URL.RawQuery != "user=alice" {
			t.Errorf("Dial: the handshake's query is %q", r.URL.RawQuery)
		}
		goodbye(p)
	})
	c, err := Dial(t.Context(), pod.options())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(1000, ""); err != nil {
		t.Errorf("Close = %v", err)
	}
}

func TestEachConnectionOfAHandoverHasAFreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := newFakePod(t,
			wantBearer("t1", func(p *peer) *http.Request {
				r := p.welcomeAs("one")
				p.send(goaway)
				p.wantClose(1000)
				p.write(closeFrame(1000, ""))
				return r
			}),
			wantBearer("t2", func(p *peer) *http.Request {
				r := p.readRequest()
				_, _ = fmt.Fprint(p.conn, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
				return r
			}),
			wantBearer("t3", func(p *peer) *http.Request { r := p.welcomeAs("two"); goodbye(p); return r }))
		o := pod.options()
		o.Token = numbered()
		r := run(t.Context(), t, o)
		time.Sleep(time.Minute)
		r.Close()
		r.wantResult(isNil)
		r.wantEvents("handover", "connect one", "disconnect client: another connection has taken over", "connect two", "disconnect context canceled")
	})
}

// A pod may take a connection for alive that its client has lost.
func TestConnectionThatWasLostIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := newFakePod(t,
			func(p *peer) { p.wantReplaces(p.welcomeAs("one"), ""); time.Sleep(time.Minute) }, // and the line is cut
			func(p *peer) { p.refuse(503, "") },
			func(p *peer) {
				p.wantReplaces(p.welcomeAs("two"), "one")
				time.Sleep(time.Minute)
				p.close(4100, "") // which ends the entry as well
			},
			func(p *peer) { p.wantReplaces(p.welcomeAs("three"), ""); goodbye(p) })
		runFor(t, pod, 5*time.Minute)
		pod.wantDials(4)
	})
}

// A callback that takes its time keeps what the old connection still brings from being read, not from being heard.
func TestSlowCallbackLosesNothingOfTheOldConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		welcome := make(signal)
		pod := newFakePod(t, func(p *peer) {
			p.welcomeAs("one")
			p.send(goaway)
			welcome.await()
			p.push("a")
			p.push("b")
			pushed := make(signal)
			go func() { defer pushed.give(); p.push("c") }() // it is read when a has been dealt with, long after the close frame
			p.wantClose(1000)
			pushed.await()
			p.write(closeFrame(1000, ""))
		}, func(p *peer) { p.welcomeAs("two"); welcome.give(); goodbye(p) })
		o := pod.options()
		var got []string
		o.OnMessage = func(m Message) {
			time.Sleep(10 * overlap)
			got = append(got, m.ID)
		}
		r := run(t.Context(), t, o)
		time.Sleep(time.Minute)
		r.Close()
		r.wantResult(isNil)
		if want := []string{"a", "b", "c"}; !reflect.DeepEqual(got, want) {
			t.Errorf("messages are %q, want %q", got, want)
		}
	})
}

// runFor runs a client of the pod for so long, and then closes it.
func runFor(t *testing.T, pod *fakePod, d time.Duration) *running {
	t.Helper()
	r := run(t.Context(), t, pod.options())
	time.Sleep(d)
	r.Close()
	r.wantResult(isNil)
	return r
}

func (f *fakePod) wantDials(n int) {
	f.t.Helper()
	if got := f.dials(); got != n {
		f.t.Errorf("%d dials, want %d", got, n)
	}
}
