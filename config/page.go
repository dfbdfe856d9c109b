package config

import (
	"fmt"
	"strings"
)

const pageHead = `# Configuration

<!-- go generate ./config writes this page from the table of keys. -->

YAML, environment and flags, all with the same names; every key has a default, and a file needs only the keys that it changes.
Flags (` + "`--conn.ping 30s`" + `) override environment variables, these override the file, and the file overrides the defaults. The variable of a key is
` + "`PUSHPOD_`" + ` and the key's path with ` + "`_`" + `; lists are separated by commas there; an empty variable counts as not set. Durations need a unit (` + "`500ms`, `30s`, `5m`" + `).
Sizes are bytes, or have a unit (` + "`512B`, `64KiB`, `1MiB`" + `). ` + "`on`" + ` means true, ` + "`off`" + ` false. An unknown key or a value that is not allowed stops the
start, with an error that names it.

- ` + "`pushpod config check FILE`" + ` names every problem at once.
- ` + "`pushpod config reference`" + ` prints all of this as a commented file: [configs/pushpod.yaml](../configs/pushpod.yaml).
- ` + "`pushpod config schema`" + ` prints a JSON Schema, by which editors complete and check files.
- ` + "`pushpod config diff FILE --config CURRENT`" + ` says what a reload would change.

*Secret*: it has no flag, and is shown nowhere. *Reload*: what another value in the file holds for, once a pod has read it anew ([how](operations.md#reload)).
`

// Page returns the reference as a page of the documentation: a table for each section.
func Page() string {
	var b strings.Builder
	b.WriteString(pageHead)
	section := "-"
	for _, k := range keys() {
		if k.section() != section {
			section = k.section()
			title := "`" + section + "`"
			if section == "" {
				title = "Where clients connect"
			}
			fmt.Fprintf(&b, "\n## %s\n\n| key, variable | default | | reload |\n| --- | --- | --- | --- |\n", title)
		}
		fmt.Fprintf(&b, "| `%s`<br>`%s` | %s | %s Allowed: %s. | %s |\n", k.path, k.variable(), k.pageDefault(), k.pageDoc(), cell(k.allowed), cell(k.pageReload()))
	}
	return b.String()
}

func (k key) pageDefault() string {
	switch {
	case k.derived != "":
		return "depends"
	case k.preset == "":
		return "none"
	}
	return "`" + k.preset + "`"
}

func (k key) pageDoc() string {
	if k.secret {
		return "*Secret.* " + cell(k.doc)
	}
	return cell(k.doc)
}

func (k key) pageReload() string {
	if k.restart() {
		return "restart"
	}
	return k.reload
}

// cell makes text fit into a cell of a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "\n", " ").Replace(text)
}
