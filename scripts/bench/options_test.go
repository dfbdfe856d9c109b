//go:build linux

package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBadOptionsAreNamedWithWhatIsAllowed(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"--points 0", []string{`--points "0"`, "1 to"}},
		{"--points 5,99999999", []string{`"99999999"`, "ulimit"}},
		{"--points 5x1", []string{`"5x1"`, "bytes"}},
		{"--points 5x99999999", []string{`"5x99999999"`, "bytes"}},
		{"--points 5xa", []string{`"5xa"`, "NxBYTES"}},
		{"--only open,everything", []string{`"everything"`, "fairness"}},
		{"--url http://h/ws", []string{"http://h/ws", "ws://"}},
		{"--url ws://h/ws?user=a", []string{"user"}},
		{"--url ws://h/ws --binary x", []string{"--binary"}},
		{"--pid 1", []string{"--pid", "--url"}},
		{"--url ws://h/ws --admin h:1", []string{"--admin", "http://"}},
		{"--prefix a{b}", []string{"--prefix", "braces"}},
		{"more", []string{`"more"`}},
		{"--nonsense", nil},
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
}

func TestDefaultsAndPoints(t *testing.T) {
	o, err := parseOptions(strings.Fields("--url ws://h:1/ws --points 16,20x1024"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if want := []point{{16, 128}, {20, 1024}}; o.redis != "127.0.0.1:6379" || !o.does("flat") || !slices.Equal(o.points, want) {
		t.Errorf("options %+v", o)
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
	names := func(p plan) (s []string) {
		for _, l := range p.loads {
			s = append(s, l.name)
		}
		return s
	}
	small := newPlan(point{10_000, 128}, false)
	want := []string{"100 broadcasts at once", "6 broadcasts/s", "200 pushes/s", "2,000 pushes/s", "10,000 pushes/s", "pushes flat out", "2,000 pushes/s beside 3 broadcasts/s",
		"2,000 pushes/s by push.lua", "pushes flat out by push.lua", "2,000 pushes/s by pushpod_push", "pushes flat out by pushpod_push"}
	if got := names(small); !slices.Equal(got, want) || small.loads[5].count != flatPushes {
		t.Errorf("loads for 128 bytes: %q, want %q", got, want)
	}
	if last := newPlan(point{10, 65537}, false).loads; last[len(last)-1].by != byPublish {
		t.Error("the script is given more data than it takes")
	}
	large := newPlan(point{10_000, 65536}, false)
	for _, l := range large.loads {
		l = l.lasting(time.Second)
		bytes := 65536 * float64(l.receipts(10_000))
		if l.count < 1 || l.rate == 0 && bytes > 4e9 || l.rate > 1 && bytes > 1e9 {
			t.Errorf("for 64 KiB: %+v", l)
		}
	}
}

func TestShufflingGivesEveryoneOneTurn(t *testing.T) {
	opened, shuffled := turns(100, false), turns(100, true)
	if !slices.IsSorted(opened) || slices.IsSorted(shuffled) {
		t.Errorf("as opened %v, shuffled %v", opened, shuffled)
	}
	slices.Sort(shuffled)
	if !slices.Equal(shuffled, opened) {
		t.Error("not everyone has one turn")
	}
}
