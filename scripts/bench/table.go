//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// commandLine is how this tool was called.
func commandLine(args []string) string {
	return strings.Join(append([]string{"go run ./scripts/bench"}, args...), " ")
}

// table is the report in Markdown: a line for each measure, a column for each point.
// In brackets stands the ratio to the limit.
func (r report) table() string {
	head, rule := []string{""}, []string{"---"}
	var measures []string
	cells := make(map[string][]string)
	limits := make(map[string]string)
	for i, p := range r.Points {
		head, rule = append(head, p.point.String()), append(rule, "---:")
		for _, w := range p.Rows {
			if cells[w.Measure] == nil {
				cells[w.Measure] = make([]string, len(r.Points))
				measures = append(measures, w.Measure)
			}
			cells[w.Measure][i] = w.cell()
			limits[w.Measure] = w.LimitIs
		}
	}
	lines := [][]string{append(head, "(of)"), append(rule, "---")}
	for _, name := range measures {
		lines = append(lines, append(append([]string{name}, cells[name]...), limits[name]))
	}
	caption := fmt.Sprintf("`%s`: %s, %s.", r.Command, r.Machine, r.Redis)
	if r.Quick {
		caption += " --quick: too short to be quoted."
	}
	return caption + " Columns: connections × bytes of data; in brackets the ratio to the limit in the last column.\n\n" + align(lines)
}

func (w row) cell() string {
	s := format(w.Unit, w.Value)
	if w.Limit != nil && *w.Limit > 0 {
		s += fmt.Sprintf(" (%.2f)", w.Value / *w.Limit)
	}
	return s
}

// align sets the cells of a Markdown table in columns. All but the first and the last
// are numbers, and stand to the right.
func align(lines [][]string) string {
	widths := make([]int, len(lines[0]))
	for _, cells := range lines {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, cells := range lines {
		for i, cell := range cells {
			fill := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if 0 < i && i < len(cells)-1 {
				cell = fill + cell
			} else {
				cell += fill
			}
			b.WriteString("| " + cell + " ")
		}
		b.WriteString("|\n")
	}
	return b.String()
}

const (
	tableBegin = "<!-- bench: begin -->"
	tableEnd   = "<!-- bench: end -->"
)

// replaceTable puts a table into a file, between the two marks.
func replaceTable(file, table string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("bench: file for the table: %w", err)
	}
	before, rest, begins := bytes.Cut(b, []byte(tableBegin))
	_, after, ends := bytes.Cut(rest, []byte(tableEnd))
	if !begins || !ends {
		return fmt.Errorf("bench: %s has no lines %s and %s, between which the table goes", file, tableBegin, tableEnd)
	}
	b = slices.Concat(before, []byte(tableBegin+"\n"+table+tableEnd), after)
	if err := os.WriteFile(file, b, 0o644); err != nil {
		return fmt.Errorf("bench: write the table: %w", err)
	}
	return nil
}

// format writes a figure with three digits that mean something.
func format(u unit, v float64) string {
	switch u {
	case seconds:
		switch {
		case v >= 1:
			return digits(v) + " s"
		case v >= 1e-3:
			return digits(v*1e3) + " ms"
		default:
			return digits(v*1e6) + " µs"
		}
	case perSecond:
		return digits(v) + "/s"
	case number:
		return digits(v)
	default:
		return digits(v) + " " + string(u)
	}
}

func digits(v float64) string {
	abs := math.Abs(v)
	switch {
	case abs >= 100:
		return group(int64(math.Round(v)))
	case abs >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case abs >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case abs == 0:
		return "0"
	default:
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
}

// group writes an integer with a comma at each thousand.
func group(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
