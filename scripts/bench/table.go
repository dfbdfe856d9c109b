//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// writeTable prints a point for people.
func writeTable(w io.Writer, p point) error {
	lines := [][]string{{"stage", "measure", "pod", "limit", "pod/limit", "the limit is"}}
	last := ""
	for _, r := range p.Rows {
		stage := r.Stage
		if stage == last {
			stage = ""
		}
		last = r.Stage
		lim, ratio := "", ""
		if r.Limit != nil {
			lim = format(r.Unit, *r.Limit)
			if *r.Limit > 0 {
				ratio = strconv.FormatFloat(r.Value / *r.Limit, 'f', 2, 64)
			}
		}
		lines = append(lines, []string{stage, r.Measure, format(r.Unit, r.Value), lim, ratio, r.LimitIs})
	}
	head := fmt.Sprintf("%s connections, %s bytes of data, seed %d; %s\n", group(int64(p.Connections)), group(int64(p.Size)), p.Seed, p.Machine)
	if p.Quick {
		head += "--quick: too short to be quoted\n"
	}
	_, err := io.WriteString(w, head+"\n"+align(lines, 2, 5)+"\n")
	return err
}

// align sets lines of cells in columns; those from first up to, not including,
// last are numbers, and stand to the right.
func align(lines [][]string, first, last int) string {
	var widths []int
	for _, cells := range lines {
		for i, cell := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, cells := range lines {
		var line strings.Builder
		for i, cell := range cells {
			fill := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if first <= i && i < last {
				cell = fill + cell
			} else {
				cell += fill
			}
			line.WriteString(cell + "  ")
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
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
	case bytesUnit:
		return digits(v) + " B"
	case perSecond:
		return digits(v) + "/s"
	case percent:
		return digits(v) + " %"
	default:
		return digits(v)
	}
}

func digits(v float64) string {
	abs := max(v, -v)
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
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}
