package tlsloop

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"pushpod/internal/certtest"
)

func TestWhatIsSentArrivesBothWays(t *testing.T) {
	overVersions(t, func(t *testing.T, w *world, client *tls.Config) {
		s := w.open(client)
		large := strings.Repeat("0123456789abcdef", 64<<10) // many records, and more than is read at once
		for _, text := range []string{"short", large, "short again"} {
			io.WriteString(s.tls, text)
			s.want(text)
			if n, err := s.write([]byte(text[:1]), []byte(text[1:])); n != len(text) || err != nil {
				t.Fatal(n, err)
			}
			got := make([]byte, len(text))
			if _, err := io.ReadFull(s.tls, got); err != nil || string(got) != text {
				t.Fatalf("the client has read %.50q: %v", got, err)
			}
		}
	})
}

func TestRecordsMayBeSplitAtAnyByte(t *testing.T) {
	overVersions(t, func(t *testing.T, w *world, client *tls.Config) {
		s := w.connect(client)
		for s.peer.at = 1; s.peer.at < 60; s.peer.at += 7 {
			if _, err := io.WriteString(s.tls, "some text"); err != nil {
				t.Fatal(err)
			}
			s.want("some text")
		}
	})
}

// Nothing may be left in a tls.Conn: no event would tell of it.
func TestSeveralRecordsThatComeTogetherAreAllRead(t *testing.T) {
	overVersions(t, func(t *testing.T, w *world, client *tls.Config) {
		s := w.open(client)
		s.peer.hold = true
		want := ""
		for i := range 3000 { // more than is read at once
			text := strings.Repeat("x", i%1000)
			io.WriteString(s.tls, text)
			want += text
		}
		s.w.locked(func() { s.in = append(s.in, s.peer.kept...) })
		s.readable()
		s.want(want)
	})
}

func TestWhatComesWithTheEndOfTheHandshakeIsRead(t *testing.T) {
	overVersions(t, func(t *testing.T, w *world, client *tls.Config) {
		s := w.connect(client)
		early := strings.Repeat("e", 40_000)
		io.WriteString(s.tls, early) // TLS 1.3: the server has not seen the client's Finished
		s.want(early)
	})
}

// What the queue of the owner holds is not what lies encrypted here: all but one
// record waits there.
func TestAFullSocketInTheMiddleOfARecord(t *testing.T) {
	overVersions(t, func(t *testing.T, w *world, client *tls.Config) {
		s := w.open(client)
		var all []byte
		for i := range 100_000 {
			all = append(all, byte(i), byte(i>>8))
		}
		w.locked(func() { s.room = 0 })
		got := make(chan []byte, 1)
		go func() {
			b := make([]byte, len(all))
			n, _ := io.ReadFull(s.tls, b)
			got <- b[:n]
		}()
		rest := all
		for step := 1; len(rest) > 0; step = step%977 + 13 {
			n, err := s.write(rest[:len(rest)/2], rest[len(rest)/2:])
			if err != nil || n == len(rest) && func() (waits bool) {
				w.locked(func() { waits = len(w.loop.sockets[s.fd].unwritten) > 0 })
				return waits
			}() {
				t.Fatalf("%d taken of %d, while something waits; %v", n, len(rest), err)
			}
			rest = rest[n:]
			w.locked(func() {
				x := w.loop.sockets[s.fd]
				if len(x.unwritten) > maxRecord {
					t.Fatalf("%d bytes wait below", len(x.unwritten))
				}
				if len(x.unwritten) > 0 && !s.notify {
					t.Fatal("something waits, and nobody asked to be told of room")
				}
			})
			s.give(step)
		}
		if b := <-got; !bytes.Equal(b, all) {
			t.Fatalf("%d bytes came, or others than were sent", len(b))
		}
	})
}

// Its owner may have nothing to write meanwhile, and so does not ask for room.
func TestTheRestOfARecordGoesOutByItself(t *testing.T) {
	overVersions(t, func(t *testing.T, w *world, client *tls.Config) {
		s := w.open(client)
		w.locked(func() {
			s.room = 5
			w.loop.FinishWrites(s.fd)
			if s.finished {
				t.Fatal("FIN went before the close_notify")
			}
		})
		for range 100 {
			s.give(1)
		}
		w.locked(func() {
			if !s.finished || s.notify {
				t.Fatalf("with room again: finished %v, still asks %v", s.finished, s.notify)
			}
		})
		if _, err := s.tls.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("the client reads %v, want a proper end", err)
		}
	})
}

