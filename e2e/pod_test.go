package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// settings are configuration keys, as in `presence.ttl`, and their values.
type settings map[string]string

// quick is the configuration of most pods here: the documented one with its
// times scaled down, so that leases end and entries expire while a test waits.
func quick() settings {
	return settings{
		"redis.timeout":      "1s",
		"redis.probe":        "500ms",
		"presence.ttl":       "15s",
		"presence.renew":     "1s",
		"presence.heartbeat": "200ms",
		"presence.lease":     "1s",
		"conn.ping":          "8s",
		"conn.ping_timeout":  "4s",
		"shutdown.delay":     "0s",
		"shutdown.drain":     "2s",
		"log.format":         "json",
	}
}

// patient is quick for tests whose clients sleep: nobody is pinged.
func patient() settings {
	return quick().with("conn.ping", "5m", "presence.ttl", "10m")
}

// with returns a copy of s with pairs of keys and values on top.
func (s settings) with(pairs ...string) settings {
	c := make(settings, len(s)+len(pairs)/2)
	for k, v := range s {
		c[k] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		c[pairs[i]] = pairs[i+1]
	}
	return c
}

// asPod returns a copy of s with the account of pods.
func (s settings) asPod() settings {
	return s.with("redis.username", podUser, "redis.password", passwordOf(podUser))
}

// env writes the settings as environment variables.
func (s settings) env() []string {
	var env []string
	for key, value := range s {
		value = strings.Trim(strings.TrimSuffix(strings.TrimPrefix(value, "["), "]"), "'")
		env = append(env, "PUSHPOD_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))+"="+value)
	}
	sort.Strings(env)
	return env
}

// A pod is one `pushpod serve` process and its addresses.
type pod struct {
	*process
	program  string // its path
	settings settings
	listen   string // where clients connect, and the pod's address unless set
	admin    string
	channel  string // its own
	redis    *redistest.Server
}

// startPod starts a pod on that Redis and waits until it is ready.
func startPod(t testing.TB, r *redistest.Server, s settings) *pod {
	t.Helper()
	p := launchPod(t, r, s)
	p.waitReady()
	return p
}

// redisClient returns a producer's client for the pod's Redis.
func (p *pod) redisClient() *redis.Client { return asProducer(p.redis) }

// launchPod starts a pod and does not wait for it.
func launchPod(t testing.TB, r *redistest.Server, s settings) *pod {
	t.Helper()
	return launchProgram(t, program.get(t), r, s)
}

// launchProgram is launchPod for another version's program.
func launchProgram(t testing.TB, program string, r *redistest.Server, s settings) *pod {
	t.Helper()
	p := &pod{program: program, settings: s, redis: r}
	if p.listen = s["listen"]; p.listen == "" {
		p.listen = freeAddr(t)
	}
	if p.admin = s["admin.listen"]; p.admin == "" {
		p.admin = freeAddr(t)
	}
	redisAddr := r.Addr()
	if given := s["redis.addresses"]; given != "" {
		redisAddr = given // a proxy before it
	}
	if s["redis.username"] == "" {
		s = s.asPod()
	}
	p.settings = s.with("listen", p.listen, "admin.listen", p.admin, "redis.addresses", "["+redisAddr+"]")
	address := p.listen
	if given := s["pod.address"]; given != "" {
		address = given
	}
	p.channel = "push:pod:" + address
	p.process = startCommand(t, "pod "+p.listen, p.settings.env(), exec.Command(p.program, "serve"))
	return p
}

// restart starts the pod again with the same configuration, and does not wait
// for it. The old process must have ended.
func (p *pod) restart() *pod {
	p.t.Helper()
	return p.restartAs(p.program)
}

// restartAs is restart as another version.
func (p *pod) restartAs(program string) *pod {
	p.t.Helper()
	if !p.hasEnded() {
		p.t.Fatalf("%s: restart while it runs", p.name)
	}
	next := *p
	next.program = program
	next.process = startCommand(p.t, p.name+" again", p.settings.env(), exec.Command(program, "serve"))
	return &next
}

// waitReady waits for 200 from /readyz, and ends the test where the process
// ends before.
func (p *pod) waitReady() {
	p.t.Helper()
	eventually(p.t, p.name+" is ready", 20*time.Second, func() (bool, any) {
		if p.hasEnded() {
			p.t.Fatalf("%s ended with exit %d before it was ready", p.name, p.status)
		}
		status, body := p.readyz()
		return status == http.StatusOK, fmt.Sprint(status, " ", body)
	})
}

// wantNotReady waits for 503 from /readyz.
func (p *pod) wantNotReady(why string, within time.Duration) {
	p.t.Helper()
	eventually(p.t, why+": "+p.name+" is not ready", within, func() (bool, any) {
		status, body := p.readyz()
		return status == http.StatusServiceUnavailable, fmt.Sprint(status, " ", body)
	})
}

// readyz returns the status and body of /readyz; 0 where there is no answer.
func (p *pod) readyz() (status int, body string) { return p.get("/readyz") }

// get asks the admin listener; the status is 0 where there is no answer.
func (p *pod) get(path string) (status int, body string) {
	scheme, transport := "http", &http.Transport{DisableKeepAlives: true}
	if p.settings["admin.tls"] == "on" {
		scheme, transport.TLSClientConfig = "https", &tls.Config{InsecureSkipVerify: true} // a test looks at whose it is
	}
	client := http.Client{Timeout: 3 * time.Second, Transport: transport}
	answer, err := client.Get(scheme + "://" + p.admin + path)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(b)
}

// info returns what the pod says of itself in push:pods:info.
func (p *pod) info(r *redistest.Server) (info struct {
	Started     int64  `json:"started"`
	Version     string `json:"version"`
	Connections int    `json:"connections"`
	Draining    bool   `json:"draining"`
}) {
	p.t.Helper()
	text := r.CLI("HGET", "push:pods:info", p.channel)
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		p.t.Fatalf("%s: push:pods:info holds %q: %v", p.name, text, err)
	}
	return info
}

// openFiles counts the process's descriptors.
func (p *pod) openFiles() int {
	p.t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid()))
	if err != nil {
		p.t.Fatalf("%s: count its descriptors: %v", p.name, err)
	}
	return len(all)
}
