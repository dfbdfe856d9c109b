package scripts

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// forEachWay runs a test on both servers, by EVAL and, where there is one, by
// FCALL.
func forEachWay(t *testing.T, test func(t *testing.T, s server, push func(key string, args ...string) (int64, error))) {
	for _, s := range servers(t) {
		for _, w := range s.ways(t) {
			t.Run(s.name+"/"+w.name, func(t *testing.T) {
				if err := s.client.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				test(t, s, w.push)
			})
		}
	}
}

func TestPushWritesOneEnvelopeForEachChannel(t *testing.T) {
	forEachWay(t, func(t *testing.T, s server, push func(string, ...string) (int64, error)) {
		a := s.connect(t, "alice", "push:pod:10.0.3.7:8080", 1)
		b := s.connect(t, "alice", "push:pod:b", 3)
		l := s.listen(t, "push:pod:10.0.3.7:8080", "push:pod:b")

		data := " {\"text\": \"h\\u00efé \U0001F600 / \\/\",\n\"n\":1.50E+2, \"n\":2}\t"
		n, err := push(key("alice"), data)
		if err != nil || n != 4 {
			t.Fatalf("pushed to %d connections, want 4: %v", n, err)
		}
		got := []string{l.next(), l.next()}
		slices.Sort(got)
		want := fmt.Sprintf(`push:pod:10.0.3.7:8080 {"to":"%s","of":"alice","at":AT,"data":%s}`, a[0], data)
		if env := timeless(t, got[0]); env != want {
			t.Errorf("envelope\n%s\nwant\n%s", env, want)
		}
		var envelope struct {
			To   []string
			Of   string
			Data json.RawMessage
		}
		channel, text, _ := strings.Cut(got[1], " ")
		if err := json.Unmarshal([]byte(text), &envelope); err != nil {
			t.Fatal(err)
		}
		slices.Sort(envelope.To)
		if channel != "push:pod:b" || !slices.Equal(envelope.To, b) || envelope.Of != "alice" {
			t.Errorf("envelope %s for %v", got[1], b)
		}
		if !strings.HasSuffix(text, `,"data":`+data+`}`) {
			t.Errorf("the data is not as given in %s", text)
		}
		l.wantNothing("after one envelope for each channel", "push:pod:b")
	})
}

func TestPushHandsThePairsOn(t *testing.T) {
	forEachWay(t, func(t *testing.T, s server, push func(string, ...string) (int64, error)) {
		uuid := s.connect(t, "alice", "push:pod:a", 1)[0]
		l := s.listen(t, "push:pod:a")
		long := strings.Repeat("é", 128)
		every := "\x00\x01\b\t\n\v\f\r\x1b\x1f \"\\/\x7f\u0085\u2028<&>'%1"
		cases := []struct {
			name, want string
			pairs      []string
		}{
			{"no pairs", `"at":AT,`, nil},
			{"id", `"id":"m-1","at":AT,`, []string{"id", "m-1"}},
			{"ttl", `"at":AT,"expires":AT+30000,`, []string{"ttl", "30000"}},
			{"one millisecond", `"at":AT,"expires":AT+1,`, []string{"ttl", "1"}},
			{"a century", `"at":AT,"expires":AT+3155760000000,`, []string{"ttl", "3155760000000"}},
			{"expires", "", []string{"expires", "100000000000"}},
			{"the end of time", "", []string{"expires", "9007199254740991"}},
			{"collapse", `"at":AT,"collapse":"inbox",`, []string{"collapse", "inbox"}},
			{"all, in another order", `"id":"1","at":AT,"expires":AT+5,"collapse":"c",`,
				[]string{"collapse", "c", "ttl", "5", "id", "1"}},
			{"256 bytes", `"id":"` + long + `","at":AT,"collapse":"` + long + `",`,
				[]string{"id", long, "collapse", long}},
			{"every kind of character", "", []string{"id", every, "collapse", every}},
		}
		for _, c := range cases {
			if n, err := push(key("alice"), append([]string{"1"}, c.pairs...)...); err != nil || n != 1 {
				t.Errorf("%s: pushed to %d: %v", c.name, n, err)
				continue
			}
			text := l.next()
			if len(c.pairs) == 2 && c.pairs[0] == "expires" { // a time, as it stands
				if !strings.Contains(text, `,"expires":`+c.pairs[1]+`,`) {
					t.Errorf("%s: %s", c.name, text)
				}
				continue
			}
			got := timeless(t, text)
			if c.want == "" {
				_, text, _ := strings.Cut(got, " ")
				var envelope struct{ ID, Collapse string }
				if err := json.Unmarshal([]byte(strings.Replace(text, "AT", "0", 1)), &envelope); err != nil {
					t.Errorf("%s: %v in %s", c.name, err, text)
				}
				if envelope.ID != every || envelope.Collapse != every {
					t.Errorf("%s: %q came back as %+v", c.name, every, envelope)
				}
				continue
			}
			want := fmt.Sprintf(`push:pod:a {"to":"%s","of":"alice",%s"data":1}`, uuid, c.want)
			if got != want {
				t.Errorf("%s:\n%s\nwant\n%s", c.name, got, want)
			}
		}
	})
}