func TestTheOwnerIsToldOfRoomWhereItAsks(t *testing.T) {
	w := newWorld(t, serverConfig)
	s := w.connect(clientConfig)
	w.locked(func() {
		w.loop.NotifyWritable(s.fd, s.ref, true)
		if s.notify {
			t.Fatal("asked during the handshake: a socket with room would never be at rest")
		}
	})
	if n, err := s.write([]byte("too early")); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if err := s.tls.Handshake(); err != nil {
		t.Fatal(err)
	}
	s.eventually("it is asked for", func() bool { return s.notify })
	s.give(0)
	w.locked(func() {
		if s.writable != 1 {
			t.Fatal("told ", s.writable)
		}
		if w.loop.NotifyWritable(s.fd, s.ref, false); s.notify {
			t.Fatal("asked for no more")
		}
	})
}

func TestTheEndIsSeenBehindWhatCameBefore(t *testing.T) {
	for name, end := range map[string]func(s *sock){
		"close_notify": func(s *sock) { s.tls.CloseWrite() },
		"FIN":          func(s *sock) { s.w.locked(func() { s.eof = true }); s.readable() },
	} {
		t.Run(name, func(t *testing.T) {
			overVersions(t, func(t *testing.T, w *world, client *tls.Config) {
				s := w.open(client)
				s.peer.hold = name == "close_notify"
				io.WriteString(s.tls, "last words")
				end(s)
				s.arrive(s.peer.kept)
				s.want("last words")
				w.locked(func() {
					if s.err != io.EOF {
						t.Fatalf("the end is %v", s.err)
					}
				})
				// The other way is still open, until it is closed here.
				if n, err := s.write([]byte("answer")); n != 6 || err != nil {
					t.Fatal(n, err)
				}
				w.locked(s.close)
				if b, err := io.ReadAll(s.tls); string(b) != "answer" || err != nil {
					t.Fatalf("the client reads %q, %v", b, err)
				}
			})
		})
	}
}

func TestAnEndInTheMiddleOfARecordIsNone(t *testing.T) {
	w := newWorld(t, serverConfig)
	s := w.open(clientConfig)
	s.peer.hold = true
	io.WriteString(s.tls, "cut off")
	s.arrive(s.peer.kept[:len(s.peer.kept)-1])
	s.w.locked(func() { s.eof = true })
	s.readable()
	w.locked(func() {
		if s.err != io.ErrUnexpectedEOF || len(s.got) > 0 {
			t.Fatal(s.err, s.got)
		}
	})
}

func TestAForgedRecordEndsTheConnectionByAnAlert(t *testing.T) {
	overVersions(t, func(t *testing.T, w *world, client *tls.Config) {
		s := w.open(client)
		s.peer.hold = true
		io.WriteString(s.tls, "forged")
		s.peer.kept[len(s.peer.kept)-1] ^= 1
		s.arrive(s.peer.kept)
		w.locked(func() {
			if s.err == nil || len(s.got) > 0 {
				t.Fatalf("read %q, %v", s.got, s.err)
			}
		})
		if _, err := s.tls.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
			t.Fatalf("the client is told %v", err)
		}
	})
}

// A client of crypto/tls does not renegotiate: a ClientHello within a connection of
// TLS 1.2 is made by hand, encrypted as its next record.
func TestRenegotiationIsRefused(t *testing.T) {
	w := newWorld(t, serverConfig)
	s := w.open(version(clientConfig, tls.VersionTLS12))
	hello := append([]byte{clientHello, 0, 0, 41, 3, 3}, make([]byte, 39)...)
	s.arrive(newSealer(t, s.tls).record(recordHandshake, hello))
	w.locked(func() {
		if s.err == nil || s.err == io.EOF {
			t.Fatalf("it ended with %v", s.err)
		}
	})
	if _, err := s.tls.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "remote error") {
		t.Fatalf("the client is told %v", err)
	}
}

