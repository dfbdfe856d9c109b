package presence_test

import (
	"strings"
	"testing"
	"unicode"

	"pushpod/presence"
)

func TestKeysAreThoseOfTheContract(t *testing.T) {
	k := presence.NewKeys("push:")
	for want, got := range map[string]string{
		"push:user:{alice}":       k.User("alice"),
		"push:pods":               k.Pods(),
		"push:pods:info":          k.PodsInfo(),
		"push:uplink":             k.Uplink(),
		"push:pod:10.0.3.7:8080":  k.PodChannel("10.0.3.7:8080"),
		"push:all":                k.AllChannel(),
		"push:ctl:10.0.3.7:8080":  k.ControlChannel("10.0.3.7:8080"),
		"push:ctl:all":            k.ControlAllChannel(),
		"push:block:{alice}":      k.Block("alice"),
		"push:revoked:{t1}":       k.Revoked("t1"),
		"push:valid-after":        k.ValidAfter(),
		"push:valid-after:{al}":   k.ValidAfterUser("al"),
		"push:used:{t1}":          k.Used("t1"),
		"push:user:{a}{b}:c d\"}": k.User(`a}{b}:c d"`),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if address, ok := k.PodAddress("push:pod:[::1]:8080"); !ok || address != "[::1]:8080" {
		t.Errorf("PodAddress = %q, %v", address, ok)
	}
	if _, ok := k.PodAddress("push:all"); ok {
		t.Error("push:all is no pod's channel")
	}
}

func TestUserIDsAreChecked(t *testing.T) {
	for id, valid := range map[string]bool{
		"alice": true, "a": true, "{": true, "a}": true, "a b": true, "😀": true, "\u00a0": true, "\u2028": true,
		strings.Repeat("x", 256): true, strings.Repeat("é", 128): true, "\ufffd": true,
		"": false, "}": false, "}a": false, strings.Repeat("x", 257): false, strings.Repeat("é", 129): false,
		"a\x00": false, "\n": false, "a\tb": false, "\x7f": false, "\u0080": false, "a\u009f": false, "\u0085": false,
		"\xff": false, "a\xc3": false, "\xed\xa0\x80": false, "\xc0\x80": false, "\xf4\x90\x80\x80": false,
	} {
		if err := presence.ValidUser(id); (err == nil) != valid {
			t.Errorf("ValidUser(%q) = %v, want valid %v", id, err, valid)
		}
		if err := presence.ValidUser([]byte(id)); (err == nil) != valid {
			t.Errorf("ValidUser of the bytes of %q = %v, want valid %v", id, err, valid)
		}
	}
	for r := range rune(0x3000) {
		for _, id := range []string{string(r), "a" + string(r), string(r) + "a"} {
			if want := !unicode.IsControl(r) && id[0] != '}'; (presence.ValidUser(id) == nil) != want {
				t.Errorf("%q: valid %v, want %v", id, !want, want)
			}
		}
	}
	user := strings.Repeat("ab ä😀", 20)
	bytes := []byte(user)
	if n := testing.AllocsPerRun(100, func() { _, _ = presence.ValidUser(user), presence.ValidUser(bytes) }); n != 0 {
		t.Errorf("checking a good user id allocates %v times", n)
	}
}

func TestPrefixesAreChecked(t *testing.T) {
	for prefix, valid := range map[string]bool{
		"push:": true, "": true, "a b/": true, "p{": false, "}": false, "p\n": false, "\xff": false,
	} {
		if err := presence.ValidPrefix(prefix); (err == nil) != valid {
			t.Errorf("ValidPrefix(%q) = %v, want valid %v", prefix, err, valid)
		}
	}
}

func FuzzValidUser(f *testing.F) {
	f.Add("alice")
	f.Add("}x")
	f.Add("\xff\u0085")
	f.Fuzz(func(t *testing.T, id string) {
		if presence.ValidUser(id) == nil && (len(id) < 1 || len(id) > 256 || id[0] == '}' || strings.ToValidUTF8(id, "") != id) {
			t.Fatalf("%q is taken for valid", id)
		}
	})
}
