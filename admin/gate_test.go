package admin

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pushpod/hub"
	"pushpod/internal/secret"
)

const testToken = "a token of operators"

// door is a gate with a route that acts, /act.
type door struct {
	*gate
	acted   int
	refused []string
}

func newDoor(listen string, token secret.Text) *door {
	d := &door{}
	o := Options{
		Listen: listen, Token: token, Pprof: true, Registry: prometheus.NewRegistry(),
		Problems: func() []hub.Problem { return nil },
		Refused:  func(reason string, remote netip.Addr) { d.refused = append(d.refused, reason+" "+remote.String()) },
	}
	d.gate = newGate(o, func(o Options, g *gate) []route {
		return append(routes(o, g), route{"/act", acting, func(http.ResponseWriter, *http.Request) { d.acted++ }})
	})
	return d
}

// ask sends a request: METHOD, target, and "Name: value" lines. The name of a field of
// a form is followed by =.
func (d *door) ask(method, target string, lines ...string) *httptest.ResponseRecorder {
	header, form := http.Header{}, url.Values{}
	for _, line := range lines {
		if name, value, is := strings.Cut(line, ": "); is {
			header.Add(name, value)
		} else if name, value, is := strings.Cut(line, "="); is {
			form.Add(name, value)
		}
	}
	r := httptest.NewRequest(method, target, strings.NewReader(form.Encode()))
	r.Host, r.Header, r.RemoteAddr = "127.0.0.1:9090", header, "10.1.2.3:40000"
	if host := header.Get("Host"); host != "" {
		r.Host = host
	}
	if remote := header.Get("Test-Remote"); remote != "" {
		r.RemoteAddr = remote
	}
	if len(form) > 0 {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

const bearer = "Authorization: Bearer " + testToken

func TestWhoIsAnswered(t *testing.T) {
	const (
		local = "127.0.0.1:9090"
		all   = ":9090"
		named = "admin.example.org:9090"
	)
	evil, crossSite := "Origin: https://evil.example", "Sec-Fetch-Site: cross-site"
	for _, c := range []struct {
		listen string
		token  secret.Text
		ask    string
		lines  []string
		status int
	}{
		{local, "", "GET /", nil, 200},
		{local, "", "GET /debug/pprof/", nil, 200},
		{local, "", "POST /act", nil, 200},
		{local, "", "GET /act", nil, 405},
		{local, "", "HEAD /", nil, 200},
		{local, "", "GET /nope", nil, 404},
		{local, "", "POST /login", nil, 404},

		// A token that is configured is asked for on loopback too.
		{local, testToken, "GET /", nil, 401},
		{local, testToken, "GET /", []string{bearer}, 200},
		{local, testToken, "GET /", []string{bearer, "Host: evil.example"}, 403},
		{all, testToken, "GET /", nil, 401},
		{all, testToken, "GET /nope", nil, 401},
		{all, testToken, "GET /nope", []string{bearer}, 404},
		{all, testToken, "GET /debug/pprof", nil, 401},
		{all, testToken, "GET /debug/pprof/heap", nil, 401},
		{all, testToken, "GET /debug/pprof/heap", []string{bearer}, 200},
		{all, testToken, "GET //debug/pprof/", nil, 401},
		{all, testToken, "GET /healthz/../debug/pprof/cmdline", nil, 401},
		{all, testToken, "POST /debug/pprof/symbol", nil, 401},
		{all, testToken, "POST /act", nil, 401},
		{all, testToken, "POST /act", []string{bearer}, 200},
		{all, testToken, "GET /act", []string{bearer}, 405},
		{all, testToken, "PUT /act", []string{bearer}, 405},
		{all, testToken, "GET /login", nil, 401},
		{all, testToken, "GET /login", []string{bearer}, 303},
		{all, testToken, "GET /", []string{"Authorization: bearer  " + testToken + " "}, 200},
		{all, testToken, "GET /", []string{"Authorization: Bearer " + testToken + "x"}, 401},
		{all, testToken, "GET /", []string{"Authorization: Bearer " + testToken[1:]}, 401},
		{all, testToken, "GET /", []string{"Authorization: Bearer"}, 401},
		{all, testToken, "GET /", []string{"Authorization: Basic " + testToken}, 401},
		{all, testToken, "GET /", []string{"Authorization: " + testToken}, 401},
		{all, testToken, "GET /?token=" + url.QueryEscape(testToken), nil, 401},
		{all, testToken, "GET /", []string{"Cookie: " + sessionCookie + "=" + strings.ReplaceAll(testToken, " ", "")}, 401},

		// Behind a token any name will do: a page that does not know it gets nothing.
		{all, testToken, "GET /", []string{bearer, "Host: pushpod.default.svc:9090"}, 200},

		// Without one, a page of a stranger could be led here under a name of his own.
		{local, "", "GET /", []string{"Host: evil.example"}, 403},
		{local, "", "GET /", []string{"Host: evil.example:9090"}, 403},
		{local, "", "GET /", []string{"Host: 127.0.0.1.evil.example"}, 403},
		{local, "", "GET /", []string{"Host: localhost.evil.example"}, 403},
		{local, "", "POST /act", []string{"Host: evil.example"}, 403},
		{local, "", "GET /nope", []string{"Host: evil.example"}, 403},
		{local, "", "GET /", []string{"Host: LOCALHOST.:80"}, 200},
		{local, "", "GET /", []string{"Host: pod.localhost"}, 200},
		{local, "", "GET /", []string{"Host: [::1]:9090"}, 200},
		{local, "", "GET /", []string{"Host: [::1]"}, 200},
		{local, "", "GET /", []string{"Host: 127.0.0.1"}, 200},
		{local, "", "GET /", []string{"Host: 192.0.2.1:9090"}, 200},
		{all, "", "GET /", []string{"Host: pushpod.default.svc"}, 403},
		{all, "", "GET /", []string{"Host: 192.0.2.1:9090"}, 200},
		{named, "", "GET /", []string{"Host: Admin.Example.org:9090"}, 200},
		{named, "", "GET /", []string{"Host: example.org"}, 403},
		{all, "", "GET /", []string{"Host: :9090"}, 403},

		// Pages of other sites.
		{local, "", "POST /act", []string{evil}, 403},
		{local, "", "POST /act", []string{"Origin: null"}, 403},
		{local, "", "POST /act", []string{crossSite}, 403},
		{local, "", "POST /act", []string{crossSite, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 403},
		{local, "", "POST /act", []string{"Sec-Fetch-Site: same-site"}, 403},
		{local, "", "POST /act", []string{"Sec-Fetch-Site: same-origin", "Origin: http://127.0.0.1:9090"}, 200},
		{local, "", "POST /act", []string{"Origin: http://127.0.0.1:9090"}, 200},
		{local, "", "POST /act", []string{"Origin: http://127.0.0.1:8080"}, 403},
		{local, "", "GET /debug/pprof/profile", []string{crossSite, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, 403},
		{local, "", "GET /", []string{crossSite, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, 403},
		{local, "", "GET /", []string{crossSite, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 200},
		{local, "", "GET /", []string{evil}, 403},
		{local, "", "GET /", []string{"Origin: http://127.0.0.1:9090"}, 200},
		{all, testToken, "POST /act", []string{bearer, evil}, 403},
		{all, testToken, "POST /login", []string{evil, "token=" + testToken}, 403},

		// Health, readiness and metrics are anyone's.
		{all, testToken, "GET /healthz", []string{"Host: evil.example", evil, crossSite}, 200},
		{all, testToken, "GET /readyz", []string{"Host: x"}, 200},
		{all, testToken, "GET /metrics", []string{"Host: pushpod"}, 200},
		{all, testToken, "HEAD /healthz", nil, 200},
		{all, testToken, "POST /healthz", nil, 401},
	} {
		d := newDoor(c.listen, c.token)
		method, target, _ := strings.Cut(c.ask, " ")
		if w := d.ask(method, target, c.lines...); w.Code != c.status {
			t.Errorf("listen %s, token %v, %s %q: %d %s, want %d", c.listen, c.token != "", c.ask, c.lines, w.Code, w.Body, c.status)
		}
		if did := c.ask == "POST /act" && c.status == 200; did != (d.acted == 1) {
			t.Errorf("%s %q acted %d times", c.ask, c.lines, d.acted)
		}
	}
}

func TestAllButHealthMetricsAndStylesNeedTheToken(t *testing.T) {
	d := newDoor(":9090", testToken)
	var free []string
	for pattern, a := range d.access {
		method, path, _ := strings.Cut(pattern, " ")
		switch w := d.ask(method, strings.TrimSuffix(path, "{$}")); {
		case w.Code == http.StatusOK && a == open:
			free = append(free, path)
		case w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "":
			t.Errorf("%s: %d", pattern, w.Code)
		}
		if (method == http.MethodPost) != (a == acting || a == entering) {
			t.Errorf("%s: what acts is POST, and nothing else is", pattern)
		}
	}
	slices.Sort(free)
	want := []string{"/healthz", "/metrics", "/readyz"}
	for _, r := range assetRoutes() { // the same in every copy of the program
		want = append(want, r.path)
	}
	slices.Sort(want)
	if !slices.Equal(free, want) || d.acted != 0 {
		t.Errorf("answered without a token: %v, want %v", free, want)
	}
}

// cookies are those that an answer sets, as a request brings them.
func cookies(w *httptest.ResponseRecorder) string {
	var pairs []string
	for _, c := range w.Result().Cookies() {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return "Cookie: " + strings.Join(pairs, "; ")
}

func TestLoginGivesASession(t *testing.T) {
	d := newDoor(":9090", testToken)
	form := d.ask("GET", "/debug/pprof/heap?debug=1", "Accept: text/html,*/*")
	if body := form.Body.String(); form.Code != 401 || !strings.Contains(body, `action="/login"`) || !strings.Contains(body, `value="/debug/pprof/heap?debug=1"`) {
		t.Errorf("%d %s", form.Code, body)
	}
	wrong := d.ask("POST", "/login", "token=nonsense", "next=/debug/pprof/")
	if body := wrong.Body.String(); wrong.Code != 401 || len(wrong.Result().Cookies()) > 0 || !strings.Contains(body, "not the token") ||
		!strings.Contains(body, `value="/debug/pprof/"`) || strings.Contains(body, "nonsense") {
		t.Errorf("a wrong token: %d %s", wrong.Code, body)
	}
	if want := []string{"wrong token 10.1.2.3"}; !slices.Equal(d.refused, want) {
		t.Errorf("told of %q, want %q", d.refused, want)
	}

	right := d.ask("POST", "/login", "token="+testToken, "next=/debug/pprof/", "Sec-Fetch-Site: same-origin", "Origin: http://127.0.0.1:9090")
	if right.Code != 303 || right.Header().Get("Location") != "/debug/pprof/" {
		t.Fatalf("the token: %d %v", right.Code, right.Header())
	}
	c := right.Result().Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" || c.Domain != "" || c.MaxAge != 12*3600 {
		t.Errorf("the cookie is %+v", c)
	}
	if strings.Contains(right.Header().Get("Set-Cookie"), "operators") {
		t.Error("the cookie holds the token")
	}
	session := cookies(right)
	for _, ask := range []string{"GET /", "GET /debug/pprof/heap", "POST /act"} {
		method, target, _ := strings.Cut(ask, " ")
		if w := d.ask(method, target, session); w.Code != 200 {
			t.Errorf("%s with a session: %d", ask, w.Code)
		}
	}
	if w := d.ask("POST", "/act", session, "Origin: https://evil.example"); w.Code != 403 || d.acted != 1 {
		t.Errorf("another site's page acts by the session: %d", w.Code)
	}
	if w := d.ask("GET", "/", session); !strings.Contains(w.Body.String(), `action="/logout"`) {
		t.Errorf("no way to log out: %s", w.Body)
	}
	if out := d.ask("POST", "/logout", session).Result().Cookies()[0]; out.MaxAge >= 0 || out.Value != "" || !out.HttpOnly {
		t.Errorf("logged out with %+v", out)
	}
}

func TestSessionsEnd(t *testing.T) {
	d := newDoor(":9090", testToken)
	value := d.sessions.cookie(true).Value
	has := func(d *door, value string) bool {
		return d.ask("GET", "/", "Cookie: "+sessionCookie+"="+value).Code == 200
	}
	if !has(d, value) || d.ask("GET", "/", "Cookie: "+sessionCookie+"=x; "+sessionCookie+"="+value).Code != 200 {
		t.Error("a session is refused")
	}
	ends, signature, _ := strings.Cut(value, ".")
	for _, forged := range []string{"", ".", ends + ".", ends, "9" + value, value + "x", "x" + value, ends + "." + strings.ToLower(signature), "." + signature} {
		if has(d, forged) {
			t.Errorf("%q is taken for a session", forged)
		}
	}
	if has(newDoor(":9090", testToken), value) {
		t.Error("a session outlives the process")
	}
	now := time.Now()
	d.sessions.now = func() time.Time { return now.Add(sessionLasts - time.Minute) }
	if !has(d, value) {
		t.Error("a session ends too early")
	}
	d.sessions.now = func() time.Time { return now.Add(sessionLasts + time.Second) }
	if has(d, value) {
		t.Error("a session never ends")
	}
	if !d.sessions.cookie(true).Secure {
		t.Error("over TLS, the cookie would go over plain HTTP too")
	}
}

func TestGuessesAreBounded(t *testing.T) {
	d := newDoor(":9090", testToken)
	looked := 0
	for i := range 3 * triesAtOnce {
		w := d.ask("GET", "/", fmt.Sprintf("Authorization: Bearer %d", i))
		if i%2 == 1 {
			w = d.ask("POST", "/login", fmt.Sprintf("token=%d", i))
		}
		if w.Code == 401 {
			looked++
		} else if w.Code != 429 || w.Header().Get("Retry-After") == "" {
			t.Fatalf("%d %v", w.Code, w.Header())
		}
	}
	if looked > triesAtOnce+1 {
		t.Errorf("%d guesses from one address were looked at", looked)
	}
	if w := d.ask("POST", "/login", "token=x", "next=/config"); w.Code != 429 || !strings.Contains(w.Body.String(), `action="/login"`) ||
		!strings.Contains(w.Body.String(), "wait a few seconds") || !strings.Contains(w.Body.String(), `value="/config"`) {
		t.Errorf("a person is told %d %s", w.Code, w.Body)
	}
	if w := d.ask("GET", "/", "Authorization: Bearer x", "Accept: application/json"); w.Code != 429 || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("a program is told %d %s", w.Code, w.Body)
	}
	if w := d.ask("GET", "/", bearer); w.Code != 429 {
		t.Errorf("a right guess among too many: %d", w.Code)
	}
	if w := d.ask("GET", "/", "Cookie: "+sessionCookie+"="+d.sessions.cookie(false).Value); w.Code != 200 {
		t.Errorf("who has logged in already is locked out: %d", w.Code)
	}
	if w := d.ask("GET", "/", bearer, "Test-Remote: 10.9.9.9:1"); w.Code != 200 {
		t.Errorf("another address is locked out: %d", w.Code)
	}
	for range 5 * triesAtOnce {
		if w := d.ask("GET", "/", bearer, "Test-Remote: [2001:db8::1]:1"); w.Code != 200 {
			t.Fatalf("the right token counts as a guess: %d", w.Code)
		}
	}
}

func TestGuessersOfOneNetworkAreOne(t *testing.T) {
	limits, now := newTries(), time.Now()
	of := func(address string) any { return limits.limit(netip.MustParseAddr(address), now) }
	if of("2001:db8::1") != of("2001:db8::ffff:1") || of("2001:db8::1") == of("2001:db8:0:1::1") || of("10.0.0.1") == of("10.0.0.2") {
		t.Error("networks are told apart otherwise")
	}
	guesser := netip.MustParseAddr("10.255.0.1")
	limits.limit(guesser, now).AllowN(now, triesAtOnce)
	for i := range 3 * triesFrom {
		limits.limit(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), now).AllowN(now, 1)
	}
	if len(limits.from) > triesFrom || limits.limit(guesser, now).AllowN(now, 1) {
		t.Errorf("%d addresses are kept; a guesser among many is forgotten", len(limits.from))
	}
	later := now.Add(triesAtOnce * triesEvery)
	if limits.limit(netip.MustParseAddr("10.2.0.1"), later) == limits.rest {
		t.Error("addresses are never forgotten")
	}
}

func TestPagesAreHardened(t *testing.T) {
	d := newDoor(":9090", testToken)
	for name, w := range map[string]*httptest.ResponseRecorder{
		"the form": d.ask("GET", "/"), "the console": d.ask("GET", "/", bearer), "profiles": d.ask("GET", "/debug/pprof/", bearer),
		"not found": d.ask("GET", "/nope", bearer), "refused": d.ask("POST", "/act", bearer, "Origin: x"), "health": d.ask("GET", "/healthz"),
	} {
		policy := w.Header().Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy %q lacks %s", name, policy, part)
			}
		}
		for field, want := range map[string]string{
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Cross-Origin-Resource-Policy": "same-origin", "Access-Control-Allow-Origin": "",
		} {
			if got := w.Header().Get(field); got != want {
				t.Errorf("%s: %s is %q, want %q", name, field, got, want)
			}
		}
	}
}

func TestProgramsGetJSONInPlaceOfTheForm(t *testing.T) {
	d := newDoor(":9090", testToken)
	for _, lines := range [][]string{nil, {"Accept: */*"}, {"Accept: text/html, application/json"}} {
		if w := d.ask("GET", "/", lines...); !strings.HasPrefix(w.Body.String(), "<!doctype html>") || w.Code != 401 {
			t.Errorf("%q: %d %s", lines, w.Code, w.Body)
		}
	}
	for _, ask := range []string{"GET /", "POST /act"} {
		method, target, _ := strings.Cut(ask, " ")
		w := d.ask(method, target, "Accept: application/json")
		if w.Code != 401 || w.Header().Get("Content-Type") != "application/json" || !strings.Contains(w.Body.String(), "admin.token") {
			t.Errorf("%s: %d %s", ask, w.Code, w.Body)
		}
	}
}

func TestLoginLeadsToOwnPathsOnly(t *testing.T) {
	d := newDoor(":9090", testToken)
	for next, want := range map[string]string{
		"/debug/pprof/heap?debug=1": "/debug/pprof/heap?debug=1", "": "/", "//evil.example": "/", `/\evil.example`: "/", `\\evil.example`: "/",
		"https://evil.example/": "/", "javascript:alert(1)": "/", "evil.example": "/", "/\n/evil": "/", "///evil.example": "/",
	} {
		w := d.ask("POST", "/login", "token="+testToken, "next="+next)
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("next=%q leads to %q, want %q", next, got, want)
		}
	}
	if w := d.ask("POST", "/login", "token=x", `next=/"><script>`); strings.Contains(w.Body.String(), "<script>") {
		t.Errorf("%s", w.Body)
	}
	if w := d.ask("POST", "/login", "token="+strings.Repeat("x", maxForm)); w.Code != 400 {
		t.Errorf("a huge form: %d", w.Code)
	}
}

func TestArgumentsOfTheProgramAreNotShown(t *testing.T) {
	w := newDoor("127.0.0.1:9090", "").ask("GET", "/debug/pprof/cmdline")
	if len(os.Args) < 2 || w.Body.String() != os.Args[0] {
		t.Errorf("%q, of %q", w.Body, os.Args)
	}
}

func TestRoutesAreWhatTheyShouldBe(t *testing.T) {
	plain := slices.Sorted(maps.Keys(newGate(Options{Listen: "127.0.0.1:1", Registry: prometheus.NewRegistry()}, routes).access))
	plain = slices.DeleteFunc(plain, func(pattern string) bool {
		return strings.HasPrefix(pattern, "GET /console/") && strings.Contains(pattern, ".")
	})
	if want := []string{"GET /healthz", "GET /metrics", "GET /readyz", "GET /{$}"}; !slices.Equal(plain, want) {
		t.Errorf("without a token and profiles: %q, want %q", plain, want)
	}
}
