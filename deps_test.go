package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestImports holds the borders between the packages. Tests are exempt.
func TestImports(t *testing.T) {
	const (
		redis      = "github.com/redis/go-redis"
		gobwas     = "github.com/gobwas"
		viper      = "github.com/spf13/viper"
		yaml       = "go.yaml.in/yaml"
		miniredis  = "github.com/alicebob/miniredis"
		zerolog    = "github.com/rs/zerolog"
		proxy      = "github.com/pires/go-proxyproto"
		jwt        = "github.com/golang-jwt/jwt"
		jwkset     = "github.com/MicahParks/jwkset"
		gobreaker  = "github.com/sony/gobreaker"
		systemd    = "github.com/coreos/go-systemd"
		jsonschema = "github.com/santhosh-tekuri/jsonschema"
		terminal   = "golang.org/x/term"
	)
	rules := []struct {
		imported string
		only     []string // folders that may import it
		why      string
	}{
		{redis, []string{".", "presence", "hub", "cli", "producer", "scripts", "redisconn", "internal/redistest", "examples/go"}, "Redis is known to presence, to the hub's probe and uplink, and to tools"},
		{gobwas, []string{"conn", "conn/internal/wire", "clients/go", "conformance"}, "WebSocket frames are known to both ends of a connection only"},
		{viper, []string{"config"}, "the configuration is plain structs to everyone else"},
		{yaml, []string{"config"}, "only the configuration is YAML"},
		{miniredis, []string{"embedded"}, "the embedded Redis is for trying out"},
		{"pushpod/config", []string{".", "cli"}, "packages get their own options, not the configuration"},
		{"pushpod/conn", []string{".", "hub", "admin", "conn", "conn/conntest", "conn/internal/tlsloop"}, "presence knows no WebSocket"},
		{"pushpod/presence", []string{".", "hub", "admin", "cli", "producer"}, "conn knows no Redis"},
		{"pushpod/internal/resp", []string{"hub", "scripts/bench"}, "everyone else speaks to Redis by its client library"},
		{"pushpod/redisconn", []string{".", "cli", "hub", "presence", "producer"}, "what needs no Redis does not reach it"},
		{"pushpod/hub", []string{".", "admin", "hub"}, "the hub ties the others, who do not know it"},
		{proxy, []string{"conn/internal/proxyhead"}, "everyone else knows addresses, whoever told them"},
		{jwt, []string{"auth"}, "one package believes tokens"},
		{jwkset, []string{"auth"}, "one package believes tokens"},
		{gobreaker, []string{"auth"}, "the hook is the one service that connections wait for"},
		{jsonschema, []string{"internal/schematest"}, "only tests hold anything against schemas"},
		{systemd, []string{"internal/systemd"}, "everyone else is a process as any other"},
		{terminal, []string{"cli"}, "a pod has no terminal to itself"},
		{zerolog, []string{".", "hub", "internal/loglimit", "presence"}, "what runs in a pod logs; tools print"},
	}
	used := map[string]bool{}
	eachFile(t, parser.ImportsOnly, func(path, dir string, f *ast.File) {
		for _, i := range f.Imports {
			name := strings.Trim(i.Path.Value, `"`)
			for _, r := range rules {
				if name != r.imported && !strings.HasPrefix(name, r.imported+"/") {
					continue
				}
				used[r.imported] = true
				allowed := false
				for _, only := range r.only {
					allowed = allowed || dir == only
				}
				if !allowed {
					t.Errorf("%s imports %s: %s", path, name, r.why)
				}
			}
		}
	})
	for _, r := range rules {
		if !used[r.imported] {
			t.Errorf("nothing imports %s: is the rule still true?", r.imported)
		}
	}
}