func TestPushTellsRedisTime(t *testing.T) {
	forEachWay(t, func(t *testing.T, s server, push func(string, ...string) (int64, error)) {
		s.connect(t, "alice", "push:pod:a", 1)
		l := s.listen(t, "push:pod:a")
		for range 3 { // a time without its milliseconds is right once in a thousand
			before := s.client.Time(t.Context()).Val().UnixMilli()
			if _, err := push(key("alice"), "1", "ttl", "7"); err != nil {
				t.Fatal(err)
			}
			after := s.client.Time(t.Context()).Val().UnixMilli()
			var envelope struct{ At, Expires int64 }
			_, text, _ := strings.Cut(l.next(), " ")
			if err := json.Unmarshal([]byte(text), &envelope); err != nil {
				t.Fatal(err)
			}
			if envelope.At < before || envelope.At > after || envelope.Expires != envelope.At+7 {
				t.Errorf("%s, published from %d to %d", text, before, after)
			}
		}
	})
}

func TestPushCountsConnectionsOnSubscribedPodsOnly(t *testing.T) {
	forEachWay(t, func(t *testing.T, s server, push func(string, ...string) (int64, error)) {
		want := func(why string, n int64) {
			t.Helper()
			if got, err := push(key("alice"), "1"); err != nil || got != n {
				t.Errorf("%s: %d, want %d: %v", why, got, n, err)
			}
		}
		want("nobody is connected", 0)
		s.connect(t, "alice", "push:pod:dead", 2)
		want("the pod does not listen", 0)
		s.connect(t, "alice", "push:pod:live", 3)
		s.listen(t, "push:pod:live")
		want("one of two pods listens", 3)
		s.listen(t, "push:pod:live")
		want("a second subscriber does not count twice", 3)
		s.listen(t, "push:pod:dead")
		want("both listen", 5)
	})
}

func TestPushCountsTheAddressedInACluster(t *testing.T) {
	node := redistest.Start(t, "--cluster-enabled", "yes")
	client := node.Client()
	if err := client.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	// The node takes a moment until it calls itself a whole cluster.
	for client.Get(t.Context(), "x").Err() != redis.Nil {
		time.Sleep(20 * time.Millisecond)
	}
	s := server{name: "redis", addr: node.Addr(), client: client}
	for _, w := range s.ways(t) {
		s.connect(t, "alice", "push:pod:elsewhere", 2)
		if n, err := w.push(key("alice"), "1"); err != nil || n != 2 {
			t.Errorf("%s: %d, want 2: %v", w.name, n, err)
		}
	}
}

func TestPushNamesTheUserWhereConnectionsCannotBeNamed(t *testing.T) {
	forEachWay(t, func(t *testing.T, s server, push func(string, ...string) (int64, error)) {
		fields := []string{"x", "", "018f4c7e00007abc8def000000000000", "018f4c7e-0000-7abc-8def-000000000000\n"}
		l := s.listen(t, "push:pod:a")
		for i, field := range fields {
			user := fmt.Sprint("user", i)
			s.connect(t, user, "push:pod:a", 1)
			if err := s.client.HSet(t.Context(), key(user), field, "push:pod:a").Err(); err != nil {
				t.Fatal(err)
			}
			if n, err := push(key(user), "1"); err != nil || n != 2 {
				t.Errorf("%q: %d, want 2: %v", field, n, err)
			}
			want := `push:pod:a {"user":"` + user + `","at":AT,"data":1}`
			if got := timeless(t, l.next()); got != want {
				t.Errorf("%q: %s, want %s", field, got, want)
			}
		}

		s.connect(t, "many", "push:pod:a", 1000)
		if n, err := push(key("many"), "1"); err != nil || n != 1000 {
			t.Errorf("1000 connections: %d: %v", n, err)
		}
		if got := l.next(); strings.Count(got, "018f4c7e-") != 1000 {
			t.Errorf("1000 connections are not all named")
		}
		s.connect(t, "many", "push:pod:a", 1001)
		if n, err := push(key("many"), "1"); err != nil || n != 1001 {
			t.Errorf("1001 connections: %d: %v", n, err)
		}
		if got, want := timeless(t, l.next()), `push:pod:a {"user":"many","at":AT,"data":1}`; got != want {
			t.Errorf("1001 connections: %s, want %s", got, want)
		}
	})
}

