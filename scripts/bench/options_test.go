//go:build linux

package main

import (
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestBadOptionsAreNamedWithWhatIsAllowed(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"--connections 0", []string{"--connections 0", "1 to"}},
		{"--connections 99999999", []string{"--connections 99999999", "ulimit"}},
		{"--size -1", []string{"--size -1", "0 to"}},
		{"--size 99999999", []string{"--size 99999999", "0 to"}},
		{"--only open,everything", []string{`"everything"`, "fairness"}},
		{"--url http://h/ws", []string{"http://h/ws", "ws://"}},
		{"--url ws://h/ws?user=a", []string{"user"}},
		{"--url ws://h/ws --serve", []string{"--serve", "--url"}},
		{"--url ws://h/ws --binary x", []string{"--binary"}},
		{"--pid 1", []string{"--pid", "--url"}},
		{"--url ws://h/ws --admin h:1", []string{"--admin", "http://"}},
		{"--prefix a{b}", []string{"--prefix", "braces"}},
		{"--curve size", []string{"--curve", "size=N"}},
		{"--curve depth=1,2", []string{"--curve", "connections=N"}},
		{"--curve size=2,1", []string{"--curve", "larger"}},
		{"--curve size=5", []string{"--curve", "two"}},
		{"--curve size=1,x", []string{`"x"`}},
		{"--curve connections=1,99999999", []string{"--connections 99999999"}},
		{"more", []string{`"more"`}},
	} {
		_, err := parseOptions(strings.Fields(c.args), io.Discard)
		if err == nil {
			t.Errorf("%s: no error", c.args)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q lacks %q", c.args, err, want)
			}
		}
	}
	if _, err := parseOptions([]string{"--nonsense"}, io.Discard); err == nil {
		t.Error("an unknown flag: no error")
	}
}

func TestDefaultsAndPoints(t *testing.T) {
	o, err := parseOptions(strings.Fields("--url ws://h:1/ws --curve size=16,1024"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.redis != "127.0.0.1:6379" || o.connections != 10_000 || o.size != 128 || !o.does("flat") {
		t.Errorf("options %+v", o)
	}
	points := o.curve.points(o)
	if len(points) != 2 || points[0].size != 16 || points[1].size != 1024 || points[1].connections != o.connections {
		t.Errorf("points %+v", points)
	}
}

func TestTheTargetKeepsItsQuery(t *testing.T) {
	for url, want := range map[string]string{
		"ws://h:8080/ws":              "h:8080 /ws?user=u7",
		"ws://h":                      "h:80 /ws?user=u7",
		"ws://[::1]:9/a%20b?ping=app": "[::1]:9 /a%20b?ping=app&user=u7",
	} {
		target, hostPort, err := newTarget(url)
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		line, _, _ := strings.Cut(string(target.appendRequest(nil, 7)), " HTTP/1.1\r\n")
		if got := hostPort + " " + strings.TrimPrefix(line, "GET "); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

func TestLargeMessagesLowerTheLoad(t *testing.T) {
	o := options{connections: 10_000, size: 128}
	small := newPlan(o)
	if small.broadcasts != 100 || small.flat != 300_000 || len(small.rates) != 3 || small.broadcastRate != 6 {
		t.Errorf("plan for 128 bytes: %+v", small)
	}
	o.size = 65536
	large := newPlan(o)
	if each := float64(o.size); float64(large.broadcasts)*each > 256<<10 || float64(large.flat)*each > 1e9 || large.broadcastRate*each*1e4 > 1e9 {
		t.Errorf("plan for 64 KiB: %+v: too much", large)
	}
	if large.broadcasts < 1 || large.flat < 1 || len(large.rates) < 1 || count(large.broadcastRate, large.phase) < 2 {
		t.Errorf("plan for 64 KiB: %+v: nothing left", large)
	}
}

func TestTheSeedShufflesWhoseTurnItIs(t *testing.T) {
	order := func(seed uint64) []int {
		return turns(options{connections: 100, seed: seed}, rand.New(rand.NewPCG(seed, seed)))
	}
	opened := order(0)
	if !slices.IsSorted(opened) || len(opened) != 100 {
		t.Errorf("seed 0: %v, want as opened", opened)
	}
	shuffled := order(7)
	if slices.IsSorted(shuffled) || !slices.Equal(shuffled, order(7)) {
		t.Errorf("seed 7: %v, want a shuffled order that can be repeated", shuffled)
	}
	slices.Sort(shuffled)
	if !slices.Equal(shuffled, opened) {
		t.Error("seed 7: not everyone has one turn")
	}
}
