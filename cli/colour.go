package cli

import (
	"bytes"
	"io"
	"strings"
)

// A colour is how text stands out on a terminal: parameters of SGR (ECMA-48); "" is
// plain.
type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	faint  colour = "2"
	red    colour = "31"
	yellow colour = "33"
)

// stateColour marks the states of a pod that want to be looked at.
func stateColour(state string) colour {
	switch state {
	case "dead", "conflict":
		return red
	case "draining":
		return yellow
	}
	return plain
}

// colours is whether text may be coloured.
type colours bool

// coloursFor allows colours on a terminal, unless NO_COLOR is set (no-color.org) or TERM is
// dumb.
func coloursFor(w io.Writer, environ []string) colours {
	return colours(IsTerminal(w) && variable(environ, "NO_COLOR") == "" && variable(environ, "TERM") != "dumb")
}

// variable returns the value of a variable; the last one counts, as for a process.
func variable(environ []string, name string) (value string) {
	for _, pair := range environ {
		if n, v, _ := strings.Cut(pair, "="); n == name {
			value = v
		}
	}
	return value
}

// paint colours text that holds no escape sequences.
func (on colours) paint(c colour, text string) string {
	if !on || c == plain || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// writeTable is writeTable with a bold head and coloured rows; of may be nil. Escape
// sequences come after the columns are laid out: they would count as text.
func (on colours) writeTable(w io.Writer, head []string, rows [][]string, of func(row int) colour) error {
	if !on {
		return writeTable(w, head, rows)
	}
	var laidOut bytes.Buffer
	if err := writeTable(&laidOut, head, rows); err != nil {
		return err
	}
	painted, row := "", -1
	for line := range strings.Lines(laidOut.String()) {
		c := bold
		if row >= 0 {
			c = plain
			if of != nil {
				c = of(row)
			}
		}
		painted += on.paint(c, strings.TrimSuffix(line, "\n")) + "\n"
		row++
	}
	_, err := io.WriteString(w, painted)
	return written(err)
}
