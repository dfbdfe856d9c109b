package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"pushpod/config"
	"pushpod/conn"
)

// hangingAdmitter hangs a loop: what it is called by must not be blocked.
type hangingAdmitter struct {
	conn.Admitter
	asked, until chan struct{}
}

func (h hangingAdmitter) Admit(*conn.Conn, *conn.Request) (conn.Owner, *conn.Refusal) {
	close(h.asked)
	<-h.until
	return nil, &conn.Refusal{Status: 503, Error: "unavailable", Reason: "it hung"}
}

func TestTheWatchdogStarvesWhereALoopHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	const period = 900 * time.Millisecond
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(period.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	fed := func(within time.Duration) bool {
		_ = manager.SetReadDeadline(time.Now().Add(within))
		b := make([]byte, 100)
		n, err := manager.Read(b)
		return err == nil && string(b[:n]) == "WATCHDOG=1"
	}

	p := &pod{cfg: config.Default(), log: zerolog.Nop()}
	p.cfg.Redis.Addresses = []string{"127.0.0.1:1"} // nobody is there, and that is no death
	if err := p.startRedis(); err != nil {
		t.Fatal(err)
	}
	defer p.closeRedis()
	p.build()
	p.systemd = p.service()
	hang := hangingAdmitter{p.hub, make(chan struct{}), make(chan struct{})}
	p.server = conn.New(conn.Options{Admitter: hang, Now: p.pods.NowMs})
	p.hub.Attach(p.server)
	if err := p.server.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := p.server.Serve(); err != nil {
		t.Fatal(err)
	}
	defer p.server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.watch(ctx)
	}()
	defer func() { cancel(); <-ended }()

	for range 3 {
		if !fed(20 * time.Second) {
			t.Fatal("it is not fed although all goes on")
		}
	}
	c, err := net.Dial("tcp", p.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /ws?user=alice HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n")
	<-hang.asked
	for fed(period / 2) { // what was on its way
	}
	if fed(2 * period) {
		t.Error("a loop hangs, and it is fed")
	}
	close(hang.until)
	if !fed(20 * time.Second) {
		t.Error("the loop goes on, and it is not fed")
	}
}

func TestAdminThatProbesCannotReachIsWarnedOf(t *testing.T) {
	for _, c := range []struct {
		listen, admin string
		warns         bool
	}{
		{"0.0.0.0:8080", "127.0.0.1:9090", true},
		{":8080", "localhost:9090", true},
		{":8080", ":9090", false},
		{"127.0.0.1:8080", "127.0.0.1:9090", false},
	} {
		var log bytes.Buffer
		p := &pod{cfg: config.Config{Listen: c.listen, Admin: config.Admin{Listen: c.admin}}, log: zerolog.New(&log)}
		p.warnOfHiddenHealth()
		if said := strings.Contains(log.String(), "pushpod health"); said != c.warns || said != (log.Len() > 0) {
			t.Errorf("%+v: %s", c, &log)
		}
	}
}