// The answer to a KeyUpdate comes from crypto/tls, while its owner reads.
func TestKeysAreUpdatedWhileTheSocketIsFull(t *testing.T) {
	w := newWorld(t, serverConfig)
	s := w.open(version(clientConfig, tls.VersionTLS13))
	w.locked(func() { s.room = 3 })
	if n, _ := s.write([]byte("under the old keys")); n != 17 {
		t.Fatal(n)
	}
	c := newSealer(t, s.tls)
	s.arrive(c.updateKeys())
	s.arrive(c.record(recordData, []byte("under the client's new keys")))
	s.want("under the client's new keys")
	s.give(1 << 20)
	if n, _ := s.write([]byte("s"), []byte(" and under the new ones")); n != 24 {
		t.Fatal(n)
	}
	want := "under the old keys and under the new ones"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(s.tls, got); err != nil || string(got) != want {
		t.Fatalf("%q %v", got, err)
	}
}

func TestOneWhoAsksForAnswersAndReadsNoneIsEnded(t *testing.T) {
	w := newWorld(t, serverConfig)
	s := w.open(version(clientConfig, tls.VersionTLS13))
	w.locked(func() { s.room = 0 })
	c := newSealer(t, s.tls)
	for i := 0; ; i++ {
		s.arrive(c.updateKeys())
		s.arrive(c.record(recordData, []byte("x"))) // else they are too many in a row
		ended := false
		w.locked(func() {
			if ended = s.err != nil; ended && !errors.Is(s.err, errFull) {
				t.Fatal(s.err)
			}
		})
		if ended {
			return
		}
		if i > 10_000 {
			t.Fatal("what waits for the socket grows without a bound")
		}
	}
}

func TestWhatIsNoTLSIsRefusedAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		sent string
		want error
	}{
		"HTTP":                 {"G", errHTTP},
		"bytes":                {"\x00", errNotTLS},
		"an old version":       {"\x80\x2e", errNotTLS},
		"another record":       {"\x17\x03\x03\x00\x05", errNotTLS},
		"another major number": {"\x16\x02", errNotTLS},
		"an empty record":      {"\x16\x03\x01\x00\x00", errNotTLS},
		"a huge record":        {"\x16\x03\x01\xff\xff", errNotTLS},
		"a huge ClientHello":   {"\x16\x03\x01\x00\x05\x01\x00\xff\xff\x03", errHello},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, serverConfig)
			s := w.connect(nil)
			s.arrive([]byte(c.sent))
			w.locked(func() {
				failed := (*HandshakeError)(nil)
				if !errors.As(s.err, &failed) || failed.Err != c.want {
					t.Fatalf("%v, want %v", s.err, c.want)
				}
			})
			n := w.net.Stats()
			if c.want == errHello && n != (Stats{Failed: 1}) || c.want != errHello && n != (Stats{NotTLS: 1}) {
				t.Fatalf("counted %+v", n)
			}
		})
	}
}

func TestAFailedHandshakeIsToldByAnAlert(t *testing.T) {
	w := newWorld(t, version(serverConfig, tls.VersionTLS13))
	s := w.connect(version(clientConfig, tls.VersionTLS12))
	err := s.tls.Handshake()
	if err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Fatalf("the client is told %v", err)
	}
	s.eventually("the owner is told", func() bool { return s.err != nil })
	if n := w.net.Stats(); n != (Stats{Failed: 1}) {
		t.Fatalf("counted %+v", n)
	}
	w.locked(func() { // its owner ends it, and reads until the peer has
		w.loop.FinishWrites(s.fd)
		s.in = []byte("what the client had already sent")
		if n, err := w.loop.Read(s.fd, make([]byte, ReadBytes)); n != 0 || err == nil {
			t.Fatal(n, err)
		}
	})
}

