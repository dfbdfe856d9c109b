package scripts

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// Both scripts take the same, refuse the same, and write the same envelopes.
func TestRouteChecksWhatPushChecks(t *testing.T) {
	middle := func(text string) string {
		from, to := strings.Index(text, "local MAX_DATA"), strings.Index(text, "-- Connections are named one by one")
		if from < 0 || to < from {
			t.Fatal("the parts of the scripts are not found")
		}
		return strings.Replace(text[from:to], "local reached, addressed = 0, 0\n\n", "", 1)
	}
	if middle(Push()) != middle(Route()) {
		t.Error("route.lua and push.lua check and prepare in different ways: copy the part of push.lua")
	}
}

func TestRouteAnswersWhatPushPublishes(t *testing.T) {
	for _, s := range servers(t) {
		if err := s.client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		s.connect(t, "alice", "push:pod:a", 1)
		s.connect(t, "alice", "push:pod:b", 3)
		args := []any{`{"text":"hi"}`, "id", "m-1", "collapse", "c"}
		l := s.listen(t, "push:pod:a", "push:pod:b")
		routes := []*redis.Cmd{s.client.Eval(t.Context(), Route(), []string{key("alice")}, args...)}
		if s.name == "redis" {
			if _, _, err := LoadFunctions(t.Context(), s.client); err != nil {
				t.Fatal(err)
			}
			routes = append(routes, s.client.FCall(t.Context(), "pushpod_route", []string{key("alice")}, args...),
				s.client.FCallRo(t.Context(), "pushpod_route", []string{key("alice")}, args...))
		}
		if n, err := s.client.Eval(t.Context(), Push(), []string{key("alice")}, args...).Int(); err != nil || n != 4 {
			t.Fatal(n, err)
		}
		published := []string{timeless(t, l.next()), timeless(t, l.next())}
		slices.Sort(published)
		for _, r := range routes {
			list, err := r.StringSlice()
			if err != nil || len(list) != 4 {
				t.Fatalf("%s: %q, %v", s.name, list, err)
			}
			got := []string{timeless(t, list[0]+" "+list[1]), timeless(t, list[2]+" "+list[3])}
			slices.Sort(got)
			if !slices.Equal(got, published) {
				t.Errorf("%s: route.lua answers %q, push.lua publishes %q", s.name, got, published)
			}
		}
		if list, err := s.client.Eval(t.Context(), Route(), []string{key("nobody")}, "1").StringSlice(); err != nil || len(list) != 0 {
			t.Errorf("%s: nobody is online: %q, %v", s.name, list, err)
		}
		if err := s.client.Eval(t.Context(), Route(), []string{key("alice")}, "{").Err(); err == nil || !strings.HasPrefix(err.Error(), "ERR pushpod: the data is not JSON") {
			t.Errorf("%s: bad data: %v", s.name, err)
		}
	}
}

// push.sh follows PUSHPOD_REDIS_PUBSUB: all that it pushes goes by SPUBLISH then, to the node
// that has the channel's slot.
func TestPushShPublishesToShards(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 0)
	push := func(args ...string) (string, error) {
		cmd := exec.Command("./push.sh", args...)
		cmd.Env = append(os.Environ(), "PUSHPOD_REDIS_PUBSUB=sharded", "REDIS_HOST=127.0.0.1", "REDIS_PORT="+strings.TrimPrefix(cluster.Addr(), "127.0.0.1:"))
		out, err := cmd.CombinedOutput()
		return strings.TrimSuffix(string(out), "\n"), err
	}
	got := map[string]*redis.PubSub{}
	for _, channel := range []string{"push:pod:a", "push:pod:b", "push:pod:c", "push:pod:away"} {
		at := server{name: "redis", client: cluster.Of(key("alice")).Client()}
		n := 1
		if channel == "push:pod:b" {
			n = 3
		}
		at.connect(t, "alice", channel, n)
		if channel == "push:pod:away" {
			continue
		}
		got[channel] = cluster.Of(channel).Client().SSubscribe(t.Context(), channel)
		defer got[channel].Close()
		if _, err := got[channel].Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// What a line of the data looks like must not matter.
	data := "{\"text\":\"it's $HOME, `hi`\",\n\"push:pod:b\":1}"
	if out, err := push("alice", data, "id", "m'1"); err != nil || out != "5" {
		t.Fatalf("push.sh: %q, %v; want 5: the pod away is not subscribed", out, err)
	}
	for channel, sub := range got {
		m, err := sub.ReceiveMessage(t.Context())
		if err != nil || !strings.Contains(m.Payload, strings.ReplaceAll(data, "\n", " ")) || !strings.Contains(m.Payload, "m'1") {
			t.Errorf("%s got %v, %v", channel, m, err)
		}
	}
	if out, err := push("nobody", "1"); err != nil || out != "0" {
		t.Errorf("nobody is online: %q, %v", out, err)
	}
	if out, err := push("alice", "{"); err == nil || !strings.Contains(out, "the data is not JSON") {
		t.Errorf("bad data: %q, %v", out, err)
	}
}
