package config

import (
	"strings"

	"github.com/spf13/pflag"
)

// AddFlags adds one flag for each key, named like it: --conn.ping 25s. The
// flags take any text; Load, given the same set, checks what they hold. Those of
// secrets keep nothing, are in no help, and only let Load say how to give it.
func AddFlags(fs *pflag.FlagSet) {
	for _, k := range keys() {
		preset := k.preset
		flag := fs.VarPF(&flagValue{text: preset, name: k.name, secret: k.secret}, k.path, "", k.usage())
		flag.DefValue = preset
		flag.Hidden = k.secret
		if k.name == "switch" {
			flag.NoOptDefVal = "on"
		}
	}
}

// usage is the first sentence of the doc, as flags' help has it: without a
// capital and a full stop. "GET /ws). " ends no sentence within brackets.
func (k key) usage() string {
	first, _, _ := strings.Cut(k.doc, ". ")
	first = strings.TrimSuffix(first, ".")
	return strings.ToLower(first[:1]) + first[1:]
}

// A flagValue holds a flag's text as given. Its type is none of pflag's own:
// viper would convert those itself and make 0 of what is no number.
type flagValue struct {
	text   string
	name   string
	secret bool
}

func (v *flagValue) String() string { return v.text }
func (v *flagValue) Type() string   { return v.name }
func (v *flagValue) Set(text string) error {
	if !v.secret {
		v.text = text
	}
	return nil
}