func TestClientCertificates(t *testing.T) {
	need := serverConfig.Clone()
	need.ClientAuth, need.ClientCAs = tls.RequireAndVerifyClientCert, theAuthority.Pool()
	with := func(c *tls.Config, certs ...tls.Certificate) *tls.Config {
		c = c.Clone()
		c.Certificates = certs
		return c
	}
	overVersions(t, func(t *testing.T, _ *world, client *tls.Config) {
		for name, c := range map[string]struct {
			client *tls.Config
			told   string
		}{
			"a good one": {with(client, theAuthority.Issue("alice")), ""},
			"none":       {client, "remote error: tls: "},
			"of somebody else": {&tls.Config{ServerName: "pod", RootCAs: theAuthority.Pool(), MinVersion: client.MinVersion, MaxVersion: client.MaxVersion, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				c := certtest.NewAuthority("authority").Issue("alice")
				return &c, nil
			}}, "unknown certificate authority"},
		} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, need)
				s := w.connect(c.client)
				_, err := io.WriteString(s.tls, "x")
				if c.told == "" {
					s.want("x")
					w.locked(func() {
						if p := w.loop.Peer(s.fd); p == nil || p.Subject.CommonName != "alice" {
							t.Fatalf("the peer is %v", p)
						}
					})
					return
				}
				s.eventually("it is refused", func() bool { return s.err != nil })
				if err == nil {
					_, err = s.tls.Read(make([]byte, 1))
				}
				if err == nil || !strings.Contains(err.Error(), c.told) {
					t.Fatalf("the client is told %v", err)
				}
				w.locked(func() {
					if len(s.got) > 0 || w.loop.Peer(s.fd) != nil {
						t.Fatalf("read %q of %v", s.got, w.loop.Peer(s.fd))
					}
				})
			})
		}
	})
}

func TestACertificateThatIsNotVerifiedIsNoPeer(t *testing.T) {
	asks := serverConfig.Clone()
	asks.ClientAuth = tls.RequestClientCert
	w := newWorld(t, asks)
	client := clientConfig.Clone()
	client.Certificates = []tls.Certificate{theAuthority.Issue("alice")}
	s := w.open(client)
	w.locked(func() {
		if p := w.loop.Peer(s.fd); p != nil {
			t.Fatalf("the peer is %v", p)
		}
	})
}

func TestBeforeTLSBeginsTheSocketIsPlain(t *testing.T) {
	w := newWorld(t, serverConfig)
	s := w.connect(nil)
	w.locked(func() { // a socket like the other, on which TLS has not begun
		w.loop.sockets[s.fd] = &socket{loop: w.loop, fd: s.fd, ref: s.ref}
	})
	s.arrive([]byte("a line before"))
	s.want("a line before")
	if n, err := s.write([]byte("plain")); n != 5 || err != nil || string(s.out) != "plain" {
		t.Fatal(n, err, s.out)
	}
	s.out = nil
	s.tls = tls.Client(s.peer, clientConfig)
	s.peer.hold = true
	go s.tls.Handshake()
	s.eventually("the client has begun", func() bool { return len(s.peer.kept) > 0 })
	w.locked(func() {
		early := s.peer.kept
		s.peer.hold = false
		if err := w.loop.Begin(s.fd, early); err != nil {
			t.Fatal(err)
		}
	})
	io.WriteString(s.tls, "secret")
	s.want("secret")
}

// Stalled clients take no worker, wherever they stall.
func TestStalledHandshakesHoldUpNobody(t *testing.T) {
	w := newWorld(t, serverConfig)
	for i := range 300 {
		s := w.connect(clientConfig)
		s.peer.hold = true
		go s.tls.Handshake() // ends when its socket is closed
		s.eventually("the client has begun", func() bool { return len(s.peer.kept) > 0 })
		hello := s.peer.kept
		s.arrive(hello[:len(hello)-i%2]) // whole, or all but a byte
	}
	s := w.open(clientConfig)
	io.WriteString(s.tls, "through")
	s.want("through")
	w.locked(func() {
		for _, s := range w.socks {
			s.close()
		}
	})
	s.eventually("nothing is left of them", func() bool {
		w.net.workers.mu.Lock()
		defer w.net.workers.mu.Unlock()
		return w.net.workers.begun == 0
	})
	if n := w.net.Stats(); n != (Stats{OK: 1, Closed: 300}) {
		t.Errorf("counted %+v", n)
	}
}

func TestOneWhoHasSentNothingIsNotCounted(t *testing.T) {
	w := newWorld(t, serverConfig)
	s := w.connect(nil)
	w.locked(s.close)
	if n := w.net.Stats(); n != (Stats{}) {
		t.Errorf("counted %+v", n)
	}
}

