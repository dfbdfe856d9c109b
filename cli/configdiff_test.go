package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigDiffSaysWhatAReloadWouldChange(t *testing.T) {
	current := file(t, "conn:\n  ping: 20s\nlimits: {per_ip: 7}\nadmin: {token: a secret of operators}\n")
	next := file(t, "listen: 127.0.0.1:8081\nconn:\n  ping: 30s\nauth: {origins: ['https://*.example.com', 'null']}\nadmin: {token: another secret of theirs}\n")
	const want = `listen: 127.0.0.1:8080 -> 127.0.0.1:8081 (needs a restart)
admin.token: another one, (hidden) (applied at once)
pod.address: 127.0.0.1:8080 -> 127.0.0.1:8081 (needs a restart)
auth.origins: none -> [https://*.example.com, null] (applied at once)
conn.ping: 20s -> 30s (applied at once)
limits.per_ip: 7 -> off (applied at once)
`
	run(t, nil, "config", "diff", next, "--config", current).want(t, "two files", 0, want, "")
	run(t, nil, "config", "diff", current, "--config", current).want(t, "the same file", 0, current+": nothing would change\n", "")
	defaults, ping := file(t, "# nothing\n"), file(t, "conn: {ping: 40s}\n")
	run(t, nil, "config", "diff", defaults).want(t, "the defaults", 0, defaults+": nothing would change\n", "")
	run(t, []string{"PUSHPOD_CONN_PING=9s"}, "config", "diff", ping).want(t, "the environment wins", 0, ping+": nothing would change\n", "")

	r := run(t, nil, "config", "diff", next, "--config", current, "--json")
	var result diffResult
	if err := json.Unmarshal([]byte(r.stdout), &result); err != nil || r.code != 0 || !result.OK || len(result.Changes) != 6 || len(result.Problems) != 0 {
		t.Fatalf("%+v: %v", r, err)
	}
	if c := result.Changes[4]; c.Key != "conn.ping" || c.From != "20s" || c.To != "30s" || c.Restart {
		t.Errorf("%+v", c)
	}
}

func TestConfigDiffSaysWhyAReloadWouldBeRejected(t *testing.T) {
	bad := file(t, "conn:\n  ping: soon\n")
	run(t, nil, "config", "diff", bad).want(t, "a bad value", 2, "", bad+":2")
	run(t, nil, "config", "diff", filepath.Join(t.TempDir(), "none.yaml")).want(t, "no such file", 2, "", "no such file")
	run(t, nil, "config", "diff", file(t, ""), "--config", bad).want(t, "a bad current one", 2, "", bad+":2")
	run(t, nil, "config", "diff").want(t, "no file", 2, "", "FILE is missing")

	// Each is well by itself; what can't change meanwhile does not fit.
	both := file(t, "presence: {ttl: 10m}\nconn: {ping: 5m}\n")
	r := run(t, nil, "config", "diff", both, "--json")
	var result diffResult
	if err := json.Unmarshal([]byte(r.stdout), &result); err != nil || r.code != 2 || result.OK || len(result.Problems) != 1 {
		t.Fatalf("%+v: %v", r, err)
	}
	if p := result.Problems[0]; p.Key != "presence.ttl" || p.Value != `"1m30s"` || !strings.Contains(p.Source, "restart") {
		t.Errorf("%+v", p)
	}
}
