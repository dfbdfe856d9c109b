package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// marker stands for a secret: its lower case has none of the words that hide a value.
const marker = "Zq7MARKER9xAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// TestNoProblemTellsASecret writes each secret in ways that are wrong.
func TestNoProblemTellsASecret(t *testing.T) {
	for _, k := range keys() {
		if !k.secret {
			continue
		}
		for name, file := range map[string]string{
			"no blank":             "SECTION:\n  LEAF:MARKER\n",
			"no colon":             "SECTION:\n  LEAF MARKER\n  other: x\n",
			"equals":               "SECTION:\n  LEAF=MARKER\n",
			"no blank, and more":   "SECTION:\n  LEAF:MARKER\n  x: 1\n",
			"behind another":       "redis:\n  username: app LEAF: MARKER\n",
			"behind another's end": "redis: {username: app}\nlisten: '127.0.0.1:1' LEAF: MARKER\n",
			"a list":               "SECTION:\n  LEAF: [MARKER]\n",
			"a list of lists":      "SECTION:\n  LEAF: [[MARKER], {a: MARKER}]\n",
			"a map":                "SECTION:\n  LEAF: {MARKER: MARKER}\n",
			"open quote":           "SECTION:\n  LEAF: \"MARKER\n",
			"open single quote":    "SECTION:\n  LEAF: 'MARKER\n",
			"text behind quotes":   "SECTION:\n  LEAF: 'MARKER' 'MARKER'\n",
			"an anchor":            "SECTION:\n  LEAF: *MARKER\n",
			"an escape":            "SECTION:\n  LEAF: \"MARKER\\q\"\n",
			"a tab":                "SECTION:\n\tLEAF: MARKER\n",
			"a colon in it":        "SECTION:\n  LEAF: MARKER: MARKER\n",
			"a percent":            "SECTION:\n  LEAF: %MARKER\n",
			"an at":                "SECTION:\n  LEAF: @MARKER\n",
			"a backquote":          "SECTION:\n  LEAF: `MARKER`\n",
			"a brace":              "SECTION:\n  LEAF: {MARKER\n",
			"a bracket":            "SECTION:\n  LEAF: ]MARKER\n",
			"a tag":                "SECTION:\n  LEAF: !MARKER x\n",
			"a binary":             "SECTION:\n  LEAF: !!binary MARKER?\n",
			"a block":              "SECTION:\n  LEAF: |\n    MARKER\n",
			"a line break":         "SECTION:\n  LEAF: \"MARKER\\n\"\n",
			"twice":                "SECTION:\n  LEAF: MARKER\n  LEAF: MARKER\n",
			"at the top":           "LEAF: MARKER\n",
			"in one piece":         "SECTION.LEAF: MARKER\n",
			"below a list":         "SECTION:\n- LEAF: MARKER\n",
			"a list of the file":   "- SECTION: {LEAF: MARKER}\n",
			"another section":      "conn: {LEAF: MARKER}\n",
			"a plural":             "SECTION:\n  LEAFs: MARKER\n",
			"upper case":           "SECTION:\n  LEAF_: MARKER\n",
			"two documents":        "SECTION: {LEAF: MARKER}\n---\nLEAF: MARKER\n",
			"too long":             "SECTION:\n  LEAF: \"" + strings.Repeat("MARKER", 1000) + "\"\n",
			"too short":            "SECTION:\n  LEAF: MARK\n  x: x\n",
			"indented too far":     "SECTION:\n  x: 1\n    LEAF: MARKER\n",
			"the file alone":       "MARKER",
		} {
			file = strings.NewReplacer("SECTION", k.section(), "LEAF", k.leaf(), "MARKER", marker, "MARK", "Zq7MARKE").Replace(file)
			o := LoadOptions{File: write(t, file), Environ: []string{"PUSHPOD_LISTEN=x", k.variable() + "S=" + marker}}
			for _, p := range wantProblems(t, o) {
				asJSON, err := json.Marshal(p)
				if all := p.String() + fmt.Sprintf("%+v", p) + string(asJSON); err != nil || strings.Contains(all, "Zq7MARKE") {
					t.Errorf("%s, %s: %s", k.path, name, p)
				}
			}
		}
	}
}

func TestConfigIsPrintedWithoutItsSecrets(t *testing.T) {
	var environ []string
	for _, k := range keys() {
		if k.secret {
			value := marker
			if k.path == "auth.hook_url" {
				value = "https://hook.example/" + marker
			}
			environ = append(environ, k.variable()+"="+value)
		}
	}
	c := wantLoaded(t, LoadOptions{Environ: append(environ, "PUSHPOD_REDIS_ADDRESSES=a:1", "PUSHPOD_REDIS_SENTINEL_MASTER=m")})
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v %+v %#v %s", c, c, c, asJSON) + fmt.Sprint(&c, c.Auth, c.Admin.Token)
	if strings.Contains(text, marker) || strings.Count(text, hidden) < 4*len(environ) {
		t.Error(text)
	}
	if string(c.Admin.Token) != marker || string(c.Redis.Password) != marker {
		t.Error("the secrets themselves are lost")
	}
}

func TestSecretsHaveNoFlags(t *testing.T) {
	fs := flagSet(t)
	for _, k := range keys() {
		if flag := fs.Lookup(k.path); flag.Hidden != k.secret {
			t.Errorf("--%s is hidden: %v", k.path, flag.Hidden)
		}
	}
	if usage := fs.FlagUsages(); strings.Contains(usage, "password") || strings.Contains(usage, "secret") || !strings.Contains(usage, "--redis.username") {
		t.Error(usage)
	}
	if err := fs.Parse([]string{"--redis.password", marker}); err != nil || fs.Lookup("redis.password").Value.String() != "" {
		t.Errorf("the flag keeps what it is given: %v", err)
	}
}

func TestAdminListensOnLoopbackOrAsksForAToken(t *testing.T) {
	token := "PUSHPOD_ADMIN_TOKEN=" + marker
	for _, listen := range []string{":9090", "0.0.0.0:9090", "[::]:9090", "10.0.0.1:9090", "admin.example.org:9090"} {
		environ := []string{"PUSHPOD_ADMIN_LISTEN=" + listen}
		wantOneProblem(t, LoadOptions{Environ: environ}, "admin.listen", `"`+listen+`"`, "not on loopback", "admin.token", "admin.insecure: on", "127.0.0.1:9090")
		wantLoaded(t, LoadOptions{Environ: append(environ, token)})
		wantLoaded(t, LoadOptions{Environ: append(environ, "PUSHPOD_ADMIN_INSECURE=on")})
		wantOneProblem(t, LoadOptions{Environ: append(environ, "PUSHPOD_ADMIN_TOKEN=short")}, "admin.token", "(hidden)", "at least 16")
	}
	for _, listen := range []string{"127.0.0.1:9090", "localhost:1", "[::1]:1"} {
		wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_ADMIN_LISTEN=" + listen}})
		wantLoaded(t, LoadOptions{Environ: []string{"PUSHPOD_ADMIN_LISTEN=" + listen, token}})
	}
}
