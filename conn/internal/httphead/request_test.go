package httphead

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const key = "dGhlIHNhbXBsZSBub25jZQ==" // RFC 6455 section 1.3

// handshake is a good one for /ws?user=u, changed by lines: "Name: value" takes the
// place of the field of that name or is added, "-Name" removes it, "+Name: value"
// adds a second one, and a line without any of these is added as it is.
func handshake(lines ...string) string {
	return head("GET /ws?user=u HTTP/1.1", append([]string{
		"Host: localhost", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key,
	}, lines...)...)
}

func head(first string, lines ...string) string {
	var fields []string
	for _, line := range lines {
		name, _, _ := strings.Cut(strings.TrimLeft(line, "-+"), ":")
		if !strings.HasPrefix(line, "+") {
			fields = slices.DeleteFunc(fields, func(f string) bool {
				n, _, _ := strings.Cut(f, ":")
				return strings.EqualFold(n, name)
			})
		}
		if !strings.HasPrefix(line, "-") {
			fields = append(fields, strings.TrimPrefix(line, "+"))
		}
	}
	return first + "\r\n" + strings.Join(append(fields, "", ""), "\r\n")
}

// asking is a good handshake with another request line.
func asking(line string) string {
	_, rest, _ := strings.Cut(handshake(), "\r\n")
	return line + "\r\n" + rest
}

