package hub

import (
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"pushpod/internal/redistest"
	"pushpod/redisconn"
)

func TestARedisThatEvictsIsWarnedOf(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	var log logLines
	h := asking(r.Addr(), "some")
	h.log = zerolog.New(&log)
	h.opts.Uplink = redisconn.Of(r.ClientAs("some", "pass"))
	for _, x := range []struct {
		rights        string // of the pod's account
		policy, limit string
		warns         bool
		told          string // in the log, for the first time; "": nothing
	}{
		{"-info -config", "allkeys-lru", "100mb", false, ""},
		{"+info -config", "volatile-lru", "0", false, ""},
		{"+info -config", "noeviction", "100mb", false, ""},
		{"+info -config", "volatile-lru", "100mb", true, "maxmemory-policy volatile-lru, maxmemory 104857600"},
		{"+info -config", "volatile-lru", "100mb", true, ""},
		{"-info +config", "allkeys-random", "50mb", true, "maxmemory-policy allkeys-random, maxmemory 52428800"},
		{"-info +config", "noeviction", "50mb", false, "does not evict"},
	} {
		r.CLI(append([]string{"ACL", "SETUSER", "some", "reset", "on", ">pass", "+@all"}, strings.Fields(x.rights)...)...)
		r.CLI("CONFIG", "SET", "maxmemory-policy", x.policy)
		r.CLI("CONFIG", "SET", "maxmemory", x.limit)
		before := len(log.String())
		h.lookAtEviction(t.Context())
		h.eviction.untold = false // once it is, it is not asked again
		told := log.String()[before:]
		if list := h.Warnings(); len(list) > 1 || len(list) == 1 != x.warns || x.warns && (list[0].Name != "eviction" || !strings.Contains(list[0].Reason, x.policy)) {
			t.Errorf("%+v: warnings %v", x, list)
		}
		if told == "" != (x.told == "") || !strings.Contains(told, x.told) {
			t.Errorf("%+v: told %s", x, told)
		}
		if x.warns && x.told != "" && !strings.Contains(told, `"level":"warn"`) {
			t.Errorf("not loud: %s", told)
		}
	}
}

// An ACL logs each command that it refuses.
func TestARedisThatDoesNotTellWhetherItEvictsIsAskedOnce(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	r.CLI("ACL", "SETUSER", "some", "on", ">pass", "+@all", "-info", "-config")
	h := asking(r.Addr(), "some")
	h.opts.Uplink = redisconn.Of(r.ClientAs("some", "pass"))
	for range 3 {
		h.lookAtEviction(t.Context())
	}
	if list := h.Warnings(); len(list) > 0 {
		t.Errorf("warnings %v", list)
	}
	stats := r.CLI("INFO", "commandstats")
	if !strings.Contains(stats, "cmdstat_config|get:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,") && !strings.Contains(stats, "cmdstat_config:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,") {
		t.Errorf("asked more than once: %s", stats)
	}
}
