package config

import (
	"strings"
	"testing"
)

// What asks a pod that runs needs a few keys, and is not to fail for others.
func TestOnlyTheKeysThatMatterAreHeldUp(t *testing.T) {
	file := write(t, "listen: nowhere\nadmin: {listen: ':9090', pprof: maybe}\nnope: 1\npresence: {ttl: 1s}\n")
	environ := []string{"PUSHPOD_CONN_PING=never", "PUSHPOD_ADMIN_TOKEN=a token of operators"}
	c, err := Load(LoadOptions{File: file, Environ: environ, Only: []string{"admin.listen", "admin.token"}})
	if err != nil || c.Admin.Listen != ":9090" || c.Admin.Token == "" {
		t.Errorf("%+v, %v", c.Admin, err)
	}
	for why, o := range map[string]LoadOptions{
		"admin.listen":   {File: write(t, "admin: {listen: 9090}\n")},
		"redis.prefix":   {File: write(t, "redis:\n  prefix: push:\n")}, // no YAML: nothing of it is known
		"malformed YAML": {File: write(t, "admin: {listen: ':9090'\n")},
		"nonexistent":    {File: "/nonexistent/pushpod.yaml"},
	} {
		o.Only = []string{"admin.listen"}
		if _, err := Load(o); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
}
