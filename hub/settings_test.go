package hub

import (
	"net/http"
	"net/netip"
	"testing"

	"pushpod/auth"
	"pushpod/presence"
)

// change sets the settings of a pod that runs.
func (p *pod) change(f func(*Settings)) {
	to := p.Hub.Settings()
	f(&to)
	p.Set(to)
}

func TestLimitsChangeWhileThePodRuns(t *testing.T) {
	t.Parallel()
	var store *presence.Store
	p := startPod(t, set{hub: func(o *Options) { store = o.Presence.(*presence.Store) }})
	a := p.connect("alice")
	p.connect("alice")

	// Those that are there count, also if nobody has counted them so far.
	p.change(func(s *Settings) { s.Limits.PerIP = 2 })
	p.wantRefused("bob", http.StatusTooManyRequests)
	p.change(func(s *Settings) { s.Limits.PerIP = 3 })
	p.connect("bob")
	p.wantRefused("carol", http.StatusTooManyRequests)
	a.close()
	p.eventually("one has left", func() bool { return p.Len() == 2 })
	p.connect("carol")
	p.wantRefused("dave", http.StatusTooManyRequests)
	p.change(func(s *Settings) { s.Limits.PerIP = 0 })
	p.connect("dave")

	p.change(func(s *Settings) { s.Limits.Connections = 4 })
	p.wantRefused("erin", http.StatusServiceUnavailable)
	p.change(func(s *Settings) { s.Limits.Connections = 0 })

	store.SetLimit(presence.Limit{PerUser: 1})
	p.wantRefused("alice", http.StatusTooManyRequests)
	store.SetLimit(presence.Limit{PerUser: 1, OnExcess: presence.OnExcessCloseOldest})
	p.connect("alice")
	p.eventually("the older one is replaced", func() bool { return p.CountUser("alice") == 1 })
	store.SetLimit(presence.Limit{})
	p.connect("alice")

	p.change(func(s *Settings) { s.Limits.HandshakesPerSecond = 1 })
	p.gate.handshakes.SetBurst(0)
	p.wantRefused("frank", http.StatusTooManyRequests)
	p.change(func(s *Settings) { s.Cookie = "other" })
	p.wantRefused("frank", http.StatusTooManyRequests) // what has not changed is not made anew
	p.change(func(s *Settings) { s.Limits.HandshakesPerSecond = 0 })
	p.connect("frank")
}

func TestOriginsAndProxiesChangeWhileThePodRuns(t *testing.T) {
	t.Parallel()
	p := startPod(t, set{})
	page := func(origin string, status int) {
		t.Helper()
		if got, _ := p.getWith(http.Header{"Origin": {origin}}); got != status {
			t.Errorf("a page of %s: %d, want %d", origin, got, status)
		}
	}
	const ours, theirs = "https://app.example", "https://other.example"
	page(ours, http.StatusForbidden)
	p.change(func(s *Settings) { s.Origins = auth.NewOrigins([]string{ours}) })
	page(ours, http.StatusUpgradeRequired)
	page(theirs, http.StatusForbidden)
	p.change(func(s *Settings) { s.Origins = auth.NewOrigins([]string{theirs}) })
	page(ours, http.StatusForbidden)
	page(theirs, http.StatusUpgradeRequired)

	peer := netip.MustParseAddr("10.1.2.3")
	if p.TrustsProxy(peer) {
		t.Error("a stranger is trusted")
	}
	p.change(func(s *Settings) { s.Proxies = auth.NewProxies([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}) })
	if !p.TrustsProxy(peer) {
		t.Error("a proxy is not trusted")
	}
}

func TestTokensAreJudgedByTheRulesOfTheMoment(t *testing.T) {
	t.Parallel()
	const other = auth.Secret("another secret of thirty-two bytes or more")
	p := startTokenPod(t, nil, nil)
	signed := func(secret auth.Secret) string {
		t.Helper()
		token, err := auth.Issue(secret, map[string]any{"sub": "alice", "exp": inAnHour()})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	get := func(token string) int {
		status, _ := p.getWith(http.Header{"Authorization": {"Bearer " + token}})
		return status
	}
	good := signed(tokenSecret)
	if got := get(good); got != http.StatusUpgradeRequired {
		t.Fatalf("a good token: %d", got)
	}
	with := func(r auth.Rules) {
		t.Helper()
		tokens, err := p.tokens().With(r)
		if err != nil {
			t.Fatal(err)
		}
		p.change(func(s *Settings) { s.Tokens = tokens })
	}
	with(auth.Rules{Secret: other, SecretOld: tokenSecret, RequireExp: true})
	if got := get(good); got != http.StatusUpgradeRequired {
		t.Errorf("signed by the old secret: %d", got)
	}
	with(auth.Rules{Secret: other, RequireExp: true})
	if got := get(good); got != http.StatusUnauthorized {
		t.Errorf("signed by a secret that is gone: %d", got)
	}
	if got := get(signed(other)); got != http.StatusUpgradeRequired {
		t.Errorf("signed by the new one: %d", got)
	}
}

// What the stream may keep follows its settings, and what is known of its entries stays.
func TestTheStreamIsBoundedByTheSettingsOfTheMoment(t *testing.T) {
	c := streamCap{caps: caps{1000, 0}}
	if n := c.add(100); n != 1000 {
		t.Errorf("%d", n)
	}
	c.caps = caps{1000, 10_000}
	for range 200 {
		c.add(100)
	}
	if n := c.add(100); n < 95 || n > 105 {
		t.Errorf("%d entries of 100 bytes, want about 100", n)
	}
	c.caps = caps{10, 10_000}
	if n := c.add(100); n > 10 {
		t.Errorf("%d entries, want 10 at most", n)
	}
	c.caps = caps{1000, 20_000}
	for range 300 {
		c.add(100)
	}
	if n := c.add(100); n < 190 || n > 210 {
		t.Errorf("%d entries of 100 bytes, want about 200", n)
	}
}
