package config

import (
	"fmt"
	"strings"

	"pushpod/internal/secret"
)

// A Problem is one thing wrong with the configuration.
type Problem struct {
	Key     string // the key, in the file's notation: `conn.ping`; empty where the file as a whole is meant
	Value   string // what was given, shortened and without secrets; may be empty
	Source  string // where it was given: the file's name, a variable's name, `--flag`; may be empty
	Message string // what is wrong, where "not allowed" is not all of it; may be empty
	Allowed string // what is allowed instead; may be empty
}

// String is the problem in one line.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString("config: ")
	switch {
	case p.Key == "":
		b.WriteString(p.Source)
	case p.Source == "":
		b.WriteString(p.Key)
		writeValue(&b, p.Value)
	default:
		b.WriteString(p.Key)
		writeValue(&b, p.Value)
		b.WriteString(" (" + p.Source + ")")
	}
	if p.Message != "" {
		b.WriteString(": " + p.Message)
	}
	if p.Allowed != "" {
		if !strings.HasSuffix(p.Message, "?") {
			b.WriteByte(';')
		}
		b.WriteString(" allowed: " + p.Allowed)
	}
	return b.String()
}

func writeValue(b *strings.Builder, value string) {
	if value != "" {
		b.WriteString(": " + value)
	}
}

// Problems is the error of Load: all that is wrong, at least one problem, in
// the order of the reference.
type Problems struct {
	List []Problem
	// LogFormat is log.format as far as it could be read; "": it could not.
	LogFormat string

	causes []error
}

// Error is one line for each problem.
func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, problem := range p.List {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors of the operating system behind the problems, so
// that errors.Is(err, fs.ErrNotExist) finds a missing file.
func (p *Problems) Unwrap() []error { return p.causes }

func (p *Problems) add(problem Problem) {
	p.List = append(p.List, problem)
}

// errorOrNil keeps a nil *Problems from becoming an error that is not nil.
func (p *Problems) errorOrNil() error {
	if len(p.List) == 0 {
		return nil
	}
	return p
}

const (
	hidden     = secret.Hidden
	maxShown   = 80
	shownLists = 8
)

// show writes a value for an error message: on one line, not too long, and
// without what stands before an @, which is where addresses carry passwords.
func show(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case string:
		return showText(v)
	case []string:
		return showText(strings.Join(v, ","))
	case []any:
		return showList(v)
	case map[string]any, map[any]any:
		return "(a section)"
	}
	return fmt.Sprint(value)
}

func showText(text string) string {
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		text = "…" + text[at:]
	}
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return fmt.Sprintf("%q", text)
}

func showList(values []any) string {
	shown := make([]string, 0, shownLists)
	for i, v := range values {
		if i == shownLists {
			shown = append(shown, "…")
			break
		}
		if _, nested := v.([]any); nested {
			shown = append(shown, "(a list)")
			continue
		}
		shown = append(shown, show(v))
	}
	return "[" + strings.Join(shown, ", ") + "]"
}
