package client

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// listen plays script on real sockets, for each connection, and returns the URL.
func listen(t *testing.T, script func(p *peer)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var playing sync.WaitGroup
	t.Cleanup(playing.Wait)
	t.Cleanup(func() { _ = l.Close() })
	playing.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			playing.Go(func() {
				defer conn.Close()
				script(&peer{t: t, conn: conn, br: bufio.NewReader(conn)})
			})
		}
	})
	return "ws://" + l.Addr().String() + "/ws"
}

func TestOverTCPManyRequestsAtOnceFindTheirReceipts(t *testing.T) {
	url := listen(t, func(p *peer) {
		p.welcome()
		for {
			_, payload, err := p.read()
			if err != nil {
				t.Errorf("read request: %v", err)
				return
			}
			f, err := parseFrame(payload)
			if err != nil { // the close frame
				p.write(closeFrame(1000, ""))
				return
			}
			if strings.HasSuffix(string(f.Data), "true]") {
				p.send(receipt(f.ID, `"status":"rejected","error":"not_allowed"`))
			} else {
				p.send(receipt(f.ID, `"status":"accepted"`))
			}
			p.send(`{"type":"message","data":` + strings.Repeat(" ", 5000) + string(f.Data) + `}`) // many times the buffer
		}
	})
	got := map[string]bool{}
	c, err := New(Options{URL: url, User: "alice", OnMessage: func(m Message) { got[string(m.Data)] = true }, ReadBuffer: 16})
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	go func() { result <- c.Run(t.Context()) }()
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			reject := i%3 == 0
			err := c.Request(t.Context(), fmt.Appendf(nil, "[%d,%t]", i, reject))
			if rejected := (*RejectedError)(nil); errors.As(err, &rejected) != reject || err != nil && !reject {
				t.Errorf("request %d: %v", i, err)
			}
		})
	}
	all.Wait()
	c.Close()
	if err := <-result; err != nil {
		t.Errorf("Run = %v", err)
	}
	// The message behind the last receipt may have come after Close.
	if len(got) < 99 {
		t.Errorf("%d messages came, want 99 at least", len(got))
	}
}

func TestOverTCPResetIsANetworkFailure(t *testing.T) {
	url := listen(t, func(p *peer) {
		p.welcome()
		_ = p.conn.(*net.TCPConn).SetLinger(0)
	})
	failed := make(chan error, 1)
	c, err := New(Options{URL: url, NoReconnect: true, OnDisconnect: func(err error) { failed <- err }})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err == nil || errors.Is(err, ErrClosed) {
		t.Errorf("Run = %v, want what the network said", err)
	}
}