// TestImportsOfOurOwn holds which of our packages each of them may know. Tests
// are exempt.
func TestImportsOfOurOwn(t *testing.T) {
	rules := map[string]struct {
		may []string
		why string
	}{
		".":                       {[]string{"admin", "auth", "certs", "cli", "config", "conn", "embedded", "hub", "internal/backoff", "internal/loglimit", "internal/secret", "internal/systemd", "presence", "producer", "redisconn", "scripts"}, "main ties all of them together"},
		"admin":                   {[]string{"conn", "hub", "internal/secret", "presence", "producer"}, "metrics are read from the three that count, and the console acts as a producer does"},
		"auth":                    {[]string{"internal/filewatch", "internal/json", "internal/secret"}, "who a client is depends on no connection and no Redis"},
		"certs":                   {[]string{"internal/filewatch"}, "whose a listener is depends on nothing that comes over it"},
		"cli":                     {[]string{"auth", "clients/go", "config", "conformance", "presence", "producer", "redisconn", "scripts"}, "the commands beside serve need no pod"},
		"clients/go":              {nil, "others copy it into their own programs"},
		"conformance":             {nil, "it plays a pod, and knows no more of one than its clients do"},
		"config":                  {[]string{"internal/filewatch", "internal/secret"}, "it is plain structs that main copies"},
		"conn":                    {[]string{"conn/internal/httphead", "conn/internal/netloop", "conn/internal/proxyhead", "conn/internal/sendq", "conn/internal/tlsloop", "conn/internal/wheel", "conn/internal/wire"}, "connections know neither Redis nor users' rules"},
		"conn/conntest":           {[]string{"conn/internal/netloop"}, "it stands in for a network"},
		"conn/internal/httphead":  {nil, "the request and its answer are text alone"},
		"conn/internal/netloop":   {[]string{"internal/rawio"}, "sockets are numbers to it, what goes over them is bytes"},
		"conn/internal/proxyhead": {nil, "the header is bytes alone"},
		"conn/internal/sendq":     {nil, "what waits is bytes, for whatever socket"},
		"conn/internal/tlsloop":   {[]string{"conn/internal/netloop"}, "it encrypts what goes over sockets, whatever it is"},
		"conn/internal/wheel":     {nil, "it counts ticks of numbered slots"},
		"conn/internal/wire":      {nil, "frames and close codes are bytes alone"},
		"e2e":                     {nil, "it sees pods from outside only"},
		"embedded":                {nil, "it stands in for a Redis, which knows nothing of us"},
		"examples/go":             {[]string{"scripts"}, "it is what others copy"},
		"hub":                     {[]string{"auth", "conn", "hub/source", "internal/backoff", "internal/json", "internal/loglimit", "internal/resp", "presence", "redisconn"}, "it ties these two, and main copies its options"},
		"hub/source":              {[]string{"internal/rawio"}, "it reads a socket, whatever comes there"},
		"internal/backoff":        {nil, "it is time alone"},
		"internal/certtest":       {nil, "every package's tests may use it"},
		"internal/filewatch":      {nil, "it is files alone"},
		"internal/json":           {nil, "it is a grammar alone"},
		"internal/loglimit":       {nil, "it knows lines, and not what they say"},
		"internal/rawio":          {nil, "it is system calls alone"},
		"internal/redistest":      {[]string{"internal/certtest"}, "every package's tests may use it"},
		"internal/schematest":     {nil, "every package's tests may use it"},
		"internal/resp":           {nil, "it reads bytes alone"},
		"internal/secret":         {nil, "it is text alone"},
		"internal/systemd":        {nil, "it tells what it is told"},
		"presence":                {[]string{"internal/backoff", "redisconn"}, "presence knows no WebSocket and no configuration"},
		"producer":                {[]string{"presence", "redisconn"}, "it does what anybody can with Redis, and needs no pod"},
		"redisconn":               {[]string{"internal/backoff", "internal/rawio", "internal/secret"}, "it knows how to reach Redis, and nothing of what is in it"},
		"scripts":                 {nil, "producers' scripts stand alone"},
		"scripts/bench":           {[]string{"internal/json", "internal/rawio", "internal/resp", "scripts"}, "it measures from outside"},
	}
	eachFile(t, parser.ImportsOnly, func(path, dir string, f *ast.File) {
		rule, known := rules[dir]
		if !known {
			t.Errorf("%s: say here which of our packages %s may import", path, dir)
		}
		for _, i := range f.Imports {
			ours, is := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), "pushpod/")
			if is && !slices.Contains(rule.may, ours) {
				t.Errorf("%s imports pushpod/%s: %s", path, ours, rule.why)
			}
		}
	})
}

// TestOnlyRedisconnReachesRedis holds that clients and raw connections come from
// one place: it alone knows of TLS, Sentinels and accounts. Tests are exempt, and
// what stands in for a Redis.
func TestOnlyRedisconnReachesRedis(t *testing.T) {
	exempt := []string{"redisconn", "embedded", "internal/redistest", "scripts/bench", "clients/go", "examples/go", "auth"} // auth asks web services
	eachFile(t, 0, func(path, dir string, f *ast.File) {
		if slices.Contains(exempt, dir) {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				of, _ := s.X.(*ast.Ident)
				client := strings.HasPrefix(s.Sel.Name, "New") && strings.HasSuffix(s.Sel.Name, "Client")
				if of != nil && (of.Name == "redis" && client || of.Name == "net" && strings.HasPrefix(s.Sel.Name, "Dial")) {
					t.Errorf("%s uses %s.%s: package redisconn makes all connections to Redis", path, of.Name, s.Sel.Name)
				}
			}
			return true
		})
	})
}

// eachFile parses each file of Go that is no test.
func eachFile(t *testing.T, mode parser.Mode, look func(path, dir string, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, mode)
		if err == nil {
			look(path, filepath.ToSlash(filepath.Dir(path)), f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
