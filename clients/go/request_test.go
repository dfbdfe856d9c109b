package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const requestOne = `{"type":"request","id":"r1","data":{ "a":1 }}`

func receipt(id, rest string) string { return `{"type":"receipt","id":"` + id + `",` + rest + `}` }

// requesting runs a client against scripts, sends one request, and ends the client.
func requesting(t *testing.T, scripts ...func(p *peer)) (result error) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t.Context(), t, newFakePod(t, scripts...).options())
		result = r.RequestID(t.Context(), "r1", []byte(`{ "a":1 }`))
		r.Close()
		r.wantResult(isNil)
		if len(r.receipts) != 0 {
			t.Errorf("%d requests are still known", len(r.receipts))
		}
	})
	return result
}

func TestRequestReturnsWithItsReceipt(t *testing.T) {
	err := requesting(t, func(p *peer) {
		p.welcome()
		p.wantText(requestOne)
		p.send(receipt("another", `"status":"rejected","error":"rate"`))
		p.send(receipt("r1", `"status":"accepted"`))
		p.send(receipt("r1", `"status":"rejected","error":"rate"`)) // too late, and no harm
		goodbye(p)
	})
	if err != nil {
		t.Errorf("RequestID = %v", err)
	}
}

func TestRejectedRequestIsATypedError(t *testing.T) {
	err := requesting(t, func(p *peer) {
		p.welcome()
		p.wantText(requestOne)
		p.send(receipt("r1", `"status":"rejected","error":"unavailable","reason":"no Redis"`))
		goodbye(p)
	})
	var rejected *RejectedError
	if !errors.As(err, &rejected) || *rejected != (RejectedError{"r1", "unavailable", "no Redis"}) {
		t.Errorf("RequestID = %#v", err)
	}
}

func TestRequestIsRepeatedWithTheSameIDUntilThereIsAReceipt(t *testing.T) {
	err := requesting(t,
		func(p *peer) { p.refuse(503, "") },
		func(p *peer) { p.welcome(); p.wantText(requestOne) }, // and the line is cut
		func(p *peer) { p.welcome(); p.wantText(requestOne); p.close(1001, "retry_ms=100") },
		func(p *peer) { p.upgrade(); time.Sleep(time.Second) },
		func(p *peer) {
			p.welcome()
			p.wantText(requestOne)
			p.send(receipt("r1", `"status":"accepted"`))
			goodbye(p)
		},
	)
	if err != nil {
		t.Errorf("RequestID = %v", err)
	}
}

func TestReceiptJustBeforeTheEndCounts(t *testing.T) {
	for range 20 { // a select among both would miss it half the time
		synctest.Test(t, func(t *testing.T) {
			pod := newFakePod(t, func(p *peer) {
				p.welcome()
				p.wantText(requestOne)
				p.send(receipt("r1", `"status":"accepted"`)) // and the line is cut
			})
			o := pod.options()
			o.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := pod.dial(ctx, network, address)
				return slowWriter{conn}, err
			}
			r := run(t.Context(), t, o)
			if err := r.RequestID(t.Context(), "r1", []byte(`{ "a":1 }`)); err != nil {
				t.Errorf("RequestID = %v", err)
			}
			r.Close()
			r.wantResult(isNil)
		})
	}
}

// A slowWriter comes back from a write when the answer to it is there already.
type slowWriter struct{ net.Conn }

func (w slowWriter) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	if bytes.Contains(b, []byte("HTTP/1.1")) {
		return n, err
	}
	time.Sleep(time.Second)
	return n, err
}

func TestRequestEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := newFakePod(t, func(p *peer) { p.refuse(503, "", "Retry-After: 60") }, func(p *peer) {
			p.upgrade(text(quietWelcome))
			p.wantText(requestOne)
			goodbye(p)
		})
		r := run(t.Context(), t, pod.options())
		for _, why := range []string{"not connected", "no receipt"} {
			ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second)
			if err := r.RequestID(ctx, "r1", []byte(`{ "a":1 }`)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: RequestID = %v", why, err)
			}
			cancel()
			time.Sleep(time.Second)
		}
		r.Close()
		r.wantResult(isNil)
	})
}

func TestRequestsUnderWayEndWithTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t.Context(), t, newFakePod(t, func(p *peer) {
			p.welcome()
			p.wantText(requestOne)
			time.Sleep(time.Second)
			p.close(4501, "")
		}).options())
		results := make(chan error)
		go func() { results <- r.RequestID(t.Context(), "r1", []byte(`{ "a":1 }`)) }()
		synctest.Wait()
		if err := r.RequestID(t.Context(), "r1", []byte(`2`)); !errors.Is(err, ErrDuplicateID) {
			t.Errorf("second RequestID with the same id = %v", err)
		}
		if err := <-results; !errors.Is(err, ErrClosed) || !isClose(err, 4501) {
			t.Errorf("RequestID = %v", err)
		}
		r.wantResult(func(err error) bool { return isClose(err, 4501) })
	})
}

func TestRequestRefusesWhatNoPodWouldTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t.Context(), t, newFakePod(t, stays).options())
		for _, tc := range []struct{ id, data, want string }{
			{"", "1", "1 to 256 bytes"},
			{strings.Repeat("x", 257), "1", "1 to 256 bytes"},
			{"\xff", "1", "1 to 256 bytes"},
			{"a", "", "one JSON value"},
			{"a", "{", "one JSON value"},
			{"a", "1 2", "one JSON value"},
			{"a", "\"\xff\"", "one JSON value"},
			{"a", `"` + strings.Repeat("x", 1000) + `"`, "the pod takes 1000"},
		} {
			if err := r.RequestID(t.Context(), tc.id, json.RawMessage(tc.data)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("RequestID(%.20q, %.20q) = %v, want an error with %q", tc.id, tc.data, err, tc.want)
			}
		}
		r.Close()
		r.wantResult(isNil)
	})
}

func TestRequestMakesItsOwnIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := map[string]bool{}
		r := run(t.Context(), t, newFakePod(t, func(p *peer) {
			p.welcome()
			for range 2 {
				_, payload, _ := p.read()
				f, err := parseFrame(payload)
				if err != nil || f.Type != "request" || len(f.ID) < 20 || string(f.Data) != `"hi"` {
					t.Errorf("request is %s", payload)
				}
				ids[f.ID] = true
				p.send(receipt(f.ID, `"status":"accepted"`))
			}
			goodbye(p)
		}).options())
		for range 2 {
			if err := r.Request(t.Context(), []byte(`"hi"`)); err != nil {
				t.Errorf("Request = %v", err)
			}
		}
		r.Close()
		r.wantResult(isNil)
		if len(ids) != 2 {
			t.Errorf("ids are %v, want two", ids)
		}
	})
}
