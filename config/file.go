package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"pushpod/internal/filewatch"
)

// readFile takes the values of the file. Each thing wrong with it is a problem.
func (l *loader) readFile(file string) {
	text, err := filewatch.Read(file)
	if err != nil {
		l.unreadable(file, err)
		return
	}
	l.readText(file, text)
}

// unreadable records why the file can't be read.
func (l *loader) unreadable(file string, err error) {
	l.problems.causes = append(l.problems.causes, fmt.Errorf("config: %w", err))
	l.add(Problem{Source: file, Message: reason(err), Allowed: "the path of a YAML file that can be read"})
}

// readText takes the values in the text of the file.
func (l *loader) readText(file string, text []byte) {
	root, err := parseYAML(text)
	switch {
	case err != nil:
		l.refuseYAML(file, text, err)
	case root == nil || root.Tag == "!!null":
		// Nothing, or comments alone.
	case root.Kind != yaml.MappingNode:
		l.add(Problem{Source: file, Message: "holds no keys; it must be lines such as `listen: 127.0.0.1:8080`"})
	default:
		l.eachEntry(root, file, "", l.readEntry)
	}
}

// reason is what the operating system says, without the call and the path.
func reason(err error) string {
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// parseYAML returns the root of the one document in text; nil: there is none.
func parseYAML(text []byte) (*yaml.Node, error) {
	var document, next yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&document); err == io.EOF {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	switch err := decoder.Decode(&next); {
	case err == nil:
		return nil, fmt.Errorf("line %d: a second document; a configuration is one", next.Line)
	case err != io.EOF:
		return nil, err
	}
	return document.Content[0], nil
}

// plainValue is a line with a value that is not in quotes: of a key, or of a list
// below it.
var plainValue = regexp.MustCompile(`^(?:([A-Za-z_]+)\s*:|-)(?:\s+([^"'#\s].*))?$`)

// quotedText is what the parser quotes from the file, which may be a password.
var quotedText = regexp.MustCompile("'[^']{2,}'|`[^`]{2,}`")

// refuseYAML says why text is no YAML. The usual reason is a value that needs quotes,
// [::1]:8080 or push:, which the parser says nothing of: it is looked for first, among
// the lines that are no YAML by themselves either.
func (l *loader) refuseYAML(file string, text []byte, err error) {
	l.unread = true
	found := false
	section, path := "", ""
	for i, line := range strings.Split(string(text), "\n") {
		m := plainValue.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		name, value := m[1], m[2]
		switch {
		case name == "": // one of a list
		case line[0] != ' ':
			section, path = name+".", name
		default:
			path = section + name
		}
		if k, known := l.find(path); known && needsQuotes(value) {
			found = true
			k.secret = k.secret || mayHoldSecret(value)
			l.refuse(k, value, fmt.Sprintf("%s:%d", file, i+1), errors.New("YAML reads this otherwise; put it in quotes"))
		}
	}
	if !found {
		message := quotedText.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), "'…'")
		l.add(Problem{Source: file, Message: "malformed YAML: " + message})
	}
}

// needsQuotes reports whether a value is YAML only in quotes. A list may go on below.
func needsQuotes(value string) bool {
	isYAML := func(value string) bool { return yaml.Unmarshal([]byte("x: "+value), &yaml.Node{}) == nil }
	goesOn := strings.HasPrefix(value, "[") && !strings.Contains(value, "]")
	return !goesOn && !isYAML(value) && isYAML("'"+strings.ReplaceAll(value, "'", "''")+"'")
}

// eachEntry calls read with the path and the value of each entry of a mapping. A key
// that stands twice is a problem.
func (l *loader) eachEntry(m *yaml.Node, file, prefix string, read func(path string, value *yaml.Node, source string)) {
	lines := map[string]int{}
	for i := 0; i < len(m.Content); i += 2 {
		name, value := m.Content[i], m.Content[i+1]
		path := prefix + name.Value
		source := fmt.Sprintf("%s:%d", file, name.Line)
		if first := lines[name.Value]; first != 0 {
			l.add(Problem{Key: printable(path), Source: source, Message: fmt.Sprintf("stands twice, before in line %d", first)})
			continue
		}
		lines[name.Value] = name.Line
		if value.Alias != nil {
			value = value.Alias
		}
		read(path, value, source)
	}
}

// readEntry takes one top-level entry: a key, or a section of keys.
func (l *loader) readEntry(name string, value *yaml.Node, source string) {
	switch {
	case strings.Contains(name, "."):
		l.refuseUnknown(name, valueOf(value), source)
	case !l.isSection(name):
		l.readValue(name, value, source)
	case value.Kind == yaml.MappingNode:
		file := source[:strings.LastIndexByte(source, ':')]
		l.eachEntry(value, file, name+".", l.readValue)
	case value.Tag == "!!null":
		// A section whose keys are all commented out.
	default:
		shown := show(valueOf(value))
		if mayHoldSecret(shown) || l.holdsSecrets(name) {
			shown = hidden // password:x without a blank is text
		}
		l.add(Problem{Key: name, Value: shown, Source: source, Message: "is a section",
			Allowed: "its keys, indented, on the lines below: " + l.within(name)})
	}
}

func (l *loader) readValue(path string, node *yaml.Node, source string) {
	value := valueOf(node)
	k, ok := l.find(path)
	switch {
	case !ok:
		l.refuseUnknown(path, value, source)
	case value == nil:
		l.add(Problem{Key: path, Value: "null", Source: source, Message: "has no value; leave the key out to have its default", Allowed: k.allowed})
	default:
		l.given[path] = given{value, source}
	}
}

// errUnreadable stands for a value that YAML's rules forbid, !!int x. No key takes it.
var errUnreadable = errors.New("unreadable")

func valueOf(node *yaml.Node) any {
	var value any
	if node.Decode(&value) != nil {
		return errUnreadable
	}
	return value
}

func (l *loader) refuseUnknown(path string, value any, source string) {
	paths := make([]string, len(l.keys))
	for i, k := range l.keys {
		paths[i] = k.path
	}
	meant := suggest(path, paths, ".")
	problem := Problem{Key: printable(path), Value: l.showUnknown(path, meant, value), Source: source, Message: unknown("key", meant)}
	section, leaf, _ := strings.Cut(path, ".")
	switch _, known := l.find(path); {
	case known:
		problem.Message, problem.Allowed = "is written in one piece", fmt.Sprintf("%s on a line of its own, indented, below %s:", leaf, section)
	case l.isSection(section):
		problem.Allowed = "under " + section + ": " + l.within(section)
	default:
		problem.Allowed = l.within("")
	}
	l.add(problem)
}

func (l *loader) find(path string) (key, bool) {
	for _, k := range l.keys {
		if k.path == path {
			return k, true
		}
	}
	return key{}, false
}

func (l *loader) isSection(name string) bool {
	for _, k := range l.keys {
		if name != "" && k.section() == name {
			return true
		}
	}
	return false
}

// holdsSecrets reports whether a section has a key whose value is shown to nobody.
func (l *loader) holdsSecrets(section string) bool {
	return slices.ContainsFunc(l.keys, func(k key) bool { return k.secret && k.section() == section })
}

// within lists the keys of a section; of "", the top-level keys and sections.
func (l *loader) within(section string) string {
	var names []string
	for _, k := range l.keys {
		name := k.leaf()
		if section == "" && k.section() != "" {
			name = k.section()
		} else if k.section() != section {
			continue
		}
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// printable keeps a name from a file within a line.
func printable(name string) string {
	if shown := showText(name); name == "" || shown != `"`+name+`"` {
		return shown
	}
	return name
}
