package config

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

func TestWordsOfAKeyAreWhatItMayBe(t *testing.T) {
	for path, want := range map[string][]string{
		"log.level":            {"trace", "debug", "info", "warn", "error"},
		"auth.mode":            {"none", "jwt", "header"},
		"redis.tls":            {"on", "off"},
		"conn.max_age":         {"off"},
		"conn.send_buffer":     {"off"},
		"limits.per_user":      {"off"},
		"presence.ttl":         nil,
		"redis.addresses":      nil,
		"there.is.no_such_key": nil,
	} {
		if got := Words(path); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// Whatever stands there, Load takes, as far as the key alone goes.
func TestEachWordIsTaken(t *testing.T) {
	for _, k := range keys() {
		for _, word := range k.words {
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			AddFlags(flags)
			if err := flags.Set(k.path, word); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(LoadOptions{Flags: flags, Only: []string{k.path}}); err != nil {
				t.Errorf("--%s %s: %v", k.path, word, err)
			}
		}
	}
}
