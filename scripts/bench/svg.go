//go:build linux

package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// chart is a picture with lines over a logarithmic x axis. Its y axis begins
// at 0, or is logarithmic too where values are far apart.
type chart struct {
	title  string
	xTitle string
	unit   unit
	lines  []chartLine
}

type chartLine struct {
	name   string
	dashed bool // a limit
	x, y   []float64
}

// The picture in pixels: its size, and where the axes end.
const (
	svgWidth, svgHeight = 720, 420
	plotLeft, plotRight = 90, 700
	plotTop, plotBottom = 50, 290
	legendTop           = 345
	legendLine          = 18
	logFrom             = 30.0 // largest value / smallest
)

// add adds one point to the line of that name.
func (c *chart) add(name string, dashed bool, x, y float64) {
	i := slices.IndexFunc(c.lines, func(l chartLine) bool { return l.name == name })
	if i < 0 {
		i = len(c.lines)
		c.lines = append(c.lines, chartLine{name: name, dashed: dashed})
	}
	c.lines[i].x = append(c.lines[i].x, x)
	c.lines[i].y = append(c.lines[i].y, y)
}

// scale maps values to pixels.
type scale struct {
	low, high float64 // values; logarithms of them where log is set
	from, to  float64 // pixels
	log       bool
}

func newScale(values []float64, from, to float64, log bool) scale {
	s := scale{low: slices.Min(values), high: slices.Max(values), from: from, to: to, log: log}
	if log {
		s.low, s.high = math.Log10(s.low), math.Log10(s.high)
	} else {
		s.low = min(0, s.low)
		s.high *= 1.1
	}
	if s.high <= s.low {
		s.high = s.low + 1
	}
	return s
}

func (s scale) at(v float64) float64 {
	if s.log {
		v = math.Log10(v)
	}
	return s.from + (v-s.low)/(s.high-s.low)*(s.to-s.from)
}

// ticks are five values from the lowest to the highest.
func (s scale) ticks() []float64 {
	const n = 4
	var t []float64
	for i := range n + 1 {
		v := s.low + (s.high-s.low)*float64(i)/n
		if s.log {
			v = math.Pow(10, v)
		}
		t = append(t, v)
	}
	return t
}

func (c *chart) svg() string {
	var xs, ys []float64
	for _, l := range c.lines {
		xs = append(xs, l.x...)
		ys = append(ys, l.y...)
	}
	height := max(svgHeight, legendTop+legendLine*(len(c.lines)+1))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="13">`+"\n",
		svgWidth, height, svgWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", svgWidth, height)
	text(&b, svgWidth/2, 26, "middle", c.title)
	if len(xs) > 0 {
		x := newScale(xs, plotLeft, plotRight, true)
		lowest := slices.Min(ys)
		y := newScale(ys, plotBottom, plotTop, lowest > 0 && slices.Max(ys)/lowest > logFrom)
		c.axes(&b, x, y, xs)
		for i, l := range c.lines {
			l.draw(&b, x, y, colour(i), legendTop+legendLine*i)
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (c *chart) axes(b *strings.Builder, x, y scale, xs []float64) {
	for _, v := range y.ticks() {
		fmt.Fprintf(b, `<path d="M%d %.1fH%d" stroke="#ddd"/>`+"\n", plotLeft, y.at(v), plotRight)
		text(b, plotLeft-8, y.at(v)+4, "end", format(c.unit, v))
	}
	xs = slices.Clone(xs)
	slices.Sort(xs)
	for _, v := range slices.Compact(xs) {
		fmt.Fprintf(b, `<path d="M%.1f %dV%d" stroke="#ddd"/>`+"\n", x.at(v), plotTop, plotBottom)
		text(b, x.at(v), plotBottom+18, "middle", group(int64(v)))
	}
	fmt.Fprintf(b, `<path d="M%d %dV%dH%d" fill="none" stroke="#333"/>`+"\n", plotLeft, plotTop, plotBottom, plotRight)
	text(b, (plotLeft+plotRight)/2, plotBottom+38, "middle", c.xTitle)
}

// draw draws the line, and its entry in the legend at legendY.
func (l chartLine) draw(b *strings.Builder, x, y scale, colour string, legendY int) {
	dash := ""
	if l.dashed {
		dash = ` stroke-dasharray="6 4"`
	}
	var points []string
	for i := range l.x {
		px, py := x.at(l.x[i]), y.at(l.y[i])
		points = append(points, fmt.Sprintf("%.1f,%.1f", px, py))
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", px, py, colour)
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.Join(points, " "), colour, dash)
	fmt.Fprintf(b, `<path d="M%d %dh30" stroke="%s" stroke-width="2"%s/>`+"\n", plotLeft, legendY, colour, dash)
	text(b, plotLeft+38, float64(legendY)+4, "start", l.name)
}

// colour is the i-th line's: told apart by colour-blind people too (Okabe and Ito).
func colour(i int) string {
	colours := [...]string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"}
	return colours[i%len(colours)]
}

func text(b *strings.Builder, x, y float64, anchor, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="#222">%s</text>`+"\n", x, y, anchor, html.EscapeString(s))
}