func TestPushRefusesBadArguments(t *testing.T) {
	forEachWay(t, func(t *testing.T, s server, push func(string, ...string) (int64, error)) {
		s.connect(t, "alice", "push:pod:a", 1)
		if err := s.client.Set(t.Context(), key("string"), "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		l := s.listen(t, "push:pod:a")
		alice, k257 := key("alice"), strings.Repeat("k", 257)
		cases := []struct {
			name, want, key string
			args            []string
		}{
			{"no data", "no data", alice, nil},
			{"empty data", "not JSON: ", alice, []string{""}},
			{"not JSON", "the data is not JSON: ", alice, []string{"hi"}},
			{"65537 bytes", "the data has 65537 bytes; allowed are 65536, use PUBLISH", alice,
				[]string{`"` + strings.Repeat("x", 65535) + `"`}},
			{"unknown name", "unknown name 'version'; known are id, ttl, expires, collapse", alice, []string{"1", "version", "1"}},
			{"a time and a duration", "ttl and expires are given together", alice, []string{"1", "ttl", "1", "expires", "1900000000000"}},
			{"name of a later capability", "unknown name 'durable'", alice, []string{"1", "durable", "1"}},
			{"name in upper case", "unknown name 'ID'", alice, []string{"1", "ID", "1"}},
			{"hostile name", "unknown name 'a??b?'", alice, []string{"1", "a\r\nb\x00", "1"}},
			{"very long name", "unknown name 'kkkk", alice, []string{"1", strings.Repeat("k", 1<<20), "1"}},
			{"no value", "id has no value", alice, []string{"1", "id"}},
			{"unknown name without a value", "unknown name 'x'", alice, []string{"1", "x"}},
			{"second pair broken", "collapse has no value", alice, []string{"1", "id", "x", "collapse"}},
			{"twice", "id is given twice", alice, []string{"1", "id", "a", "id", "a"}},
			{"empty id", "id has 0 bytes; allowed are 1 to 256", alice, []string{"1", "id", ""}},
			{"long id", "id has 257 bytes", alice, []string{"1", "id", k257}},
			{"id not UTF-8", "id is not valid UTF-8", alice, []string{"1", "id", "a\xff"}},
			{"empty collapse", "collapse has 0 bytes", alice, []string{"1", "collapse", ""}},
			{"long collapse", "collapse has 257 bytes", alice, []string{"1", "collapse", k257}},
			{"collapse not UTF-8", "collapse is not valid UTF-8", alice, []string{"1", "collapse", "\xed\xa0\x80"}},
			{"user of another form", "not of the form", "push:users:{alice}", []string{"1"}},
			{"no braces", "not of the form", "push:user:alice", []string{"1"}},
			{"no end", "not of the form", "push:user:{alice", []string{"1"}},
			{"text behind", "not of the form", "push:user:{alice}x", []string{"1"}},
			{"only the opening", "not of the form", "push:user:{", []string{"1"}},
			{"braces in the prefix", "not of the form", "{p}user:{alice}", []string{"1"}},
			{"empty key", "not of the form", "", []string{"1"}},
			{"empty user", "the user id has 0 bytes", "push:user:{}", []string{"1"}},
			{"user begins with }", "the user id begins with }", "push:user:{}}", []string{"1"}},
			{"user of 257 bytes", "the user id has 257 bytes", key(k257), []string{"1"}},
			{"very long user", "the user id has 2097152 bytes", key(strings.Repeat("k", 1<<21)), []string{"1"}},
			{"user not UTF-8", "the user id is not valid UTF-8", key("\xc0\x80"), []string{"1"}},
			{"user with a line break", "the user id has a control character", key("a\nb"), []string{"1"}},
			{"user with NUL", "the user id has a control character", key("a\x00"), []string{"1"}},
			{"user with DEL", "the user id has a control character", key("\x7f"), []string{"1"}},
			{"user with C1", "the user id has a control character", key("a\u0085b"), []string{"1"}},
			{"another type", "cannot read the presence of the user: WRONGTYPE", key("string"), []string{"1"}},
		}
		for _, value := range []string{
			"", "0", "-1", "+1", "1.0", "1e3", "01", " 1", "1 ", "1\n", "0x10", "nan", "inf", "1,000", "٣", "1\x00",
			"9007199254740992", "9007199254740991", "99999999999999999999", strings.Repeat("9", 1<<20),
		} {
			cases = append(cases, struct {
				name, want, key string
				args            []string
			}{fmt.Sprintf("ttl %.30q", value), "is not a whole number of milliseconds above 0", alice, []string{"1", "ttl", value}})
		}
		for _, value := range []string{"", "0", "30000", "99999999999", "-100000000000", "1e12", "9007199254740992"} {
			cases = append(cases, struct {
				name, want, key string
				args            []string
			}{fmt.Sprintf("expires %q", value), "is not a time in Unix milliseconds", alice, []string{"1", "expires", value}})
		}
		for _, c := range cases {
			n, err := push(c.key, c.args...)
			if err == nil {
				t.Errorf("%s: pushed to %d", c.name, n)
			} else if text := err.Error(); !strings.HasPrefix(text, "ERR pushpod: ") || !strings.Contains(text, c.want) ||
				len(text) > 250 || strings.ContainsAny(text, "\r\n") {
				t.Errorf("%s: error %q, want %q", c.name, text, c.want)
			}
			l.wantNothing(c.name, "push:pod:a")
		}
	})
}

func TestPushTakesOneKey(t *testing.T) {
	for _, s := range servers(t) {
		for _, keys := range [][]string{nil, {key("alice"), key("alice")}} {
			err := s.client.Eval(t.Context(), Push(), keys, "1").Err()
			if err == nil || !strings.HasPrefix(err.Error(), "ERR pushpod: give one key") {
				t.Errorf("%s: %d keys: %v", s.name, len(keys), err)
			}
		}
	}
}

func TestPushWorksWhileMemoryHasRunOut(t *testing.T) {
	real := redistest.Start(t)
	s := server{name: "redis", addr: real.Addr(), client: real.Client()}
	ways := s.ways(t)
	s.connect(t, "alice", "push:pod:a", 1)
	s.listen(t, "push:pod:a")
	real.CLI("CONFIG", "SET", "maxmemory", "1")
	if err := s.client.Set(t.Context(), "x", "y", 0).Err(); err == nil {
		t.Fatal("memory has not run out")
	}
	for _, w := range ways {
		if n, err := w.push(key("alice"), "1"); err != nil || n != 1 {
			t.Errorf("%s: %d: %v", w.name, n, err)
		}
	}
}

func TestPushSaysWhatAnACLForbids(t *testing.T) {
	real := redistest.Start(t)
	s := server{name: "redis", client: real.Client()}
	s.connect(t, "alice", "push:pod:a", 1)
	s.listen(t, "push:pod:a")
	real.CLI("ACL", "SETUSER", "mute", "on", "nopass", "~push:user:*", "resetchannels", "-@all", "+eval", "+hgetall", "+time", "+publish")
	real.CLI("ACL", "SETUSER", "producer", "on", "nopass", "~push:user:*", "&push:*", "-@all", "+eval", "+hgetall", "+time", "+publish", "+info")
	as := func(user string) (int64, error) {
		client := redis.NewClient(&redis.Options{Addr: real.Addr(), Username: user, Password: "x", Protocol: 2, MaxRetries: -1, DisableIdentity: true})
		t.Cleanup(func() { _ = client.Close() })
		return client.Eval(t.Context(), Push(), []string{key("alice")}, "1").Int64()
	}
	if n, err := as("producer"); err != nil || n != 1 {
		t.Errorf("with the rights that push.lua names: %d: %v", n, err)
	}
	if n, err := as("mute"); err == nil || !strings.HasPrefix(err.Error(), "ERR pushpod: cannot publish, 0 connections were addressed before:") {
		t.Errorf("without the channels: %d: %v", n, err)
	}
}