func TestWhereTooManyHaveBegunTheLongestStalledGivesWay(t *testing.T) {
	w := newWorkers()
	peer := func(since time.Duration, p phase) *handshake {
		h := newHandshake(w, nil, nil)
		switch p {
		case phaseParked:
			h.move(w.parked, p)
		case phaseFresh:
			w.enqueue(h, p)
		}
		h.since = time.Now().Add(-since)
		return h
	}
	w.begun = maxBegun
	old, recent := peer(2*stalled, phaseParked), peer(0, phaseParked)
	fresh := peer(0, phaseFresh)
	if h := w.pick(); h != old || h.err != errStalled {
		t.Fatal("the one that stalls for longest does not give way")
	}
	old.move(nil, phaseWorking)
	if h := w.pick(); h != nil {
		t.Fatal("one that does not stall gives way", h == recent)
	}
	old.result = errTest
	w.put(old, true)
	if h := w.pick(); h != fresh || w.begun != maxBegun {
		t.Fatal("then the next begins")
	}
}

func TestThoseThatHaveBegunGoFirst(t *testing.T) {
	w := newWorkers()
	fresh, ready := newHandshake(w, nil, nil), newHandshake(w, nil, nil)
	w.enqueue(fresh, phaseFresh)
	w.enqueue(ready, phaseReady)
	if w.pick() != ready {
		t.Error("one more begins while another could end")
	}
}

func TestWhereMoreComeThanCanBeMadeTheLatestIsFirst(t *testing.T) {
	w := newWorkers()
	var all []*handshake
	for i := range 3 {
		h := newHandshake(w, nil, nil)
		w.enqueue(h, phaseFresh)
		h.since = time.Now().Add(time.Duration(i-3) * time.Second / 2)
		all = append(all, h)
	}
	for i, want := range []*handshake{all[2], all[0], all[1]} {
		if i == 1 {
			all[0].since = time.Now() // as if it were not long
		}
		h := w.pick()
		if h != want {
			t.Fatal("pick ", i)
		}
		h.move(nil, phaseWorking)
	}
}

func TestWhatComesDuringAHandshakeIsBounded(t *testing.T) {
	t.Run("before the ClientHello is whole", func(t *testing.T) {
		w := newWorld(t, serverConfig)
		s := w.connect(nil)
		s.arrive([]byte{recordHandshake, 3, 1, 0, 4, clientHello, 0, 0x3f, 0xf0})
		s.arrive(bytes.Repeat([]byte{recordHandshake, 3, 1, 0, 1, 0}, maxFirst/6-2))
		w.locked(func() {
			if s.err != nil {
				t.Fatal("too early: ", s.err)
			}
		})
		s.arrive(bytes.Repeat([]byte{recordHandshake, 3, 1, 0, 1, 0}, 3))
		w.locked(func() {
			if !errors.Is(s.err, errHello) {
				t.Fatal(s.err)
			}
		})
	})
	t.Run("after it", func(t *testing.T) {
		w := newWorld(t, serverConfig)
		s := w.connect(clientConfig)
		s.peer.hold = true
		go s.tls.Handshake() // ends when its socket is closed
		s.eventually("the client has begun", func() bool { return len(s.peer.kept) > 0 })
		hello := s.peer.kept
		s.arrive(hello)
		s.eventually("the server waits", func() bool {
			w.net.workers.mu.Lock()
			defer w.net.workers.mu.Unlock()
			return w.net.workers.parked.Len() > 0
		})
		s.arrive(make([]byte, maxShaking+1))
		w.locked(func() {
			if !errors.Is(s.err, errShaking) {
				t.Fatal(s.err)
			}
		})
	}) // nothing is left of it: see newWorld
}

func TestWhatComesWhileAWorkerHasAHandshakeIsNotForgotten(t *testing.T) {
	for what, comes := range map[string]func(w *workers, h *handshake){
		"input":  func(_ *workers, h *handshake) { h.input([]byte("x")) },
		"an end": func(w *workers, h *handshake) { w.interrupt(h, errClosed) },
	} {
		w := newWorkers()
		h := newHandshake(w, nil, nil)
		h.move(nil, phaseWorking)
		comes(w, h)
		if h.phase != phaseWorking {
			t.Errorf("%s: another worker may take it", what)
		}
		if w.put(h, false); first(w.ready) != h {
			t.Errorf("%s: no worker takes it again", what)
		}
	}
}

func TestASocketWhosePeerAcknowledgesNothingFails(t *testing.T) {
	overVersions(t, func(t *testing.T, w *world, client *tls.Config) {
		s := w.open(client)
		w.locked(func() { w.loop.Abandon(s.fd, 3*time.Second) })
		if s.abandon != 3*time.Second {
			t.Errorf("it fails after %v", s.abandon)
		}
	})
}