func TestRequestsAreCheckedStrictly(t *testing.T) {
	full := "user=u"
	for i := range maxParameters - 1 {
		full += fmt.Sprintf("&p%d=", i)
	}
	cases := map[string]struct {
		head   string
		status int // 0: it is taken
	}{
		"good": {handshake(), 0},

		// The upgrade (RFC 6455 section 4.2.1).
		"names in another case":        {handshake("sec-websocket-KEY: " + key), 0},
		"values in another case":       {handshake("upgrade: WebSocket", "CONNECTION: keep-alive, upgrade"), 0},
		"connection in two lines":      {handshake("+Connection: keep-alive"), 0},
		"space around values":          {handshake("Sec-WebSocket-Version: \t 13 \t"), 0},
		"no space before values":       {handshake("Sec-WebSocket-Version:13"), 0},
		"upgrade among others":         {handshake("Upgrade: h2c, websocket"), 0},
		"compression is offered":       {handshake("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), 0},
		"upgrade twice":                {handshake("+Upgrade: websocket"), 400},
		"connection without upgrade":   {handshake("Connection: keep-alive"), 400},
		"connection, but no upgrade":   {handshake("-Upgrade"), 0},
		"no connection":                {handshake("-Connection"), 400},
		"version 8":                    {handshake("Sec-WebSocket-Version: 8"), 426},
		"version 14":                   {handshake("Sec-WebSocket-Version: 14"), 426},
		"no version":                   {handshake("-Sec-WebSocket-Version"), 400},
		"version twice":                {handshake("+Sec-WebSocket-Version: 13"), 400},
		"no key":                       {handshake("-Sec-WebSocket-Key"), 400},
		"empty key":                    {handshake("Sec-WebSocket-Key:"), 400},
		"key twice":                    {handshake("+Sec-WebSocket-Key: " + key), 400},
		"key of 15 bytes":              {handshake("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"), 400},
		"key of 17 bytes":              {handshake("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="), 400},
		"key of 18 bytes":              {handshake("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA"), 400},
		"two keys in one":              {handshake("Sec-WebSocket-Key: " + key + key), 400},
		"key not base64":               {handshake("Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), 400},
		"its subprotocol":              {handshake("Sec-WebSocket-Protocol: other, pushpod.v1"), 0},
		"its subprotocol, second line": {handshake("Sec-WebSocket-Protocol: other", "+Sec-WebSocket-Protocol: pushpod.v1"), 0},
		"an empty subprotocol":         {handshake("Sec-WebSocket-Protocol:"), 0},
		"only empty subprotocols":      {handshake("Sec-WebSocket-Protocol: , ,", "+Sec-WebSocket-Protocol: "), 0},
		"unknown subprotocols":         {handshake("Sec-WebSocket-Protocol: other, pushpod.v2"), 400},
		"unknown and empty ones":       {handshake("Sec-WebSocket-Protocol: other,", "+Sec-WebSocket-Protocol: "), 400},
		"subprotocol, other case":      {handshake("Sec-WebSocket-Protocol: PushPod.v1"), 400},

		// Host and bodies.
		"host with a port":           {handshake("Host: [::1]:8080"), 0},
		"no host":                    {handshake("-Host"), 400},
		"empty host":                 {handshake("Host:"), 400},
		"host twice":                 {handshake("+Host: other"), 400},
		"host with a path":           {handshake("Host: x/y"), 400},
		"host with a user":           {handshake("Host: a@x"), 400},
		"host with a space":          {handshake("Host: a b"), 400},
		"origin twice":               {handshake("Origin: http://x", "+Origin: http://x"), 400},
		"length 0":                   {handshake("Content-Length: 0"), 0},
		"a body":                     {handshake("Content-Length: 5"), 400},
		"a huge body":                {handshake("Content-Length: 9999999999999999999999"), 400},
		"length +0":                  {handshake("Content-Length: +0"), 400},
		"empty length":               {handshake("Content-Length:"), 400},
		"length not a number":        {handshake("Content-Length: 0x5"), 400},
		"unknown transfer coding":    {handshake("Transfer-Encoding: rot13"), 400},
		"chunked":                    {handshake("Transfer-Encoding: chunked"), 400},
		"chunked and length 0":       {handshake("Transfer-Encoding: chunked", "Content-Length: 0"), 400},
		"an empty transfer encoding": {handshake("Transfer-Encoding:"), 400},
		"length twice":               {handshake("Content-Length: 0", "+Content-Length: 0"), 400},

		// The lines (RFC 9112 section 5).
		"folded line":             {handshake("X: a\r\n b"), 400},
		"folded by a tab":         {handshake("X: a\r\n\tb: c"), 400},
		"space before the colon":  {handshake("X : a"), 400},
		"no name":                 {handshake("+: a"), 400},
		"no colon":                {handshake("+garbage"), 400},
		"a name with a separator": {handshake("+X(y): a"), 400},
		"NUL":                     {handshake("X: a\x00b"), 400},
		"DEL":                     {handshake("X: a\x7fb"), 400},
		"a bare CR":               {handshake("X: a\rb"), 400},
		"a bare LF":               {handshake("X: a\nb"), 400},
		"a tab in a value":        {handshake("X: a\tb"), 0},
		"a value beyond ASCII":    {handshake("X: é"), 0},

		// The request line (RFC 9112 section 3).
		"HTTP/1.0":               {asking("GET /ws?user=u HTTP/1.0"), 505},
		"HTTP/2.0":               {asking("GET /ws?user=u HTTP/2.0"), 505},
		"HTTP/1.2":               {asking("GET /ws?user=u HTTP/1.2"), 505},
		"HTTP/1.":                {asking("GET /ws?user=u HTTP/1."), 400},
		"HTTP/x.1":               {asking("GET /ws?user=u HTTP/x.1"), 400},
		"http/1.1":               {asking("GET /ws?user=u http/1.1"), 400},
		"no version of HTTP":     {asking("GET /ws?user=u"), 400},
		"no target":              {asking("GET HTTP/1.1"), 400},
		"two spaces":             {asking("GET  /ws?user=u HTTP/1.1"), 400},
		"two spaces behind":      {asking("GET /ws?user=u  HTTP/1.1"), 400},
		"a space at the end":     {asking("GET /ws?user=u HTTP/1.1 "), 400},
		"a space in the target":  {asking("GET /ws?user=a b HTTP/1.1"), 400},
		"a tab in the target":    {asking("GET /ws?user=a\tb HTTP/1.1"), 400},
		"DEL in the target":      {asking("GET /ws?user=a\x7f HTTP/1.1"), 400},
		"target beyond ASCII":    {asking("GET /ws?user=é HTTP/1.1"), 400},
		"a method with a colon":  {asking("GE:T /ws?user=u HTTP/1.1"), 400},
		"HEAD":                   {asking("HEAD /ws?user=u HTTP/1.1"), 405},
		"POST":                   {asking("POST /ws?user=u HTTP/1.1"), 405},
		"PUT":                    {asking("PUT /ws?user=u HTTP/1.1"), 405},
		"DELETE":                 {asking("DELETE /ws?user=u HTTP/1.1"), 405},
		"PATCH":                  {asking("PATCH /ws?user=u HTTP/1.1"), 405},
		"OPTIONS for all":        {asking("OPTIONS * HTTP/1.1"), 405},
		"CONNECT":                {asking("CONNECT x:80 HTTP/1.1"), 405},
		"TRACE":                  {asking("TRACE / HTTP/1.1"), 405},
		"unknown method":         {asking("BREW /ws?user=u HTTP/1.1"), 501},
		"method in another case": {asking("get /ws?user=u HTTP/1.1"), 501},

		// What is asked for.
		"the root":       {asking("GET / HTTP/1.1"), 404},
		"another path":   {asking("GET /other?user=u HTTP/1.1"), 404},
		"another case":   {asking("GET /WS?user=u HTTP/1.1"), 404},
		"a path below":   {asking("GET /ws/?user=u HTTP/1.1"), 404},
		"a path escaped": {asking("GET /%77s?user=u HTTP/1.1"), 404},
		"a fragment":     {asking("GET /ws#?user=u HTTP/1.1"), 404},
		"for all":        {asking("GET * HTTP/1.1"), 400},
		"authority-form": {asking("GET x:80 HTTP/1.1"), 400},
		"relative path":  {asking("GET ws?user=u HTTP/1.1"), 400},

		// Absolute-form (RFC 9112 section 3.2.2).
		"absolute target":          {asking("GET http://x/ws?user=u HTTP/1.1"), 0},
		"absolute, wss":            {asking("GET WSS://x:443/ws?user=u HTTP/1.1"), 0},
		"absolute, other path":     {asking("GET http://x/y HTTP/1.1"), 404},
		"absolute, no path":        {asking("GET http://x HTTP/1.1"), 404},
		"absolute, query at once":  {asking("GET http://x?user=u HTTP/1.1"), 404},
		"absolute, no host":        {asking("GET http:///ws?user=u HTTP/1.1"), 400},
		"absolute, nothing":        {asking("GET http:// HTTP/1.1"), 400},
		"absolute, with a user":    {asking("GET http://a@x/ws?user=u HTTP/1.1"), 400},
		"absolute, unknown scheme": {asking("GET ftp://x/ws?user=u HTTP/1.1"), 400},
		"absolute, one slash":      {asking("GET http:/x/ws?user=u HTTP/1.1"), 400},
		"absolute, without Host":   {head("GET http://x/ws?user=u HTTP/1.1"), 400},

		// The query.
		"as many parameters":  {asking("GET /ws?" + full + " HTTP/1.1"), 0},
		"too many parameters": {asking("GET /ws?" + full + "&more= HTTP/1.1"), 400},
		"empty pairs":         {asking("GET /ws?&&user=u& HTTP/1.1"), 0},
		"escaped":             {asking("GET /ws?us%65r=%75 HTTP/1.1"), 0},
		"parameter twice":     {asking("GET /ws?user=a&user=b HTTP/1.1"), 400},
		"the same twice":      {asking("GET /ws?user=u&user=u HTTP/1.1"), 400},
		"twice, once escaped": {asking("GET /ws?user=a&us%65r=b HTTP/1.1"), 400},
		"bad escape":          {asking("GET /ws?user=%zz HTTP/1.1"), 400},
		"bad escape in name":  {asking("GET /ws?us%zr=u HTTP/1.1"), 400},
		"half an escape":      {asking("GET /ws?user=a%4 HTTP/1.1"), 400},
		"fragment in query":   {asking("GET /ws?user=u#x HTTP/1.1"), 400},

		// Without an upgrade.
		"plain":              {head("GET /ws?user=u HTTP/1.1", "Host: x"), 0},
		"upgrade to another": {handshake("Upgrade: h2c"), 0},
		"plain, doubled":     {head("GET /ws?user=u&user=u HTTP/1.1", "Host: x"), 400},
		"plain, HTTP/1.0":    {head("GET /ws?user=u HTTP/1.0", "Host: x"), 505},
	}
	p := NewParser() // one for all: nothing of a head is in the next one
	for name, tc := range cases {
		r, refusal := p.Parse(tc.head)
		upgrade := strings.Contains(strings.ToLower(tc.head), "websocket\r\n")
		switch {
		case tc.status == 0 && refusal != nil:
			t.Errorf("%s: refused: %+v", name, refusal)
		case tc.status == 0 && (r.Path != Path || r.Upgrade != upgrade || r.Upgrade != (r.Key == key) || !slices.Contains(r.Query, Parameter{"user", "u"})):
			t.Errorf("%s: read as %+v", name, r)
		case tc.status != 0 && (refusal == nil || refusal.Status != tc.status || refusal.Reason == "" || refusal.Error == ""):
			t.Errorf("%s: got %+v, want status %d", name, refusal, tc.status)
		case tc.status != 0 && r.Upgrade:
			t.Errorf("%s: refused, and yet in the right form", name)
		}
	}
}

func TestTokensAndHostsAreOfTheRFCsBytes(t *testing.T) {
	const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	for c := range 256 {
		b := string([]byte{byte(c)})
		if want := strings.Contains(alphanumeric+"!#$%&'*+-.^_`|~", b); isToken(b) != want || isToken("a"+b) != want { // RFC 9110 section 5.6.2
			t.Errorf("%q in a token: %v", b, isToken(b))
		}
		if want := strings.Contains(alphanumeric+"-._~!$&'()*+,;=%:[]", b); isHost(b) != want || isHost(b+"a") != want { // RFC 3986 section 3.2.2
			t.Errorf("%q in a host: %v", b, isHost(b))
		}
		if want := c > ' ' && c < 0x7f; isVisible(b) != want || isVisible("a"+b) != want {
			t.Errorf("%q is visible: %v", b, isVisible(b))
		}
	}
	if isToken("") || isHost("") || isVisible("") {
		t.Error("nothing is taken")
	}
}

func TestTheSubprotocolIsConfirmedOnlyWhereItWasOffered(t *testing.T) {
	p := NewParser()
	for offered, want := range map[string]bool{"pushpod.v1": true, "mqtt, pushpod.v1,graphql-ws": true, "": false, ",": false} {
		if r, refusal := p.Parse(handshake("Sec-WebSocket-Protocol: " + offered)); refusal != nil || r.Subprotocol != want {
			t.Errorf("%q: %v %+v", offered, r.Subprotocol, refusal)
		}
	}
	if r, _ := p.Parse(handshake()); r.Subprotocol {
		t.Error("confirmed, and not offered")
	}
}

func TestEventsNeedNoUpgrade(t *testing.T) {
	p := NewParser()
	for name, tc := range map[string]struct {
		head      string
		status    int
		preflight bool
	}{
		"plain":                 {head: head("GET /sse?user=u HTTP/1.1", "Host: x", "Accept: text/event-stream", "Last-Event-ID: 1-0")},
		"what it accepts":       {head: head("GET /sse HTTP/1.1", "Host: x", "Accept: text/html;q=0.1", "Accept-Encoding: gzip", "Last-Event-ID: \t", "+Last-Event-ID: x")},
		"HTTP/1.0":              {head: head("GET /sse?user=u HTTP/1.0", "Host: x", "Connection: close")},
		"absolute":              {head: head("GET http://x/sse?user=u HTTP/1.1", "Host: y")},
		"with an upgrade":       {head: strings.Replace(handshake("Sec-WebSocket-Version: 8"), "/ws", "/sse", 1)}, // a server may ignore it
		"no host":               {head: head("GET /sse HTTP/1.0"), status: 400},
		"a body":                {head: head("GET /sse HTTP/1.1", "Host: x", "Content-Length: 1"), status: 400},
		"HTTP/2.0":              {head: head("GET /sse HTTP/2.0", "Host: x"), status: 505},
		"HEAD":                  {head: head("HEAD /sse HTTP/1.1", "Host: x"), status: 405},
		"below":                 {head: head("GET /sse/ HTTP/1.1", "Host: x"), status: 404},
		"a preflight":           {head: head("OPTIONS /sse?user=u HTTP/1.1", "Host: x", "Origin: http://x"), status: 405, preflight: true},
		"a preflight of 1.0":    {head: head("OPTIONS /sse HTTP/1.0", "Host: x", "Origin: http://x"), status: 405, preflight: true},
		"no host in it":         {head: head("OPTIONS /sse HTTP/1.1", "Origin: http://x"), status: 405},
		"two hosts in it":       {head: head("OPTIONS /sse HTTP/1.1", "Host: x", "+Host: y", "Origin: http://x"), status: 405},
		"a body in it":          {head: head("OPTIONS /sse HTTP/1.1", "Host: x", "Origin: http://x", "Content-Length: 1"), status: 405},
		"a bad line in it":      {head: head("OPTIONS /sse HTTP/1.1", "Host: x", "Origin: http://x", "bad"), status: 405},
		"a preflight elsewhere": {head: head("OPTIONS /ws HTTP/1.1", "Host: x", "Origin: http://x"), status: 405},
	} {
		r, refusal := p.Parse(tc.head)
		status := 0
		if refusal != nil {
			status = refusal.Status
		}
		if status != tc.status || r.Events != (status == 0) || r.Upgrade || r.Preflight != tc.preflight {
			t.Errorf("%s: %+v %+v, want %d", name, r, refusal, tc.status)
		}
	}
}

func TestBalancersMayAskForHealthAsTheyLike(t *testing.T) {
	p := NewParser()
	for name, tc := range map[string]struct {
		head   string
		status int
	}{
		"HTTP/1.1":        {head("GET /healthz HTTP/1.1", "Host: x", "User-Agent: probe"), 0},
		"HTTP/1.0":        {head("GET /healthz HTTP/1.0", "Connection: keep-alive"), 0},
		"no host":         {head("GET /healthz HTTP/1.1"), 0},
		"empty host":      {head("GET /healthz HTTP/1.1", "Host:"), 0},
		"with a query":    {head("GET /healthz?x=1 HTTP/1.1", "Host: x"), 0},
		"absolute":        {head("GET http://x/healthz HTTP/1.1", "Host: x"), 0},
		"with an upgrade": {strings.Replace(handshake(), "/ws", "/healthz", 1), 0},
		"malformed host":  {head("GET /healthz HTTP/1.1", "Host: a b"), 400},
		"a body":          {head("GET /healthz HTTP/1.1", "Host: x", "Content-Length: 1"), 400},
		"POST":            {head("POST /healthz HTTP/1.1", "Host: x"), 405},
		"HTTP/0.9":        {head("GET /healthz HTTP/0.9"), 505},
		"HTTP/2.0":        {head("GET /healthz HTTP/2.0"), 505},
		"below":           {head("GET /healthz/ HTTP/1.1", "Host: x"), 404},
	} {
		r, refusal := p.Parse(tc.head)
		status := 0
		if refusal != nil {
			status = refusal.Status
		}
		if status != tc.status || status == 0 && (r.Path != HealthPath || r.Upgrade) {
			t.Errorf("%s: %+v %+v, want %d", name, r, refusal, tc.status)
		}
	}
}

func TestTheAuthorityOfTheTargetReplacesHost(t *testing.T) {
	p := NewParser()
	for target, want := range map[string]string{
		"/ws": "localhost", "http://a/ws": "a", "HTTPS://a:1/ws": "a:1", "ws://[::1]:8080/ws?x": "[::1]:8080", "Wss://b/ws": "b",
	} {
		if r, refusal := p.Parse(asking("GET " + target + " HTTP/1.1")); refusal != nil || r.Host != want {
			t.Errorf("%s: host %q %+v, want %q", target, r.Host, refusal, want)
		}
	}
}

func TestARefusedRequestSaysWhoseItIs(t *testing.T) {
	p := NewParser()
	for name, refused := range map[string]string{
		"the line is wrong":        head("GET /nope HTTP/1.1", "Host: x", "Origin: http://x"),
		"the line is malformed":    head("GET", "Host: x", "Origin: http://x"),
		"a field before is wrong":  head("GET /ws HTTP/1.1", "garbage", "Host: x", "Origin: http://x"),
		"a field behind is wrong":  head("GET /ws HTTP/1.1", "Host: x", "Origin: http://x", "a b: c"),
		"a field between is twice": head("GET /ws HTTP/1.1", "Host: x", "Content-Length: 0", "+Content-Length: 0", "Origin: http://x"),
		"a body":                   head("GET /ws HTTP/1.1", "Host: x", "Origin: http://x", "Content-Length: 1"),
	} {
		if r, refusal := p.Parse(refused); refusal == nil || r.Origin != "http://x" || r.Host != "x" {
			t.Errorf("%s: origin %q, host %q, %+v", name, r.Origin, r.Host, refusal)
		}
	}
	for name, doubtful := range map[string]string{
		"twice":             handshake("Origin: http://x", "+Origin: http://y"),
		"the same twice":    handshake("Origin: http://x", "+Origin: http://x"),
		"control character": handshake("Origin: http://x\x00"),
	} {
		if r, refusal := p.Parse(doubtful); refusal == nil || r.Origin != "" {
			t.Errorf("origin, %s: %q %+v", name, r.Origin, refusal)
		}
	}
	if r, _ := p.Parse(handshake("+Host: y")); r.Host != "" {
		t.Errorf("host twice: %q", r.Host)
	}
}

func TestTheFirstFaultIsTheReason(t *testing.T) {
	p := NewParser()
	for want, wrong := range map[string]string{
		"only GET is allowed":         head("POST /nope HTTP/1.1", "garbage"),
		"malformed header field":      head("GET /ws HTTP/1.1", "garbage", "X: \x00"),
		"control character":           head("GET /ws HTTP/1.1", "X: \x00", "+garbage"),
		"Content-Length stands twice": handshake("Content-Length: 0", "+content-length: 0"),
	} {
		if _, refusal := p.Parse(wrong); refusal == nil || !strings.Contains(refusal.Reason, want) {
			t.Errorf("%+v, want %q", refusal, want)
		}
	}
}

func TestFieldsThatAreWantedAreKept(t *testing.T) {
	p := NewParser("authorization", "Cookie", "X-Forwarded-For", "ORIGIN", "Sec-WebSocket-Protocol", "cookie")
	full := handshake("Authorization: Bearer x", "COOKIE: a=1; b=2", "+Cookie: c=3", "x-forwarded-for: 1.1.1.1", "+X-Forwarded-For: 2.2.2.2, 3.3.3.3",
		"Origin: http://x", "Sec-WebSocket-Protocol: pushpod.v1", "+Sec-WebSocket-Protocol: bearer.y", "X-Other: z")
	check := func(name string, head string, want map[string]string) {
		t.Helper()
		r, refusal := p.Parse(head)
		if refusal != nil {
			t.Fatalf("%s: %+v", name, refusal)
		}
		for field, value := range want {
			if got := r.Field(field); got != value {
				t.Errorf("%s: %s is %q, want %q", name, field, got, value)
			}
		}
	}
	all := map[string]string{
		"Authorization": "Bearer x", "cookie": "a=1; b=2; c=3", "X-Forwarded-For": "1.1.1.1, 2.2.2.2, 3.3.3.3",
		"Origin": "http://x", "Sec-WebSocket-Protocol": "pushpod.v1, bearer.y", "X-Other": "",
	}
	check("all of them", full, all)
	for field := range all {
		all[field] = ""
	}
	check("none of them", handshake(), all)
}

// browser is what an ordinary browser sends.
var browser = handshake(
	"Host: push.example.com", "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
	"Pragma: no-cache", "Cache-Control: no-cache", "Origin: https://push.example.com", "Accept-Encoding: gzip, deflate, br, zstd", "Accept-Language: en-US,en;q=0.9",
	"Cookie: session=0123456789abcdef0123456789abcdef", "Sec-WebSocket-Protocol: pushpod.v1", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
)

func TestAnOrdinaryHandshakeAllocatesNothing(t *testing.T) {
	p, b, dst := NewParser("Authorization", "Cookie", "X-Forwarded-For"), []byte(browser), make([]byte, 0, 1000)
	handle := func() {
		end, refusal := Scan(b, 0, 16<<10)
		r, refused := p.Parse(browser[:end])
		dst = AppendUpgrade(dst[:0], r.Key, r.Subprotocol)
		if refusal != nil || refused != nil || r.Field("Cookie") == "" {
			t.Error(refusal, refused)
		}
	}
	handle() // what is kept is made
	if n := testing.AllocsPerRun(100, handle); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHandshake(b *testing.B) {
	p, received, dst := NewParser("Authorization", "Cookie", "X-Forwarded-For"), []byte(browser), make([]byte, 0, 1000)
	b.Run("scan", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(received)))
		for b.Loop() {
			_, _ = Scan(received, 0, 16<<10)
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(received)))
		for b.Loop() {
			_, _ = p.Parse(browser)
		}
	})
	b.Run("answer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = AppendUpgrade(dst[:0], key, true)
		}
	})
}

