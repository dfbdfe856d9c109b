package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/viper"
)

const (
	// maxFile bounds a file, so that a wrong path (/dev/zero) ends.
	maxFile = 256 << 10
	// maxMarks bounds what can make a key in YAML. The decoder compares each
	// key of a mapping with each other one and words a complaint for every
	// pair of equals: 20,000 of them would take gigabytes.
	maxMarks = 300
	// maxComplaints is how many lines of the decoder's complaints are passed on.
	maxComplaints = 20
)

// readFile takes the values of the file. What stands in it under no known key
// is a problem each.
func (l *loader) readFile(file string) {
	if file == "" {
		return
	}
	text, err := read(file)
	if err != nil {
		l.problems.causes = append(l.problems.causes, err)
		l.add(Problem{Source: file, Message: reason(err), Allowed: "the path of a YAML file that can be read"})
		return
	}
	l.readText(text, file)
}

// readText takes the values of a file's text.
func (l *loader) readText(text []byte, source string) {
	tree, complaints := decodeYAML(text)
	for _, complaint := range complaints {
		l.add(Problem{Source: source, Message: complaint})
	}
	if len(complaints) > 0 {
		return
	}
	for _, name := range sortedKeys(tree) {
		l.readEntry(name, tree[name], source)
	}
}

// readEntry takes one top-level entry: a key or a section of keys.
func (l *loader) readEntry(name string, value any, source string) {
	switch {
	case strings.Contains(name, "."):
		l.refuseUnknown(name, value, source)
		return
	case !l.isSection(name):
		l.readValue(name, value, source)
		return
	}
	switch section := value.(type) {
	case nil:
		// A section whose keys are all commented out.
	case map[string]any:
		for _, leaf := range sortedKeys(section) {
			l.readValue(name+"."+leaf, section[leaf], source)
		}
	case map[any]any:
		// What the decoder makes where a key is no text.
		for leaf, v := range section {
			l.readValue(name+"."+fmt.Sprint(leaf), v, source)
		}
	default:
		l.add(Problem{Key: name, Value: show(value), Source: source, Message: "is a section",
			Allowed: "its keys, indented, on the lines below: " + l.within(name)})
	}
}

func (l *loader) readValue(path string, value any, source string) {
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

func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("config: opening %s: %w", file, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("config: reading %s: %w", file, err)
	}
	return text, nil
}

// reason is the operating system's word without the call and the path, which
// the problem's line has already.
func reason(err error) string {
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// decodeYAML returns what the text holds, or what is wrong with it, with lines
// where the decoder tells them.
func decodeYAML(text []byte) (map[string]any, []string) {
	if complaint := bound(string(text)); complaint != "" {
		return nil, []string{complaint}
	}
	decoder, err := viper.NewCodecRegistry().Decoder("yaml")
	if err != nil {
		return nil, []string{err.Error()}
	}
	tree := map[string]any{}
	if err := decoder.Decode(text, tree); err != nil {
		return nil, complaints(err)
	}
	return tree, nil
}

// bound refuses what the decoder would take too long over, or would not see: it
// reads the first document of a file and leaves the others.
func bound(text string) string {
	if len(text) > maxFile {
		return fmt.Sprintf("is larger than %d KiB: not a configuration", maxFile>>10)
	}
	marks, number := 0, 0
	begun, ended := false, false
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(strings.TrimPrefix(line, "\ufeff"), " \t\r\n")
		if line == "..." || line == "---" || strings.HasPrefix(line, "--- ") {
			ended = ended || begun
			line = strings.TrimLeft(line, "-.")
		}
		bare := strings.TrimLeft(line, " \t")
		if bare == "" || bare[0] == '#' || bare[0] == '%' && !begun {
			continue
		}
		if ended {
			return fmt.Sprintf("line %d: a second document; a configuration is one", number)
		}
		begun = true
		// Without a quote in the line, this begins a comment.
		if comment := strings.Index(line, " #"); comment >= 0 && !strings.ContainsAny(line, `"'`) {
			line = line[:comment]
		}
		marks += strings.Count(line, ":") + strings.Count(line, ",") + strings.Count(line, "?")
	}
	if marks > maxMarks {
		return fmt.Sprintf("has more than %d keys and values: not a configuration", maxMarks)
	}
	return ""
}

// complaints takes the decoder's error apart.
func complaints(err error) []string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimSpace(strings.TrimPrefix(line, "yaml: "))
		switch {
		case line == "" || line == "unmarshal errors:":
		case strings.Contains(line, "cannot unmarshal"):
			// Only the top can be of a wrong type; the decoder would quote it.
			lines = append(lines, "holds no keys; it must be lines such as `listen: 127.0.0.1:8080`")
		default:
			lines = append(lines, "malformed YAML: "+unquoted(line))
		}
		if len(lines) == maxComplaints {
			break
		}
	}
	return lines
}

// unquoted takes out of a complaint what it quotes from the file, which may be
// a password: unknown anchor 'hunter2'. Marks such as ',' stay, and the names
// of keys, which the decoder puts in double quotes.
func unquoted(complaint string) string {
	const longestMark = 1
	for _, quote := range []string{"'", "`"} {
		parts := strings.Split(complaint, quote)
		for i := 1; i < len(parts); i += 2 {
			if len(parts[i]) > longestMark {
				parts[i] = "…"
			}
		}
		complaint = strings.Join(parts, quote)
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, complaint)
}

// printable keeps a name from a file within a line.
func printable(name string) string {
	if shown := showText(name); name == "" || shown != `"`+name+`"` {
		return shown
	}
	return name
}
