package cli

import (
	"fmt"
	"strings"
	"testing"

	"pushpod/internal/redistest"
	"pushpod/scripts"
)

func TestFunctionsLoadTellsWhatItDid(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	code, version := scripts.Library()
	other := func(v int) string {
		return strings.Replace(code, fmt.Sprintf("VERSION = %d\n", version), fmt.Sprintf("VERSION = %d\n", v), 1)
	}
	load := func(code string) {
		t.Helper()
		if err := c.FunctionLoadReplace(t.Context(), code).Err(); err != nil {
			t.Fatal(err)
		}
	}
	run(t, at(s), "functions", "load").want(t, "none there", 0, fmt.Sprintf("loaded version %d\n", version), "")
	run(t, at(s), "functions", "load").want(t, "the same there", 0,
		fmt.Sprintf("not loaded: Redis has version %d, this program has version %[1]d\n", version), "")
	run(t, at(s), "functions", "load", "--json").want(t, "the same there, as JSON", 0,
		fmt.Sprintf("{\"loaded\":false,\"found\":%d,\"version\":%[1]d}\n", version), "")
	if n, err := c.FCall(t.Context(), "pushpod_push", []string{"push:user:{alice}"}, "1").Int(); n != 0 || err != nil {
		t.Errorf("FCALL: %d: %v", n, err)
	}

	load(other(version + 7))
	run(t, at(s), "functions", "load").want(t, "a newer one there", 0,
		fmt.Sprintf("not loaded: Redis has version %d, this program has version %d\n", version+7, version), "")

	load("#!lua name=pushpod\nredis.register_function('f', function() return 1 end)")
	run(t, at(s), "functions", "load").want(t, "a stranger's there", 1, "", "the server has another library named pushpod")
	run(t, at(s), "functions", "load", "--json").want(t, "a stranger's there, as JSON", 1, "", "another library")

	if err := c.FunctionFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	run(t, at(s), "functions", "load", "--json").want(t, "none there, as JSON", 0,
		fmt.Sprintf("{\"loaded\":true,\"found\":0,\"version\":%d}\n", version), "")
	s.CLI("ACL", "SETUSER", "default", "-function")
	run(t, at(s), "functions", "load").want(t, "no right", 1, "", "NOPERM")
}