// What is taken here, net/http takes too and understands in the same way.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		handshake(), browser, asking("GET http://x:1/ws?user=%75&ping=app,30 HTTP/1.1"), handshake("Cookie: a", "+Cookie: b", "Sec-WebSocket-Protocol:,"),
		head("GET /healthz HTTP/1.0"), head("GET /sse HTTP/1.0", "Host: x"), head("OPTIONS /sse HTTP/1.1", "Host: x"), head("GET /ws HTTP/1.1", "Host: x"), head("POST / HTTP/1.0"), "\x16\x03\x01", handshake("X: a\r\n b"), "",
	} {
		f.Add(seed)
	}
	p := NewParser("Cookie", "X-Forwarded-For")
	f.Fuzz(func(t *testing.T, sent string) {
		end, refusal := Scan([]byte(sent), 0, 16<<10)
		if refusal != nil || end == 0 {
			_, _ = p.Parse(sent) // no panic, whatever it is
			return
		}
		r, refusal := p.Parse(sent[:end])
		if refusal != nil {
			if refusal.Status < 400 || refusal.Reason == "" || r.Upgrade {
				t.Fatalf("%q: %+v %+v", sent, r, refusal)
			}
			return
		}
		if r.Upgrade && (r.Path != Path || len(r.Key) != keySize) || r.Host == "" && r.Path != HealthPath {
			t.Fatalf("%q: %+v", sent, r)
		}
		other, err := http.ReadRequest(bufio.NewReader(strings.NewReader(sent[:end])))
		if err != nil {
			t.Fatalf("%q is taken, but net/http says %v", sent, err)
		}
		if other.Host != r.Host || other.URL.Path != r.Path || other.Header.Get("Origin") != r.Origin || other.ContentLength != 0 ||
			strings.Join(other.Header["X-Forwarded-For"], ", ") != r.Field("X-Forwarded-For") || r.Upgrade && other.Header.Get("Sec-WebSocket-Key") != r.Key {
			t.Fatalf("%q: read as %+v, by net/http as %+v", sent, r, other)
		}
		for name, values := range other.URL.Query() {
			if got, given := r.Query.Get(name); !given || len(values) != 1 || got != values[0] {
				t.Fatalf("%q: parameter %q is %q, by net/http %q", sent, name, got, values)
			}
		}
	})
}
