package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pushpod/config"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pushpod.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigCheckNamesAllThatIsWrong(t *testing.T) {
	good := file(t, "listen: 127.0.0.1:8081\n")
	run(t, nil, "config", "check", good).want(t, "good", 0, good+": ok\n", "")
	run(t, nil, "config", "check", good, "--json").want(t, "good, as JSON", 0, "{\"ok\":true,\"problems\":[]}\n", "")
	empty := file(t, "")
	run(t, nil, "config", "check", empty).want(t, "empty", 0, empty+": ok\n", "")

	bad := file(t, "conn:\n  ping: soon\n  pign: 3s\n")
	r := run(t, nil, "config", "check", bad)
	r.want(t, "bad", 2, "", "conn.ping")
	if !strings.Contains(r.stderr, "conn.pign") || strings.Count(r.stderr, "\n") != 2 {
		t.Errorf("not each in a line of its own: %q", r.stderr)
	}
	r = run(t, nil, "config", "check", bad, "--json")
	var result checkResult
	if err := json.Unmarshal([]byte(r.stdout), &result); err != nil || r.code != 2 || result.OK || len(result.Problems) != 2 {
		t.Errorf("%+v: %v", r, err)
	}
	for _, p := range result.Problems {
		if !strings.HasPrefix(p.Key, "conn.p") || p.Source == "" {
			t.Errorf("%+v", p)
		}
	}
	if !strings.Contains(r.stderr, "conn.ping") {
		t.Errorf("no reason on stderr: %q", r.stderr)
	}

	run(t, nil, "config", "check", filepath.Join(t.TempDir(), "none.yaml")).want(t, "missing", 2, "", "none.yaml")
	run(t, nil, "config", "check", t.TempDir()).want(t, "a directory", 2, "", "config: ")

	// As a pod would that starts here: the address is missing, or comes from the environment.
	open := file(t, "listen: 0.0.0.0:8080\nauth: {insecure: true}\nredis: {addresses: [a:1]}\n")
	run(t, nil, "config", "check", open).want(t, "no address", 2, "", "pod.address")
	run(t, []string{"POD_IP=10.0.0.1"}, "config", "check", open).want(t, "with POD_IP", 0, open+": ok\n", "")
	run(t, []string{"PUSHPOD_CONN_PING=x"}, "config", "check", good).want(t, "a bad variable", 2, "", "PUSHPOD_CONN_PING")
}

func TestConfigReferenceIsAConfiguration(t *testing.T) {
	r := run(t, []string{"PUSHPOD_CONN_PING=x"}, "config", "reference")
	if r.code != 0 || r.stderr != "" || r.stdout != config.Reference() {
		t.Errorf("%+v", r)
	}
	path := file(t, r.stdout)
	run(t, nil, "config", "check", path).want(t, "the reference", 0, path+": ok\n", "")
}

func TestConfigSchemaIsThatOfTheTable(t *testing.T) {
	run(t, nil, "config", "schema").want(t, "schema", 0, config.Schema(), "")
}
