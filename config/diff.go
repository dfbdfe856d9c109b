package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"pushpod/internal/secret"
)

// Change is a key whose value differs between two configurations.
type Change struct {
	Key     string `json:"key"`
	From    string `json:"from"`    // as a person reads it; secrets are hidden
	To      string `json:"to"`      // likewise
	Restart bool   `json:"restart"` // a pod that runs keeps the old value
}

// String is the change in one line.
func (c Change) String() string {
	if c.From == hidden && c.To == hidden {
		return c.Key + ": another one, " + hidden
	}
	return fmt.Sprintf("%s: %s -> %s", c.Key, c.From, c.To)
}

// Diff lists the keys whose values differ, in the order of the reference.
func Diff(from, to Config) (changes []Change) {
	for _, k := range keys() {
		if !k.same(&from, &to) {
			changes = append(changes, Change{Key: k.path, From: k.shown(&from), To: k.shown(&to), Restart: k.restart()})
		}
	}
	return changes
}

// Setting is a key with its value.
type Setting struct {
	Key     string `json:"key"`
	Value   string `json:"value"`   // as a person reads it; secrets are hidden
	Preset  string `json:"preset"`  // likewise: the value that the key has where it is not given
	Default bool   `json:"default"` // it has that value
	Restart bool   `json:"restart"` // to change it, the pod must be restarted
}

// Settings lists all keys of a configuration with their values, in the order of the reference.
func (c Config) Settings() []Setting {
	preset := Default()
	var all []Setting
	for _, k := range keys() {
		all = append(all, Setting{Key: k.path, Value: k.shown(&c), Preset: k.shown(&preset), Default: k.same(&c, &preset), Restart: k.restart()})
	}
	return all
}

// same reports whether both configurations have the same value of the key.
func (k key) same(a, b *Config) bool { return reflect.DeepEqual(k.get(a), k.get(b)) }

// text is the key's value as a file may give it.
func (k key) text(c *Config) string {
	switch v := k.get(c).(type) {
	case bool:
		if v {
			return "on"
		}
		return "off"
	case time.Duration:
		if v == 0 && k.mayBeOff() {
			return "off"
		}
		return short(v)
	case Size:
		if v == 0 && k.mayBeOff() {
			return "off"
		}
		return v.String()
	case int:
		if v == 0 && k.mayBeOff() {
			return "off"
		}
		return fmt.Sprint(v)
	case []string:
		return strings.Join(v, ",")
	case []netip.Prefix:
		texts := make([]string, len(v))
		for i, p := range v {
			texts[i] = p.String()
		}
		return strings.Join(texts, ",")
	case secret.Text:
		return string(v)
	default:
		return fmt.Sprint(v)
	}
}

// mayBeOff reports whether off stands for 0.
func (k key) mayBeOff() bool { return strings.HasPrefix(k.allowed, "off ") }

// shown is the key's value for people, on one line.
func (k key) shown(c *Config) string {
	text := k.text(c)
	switch {
	case text == "":
		return "none"
	case k.secret:
		return hidden
	case k.list:
		return "[" + strings.ReplaceAll(text, ",", ", ") + "]"
	case strings.ContainsAny(text, " \"@") || !isPlain(text):
		return showText(text)
	}
	return text
}

func isPlain(text string) bool {
	for _, r := range text {
		if r < ' ' || r > '~' {
			return false
		}
	}
	return true
}
