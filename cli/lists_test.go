package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
	"pushpod/producer"
)

// cells returns the fields of each line, which two spaces or more part.
func cells(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		var row []string
		for cell := range strings.SplitSeq(strings.TrimSuffix(line, "\n"), "  ") {
			if cell = strings.TrimSpace(cell); cell != "" {
				row = append(row, cell)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func TestPresenceListsConnectionsOldestFirst(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	head := "UUID  POD  CONNECTED SINCE  EXPIRES IN\n"
	run(t, at(s), "presence", "alice").want(t, "nobody", 0, head, "")
	run(t, at(s), "presence", "alice", "--json").want(t, "nobody, as JSON", 0, "[]\n", "")

	connect(t, c, "alice", uuid2, "push:pod:10.0.3.7:8080")
	connect(t, c, "alice", uuid1, "push:pod:\x1b[31mred\nline")
	connect(t, c, "alice", "no uuid", "push:pod:x")
	r := run(t, at(s), "presence", "alice")
	want := [][]string{
		{"UUID", "POD", "CONNECTED SINCE", "EXPIRES IN"},
		{uuid1, `"\x1b[31mred\nline"`, "2025-10-20T05:03:11.360Z", "-"},
		{uuid2, "10.0.3.7:8080", "2025-12-08T22:05:58.656Z", "-"},
	}
	if got := cells(r.stdout); r.code != 0 || r.stderr != "" || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("code %d, %q, stderr %q; want %q", r.code, got, r.stderr, want)
	}

	if err := c.PExpire(t.Context(), "push:user:{alice}", 90*time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	r = run(t, at(s), "presence", "alice")
	if got := cells(r.stdout); len(got) != 3 || !strings.HasPrefix(got[1][3], "1m") {
		t.Errorf("no expiry in %q", r.stdout)
	}
	r = run(t, at(s), "presence", "alice", "--json")
	var list []producer.Connection
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || len(list) != 2 || r.stderr != "" {
		t.Fatalf("%+v: %v", r, err)
	}
	if ms := *list[1].Expires; ms < 60_000 || ms > 90_000 {
		t.Errorf("expires in %d ms", ms)
	}
	list[1].Expires = nil
	if want := (producer.Connection{UUID: uuid2, Pod: "10.0.3.7:8080", Channel: "push:pod:10.0.3.7:8080", Since: 0x019b00000000}); list[1] != want {
		t.Errorf("%+v, want %+v", list[1], want)
	}

	if err := c.Set(t.Context(), "push:user:{bob}", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	run(t, at(s), "presence", "bob").want(t, "another type", 1, "", "WRONGTYPE")
}

func TestPodsListsWhatPodsTell(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	run(t, at(s), "pods").want(t, "none", 0, "POD  CONNECTIONS  VERSION  STARTED  HEARTBEAT  STATE\n", "")
	run(t, at(s), "pods", "--json").want(t, "none, as JSON", 0, "[]\n", "")

	now, err := c.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	for channel, ago := range map[string]time.Duration{"push:pod:a:1": 0, "push:pod:b:2": time.Hour, "strange": 0} {
		if err := c.ZAdd(t.Context(), "push:pods", redis.Z{Member: channel, Score: float64(now.Add(-ago).UnixMilli())}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	infos := []any{
		"push:pod:a:1", `{"started":1700000000000,"version":"1.2.3","connections":12,"draining":true}`,
		"push:pod:b:2", `{"started":1700000000000,"version":"\u001b[2J\n","connections":0,"draining":false}`,
		"strange", "not JSON",
	}
	if err := c.HSet(t.Context(), "push:pods:info", infos...).Err(); err != nil {
		t.Fatal(err)
	}
	r := run(t, at(s), "pods")
	got := cells(r.stdout)
	if r.code != 0 || r.stderr != "" || len(got) != 4 {
		t.Fatalf("%+v", r)
	}
	for _, row := range got[1:] {
		age, err := time.ParseDuration(row[4])
		if low := map[bool]time.Duration{true: time.Hour}[row[0] == "b:2"]; err != nil || age < low || age > low+time.Minute {
			t.Errorf("age %s of %s: %v", row[4], row[0], err)
		}
		row[4] = "AGE"
	}
	want := [][]string{
		{"POD", "CONNECTIONS", "VERSION", "STARTED", "HEARTBEAT", "STATE"},
		{"a:1", "12", "1.2.3", "2023-11-14T22:13:20.000Z", "AGE", "draining"},
		{"b:2", "0", `"\x1b[2J\n"`, "2023-11-14T22:13:20.000Z", "AGE", "dead"},
		{"strange", "0", "-", "-", "AGE", "alive"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}

	r = run(t, at(s), "pods", "--json")
	var list []pod
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || len(list) != 3 {
		t.Fatalf("%+v: %v", r, err)
	}
	if list[0].HeartbeatAge < 0 || list[0].HeartbeatAge > 60_000 {
		t.Errorf("heartbeat %d ms ago", list[0].HeartbeatAge)
	}
	list[0].HeartbeatAge = 0
	if want := (pod{Address: "a:1", Channel: "push:pod:a:1", Connections: 12, Version: "1.2.3", Started: 1700000000000, Draining: true, State: "draining"}); list[0] != want {
		t.Errorf("%+v, want %+v", list[0], want)
	}
	if list[2].Address != "" || list[2].Channel != "strange" {
		t.Errorf("%+v", list[2])
	}
}

// podInRedis is what a pod has left in Redis.
type podInRedis struct {
	name string
	age  time.Duration // of its heartbeat; below 0: it has no score
	info string
}

func putPods(t *testing.T, s *redistest.Server, pods []podInRedis) {
	t.Helper()
	c := s.Client()
	now, err := c.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if p.age >= 0 {
			z := redis.Z{Member: "push:pod:" + p.name, Score: float64(now.Add(-p.age).UnixMilli())}
			if err := c.ZAdd(t.Context(), "push:pods", z).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.HSet(t.Context(), "push:pods:info", "push:pod:"+p.name, p.info).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPodsMarksTheDeadAndTheConflicting(t *testing.T) {
	s := redistest.Start(t)
	putPods(t, s, []podInRedis{
		{"alive:1", 0, `{}`},
		{"draining:1", 0, `{"draining":true}`},
		{"twice:1", 0, `{"conflict":true,"draining":true}`},
		{"silent:1", time.Minute, `{"conflict":true}`},
		{"gone:1", -1, `{"version":"v1"}`},
	})
	states := func(args ...string) string {
		t.Helper()
		var list []pod
		r := run(t, at(s), append([]string{"pods", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		text := ""
		for _, p := range list {
			text += p.Address + " " + p.State + ", "
		}
		return text
	}
	if got, want := states(), "alive:1 alive, draining:1 draining, gone:1 dead, silent:1 dead, twice:1 conflict, "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := states("--presence.lease", "10m"); !strings.Contains(got, "silent:1 conflict") {
		t.Errorf("with a longer lease: %s", got)
	}
	if r := run(t, at(s), "pods"); !strings.Contains(r.stdout, "gone:1") || fmt.Sprint(cells(r.stdout)[3]) != "[gone:1 0 v1 - - dead]" {
		t.Errorf("a pod without a score: %s", r.stdout)
	}
}
