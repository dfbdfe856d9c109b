package config

import (
	"fmt"
	"strings"
)

//go:generate go test -run "TestReferenceFile|TestReferencePage|TestSchemaFile" -update .

const referenceWidth = 110

const referenceHead = `The configuration of pushpod: all keys with their defaults. A file needs only the keys that it changes.

Flags (--conn.ping 30s) override environment variables, these override the file, and the file overrides the defaults. The variable of a key is PUSHPOD_ and the key's path with _; lists are separated by commas; an empty variable counts as not set. Durations need a unit (500ms, 30s, 5m). Sizes are bytes, or have a unit (512B, 64KiB, 1MiB). on means true, off means false. An unknown key or a value that is not allowed stops the start, with an error that names it.

A pod reads its file again when it changes, and at SIGHUP. Reload says of each key what another value then holds for. Where anything in the file is wrong, nothing changes.

The default of a key that is commented out depends on other keys.
`

// Reference returns the commented YAML file of every key with its default. It
// loads as Default.
func Reference() string {
	var b strings.Builder
	b.WriteString("# yaml-language-server: $schema=pushpod.schema.json\n#\n")
	for paragraph := range strings.SplitSeq(strings.TrimSpace(referenceHead), "\n\n") {
		comment(&b, "", paragraph)
		b.WriteString("#\n")
	}
	text := strings.TrimSuffix(b.String(), "#\n")
	b.Reset()
	b.WriteString(text)
	section := ""
	for _, k := range keys() {
		if k.section() != section {
			section = k.section()
			fmt.Fprintf(&b, "\n%s:\n", section)
		} else {
			b.WriteString("\n")
		}
		k.writeReference(&b)
	}
	return b.String()
}

func (k key) writeReference(b *strings.Builder) {
	indent := ""
	if k.section() != "" {
		indent = "  "
	}
	comment(b, indent, k.doc)
	comment(b, indent, "Allowed: "+k.allowed+".")
	comment(b, indent, "Environment: "+k.variable())
	if k.restart() {
		comment(b, indent, "Reload: needs a restart")
	} else {
		comment(b, indent, "Reload: for "+k.reload)
	}
	switch {
	case k.derived != "":
		fmt.Fprintf(b, "%s# %s: %s\n", indent, k.leaf(), k.derived)
	case k.list:
		fmt.Fprintf(b, "%s%s: [%s]\n", indent, k.leaf(), k.preset)
	case k.quoted:
		fmt.Fprintf(b, "%s%s: %q\n", indent, k.leaf(), k.preset)
	default:
		fmt.Fprintf(b, "%s%s: %s\n", indent, k.leaf(), k.preset)
	}
}

// comment writes text in lines that begin with # and are not too long.
func comment(b *strings.Builder, indent, text string) {
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > referenceWidth {
			b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}
