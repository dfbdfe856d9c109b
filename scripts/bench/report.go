//go:build linux

package main

import "time"

// unit is what a figure is counted in. JSON has the base unit; the table
// scales it.
type unit string

const (
	seconds   unit = "s"
	bytesUnit unit = "B"
	perSecond unit = "1/s"
	percent   unit = "%"
	number    unit = ""
)

// row is one figure, and the limit beside it where there is one.
type row struct {
	Stage   string   `json:"stage"`
	Measure string   `json:"measure"`
	Unit    unit     `json:"unit"`
	Value   float64  `json:"value"`
	Limit   *float64 `json:"limit,omitempty"`
	LimitIs string   `json:"limit_is,omitempty"`

	// Where the row goes in a curve: the picture, and the line in it.
	chart  string
	series string
}

// point is all that was measured in one setting.
type point struct {
	Connections int    `json:"connections"`
	Size        int    `json:"size"`
	Machine     string `json:"machine"`
	Seed        uint64 `json:"seed"`
	Quick       bool   `json:"quick"`
	Rows        []row  `json:"rows"`
}

// limit is a figure that the machine sets; nothing where it was not taken.
type limit struct {
	value float64
	is    string
}

func (r row) against(l limit) row {
	if l.is != "" {
		r.Limit, r.LimitIs = &l.value, l.is
	}
	return r
}

// drawn puts the row in a picture.
func (r row) drawn(chart, series string) row {
	r.chart, r.series = chart, series
	return r
}

// figures is what one stretch of load gave.
type figures struct {
	unheard  int           // messages that Redis had no subscriber for
	expected uint64        // receipts
	took     time.Duration // from the first PUBLISH to the last receipt
	cpu      time.Duration // of the server; 0 where it is not known
	got      received
}

func (f figures) lost() uint64 {
	return f.expected - min(f.got.n, f.expected)
}

// cpuEach is the server's CPU time for each receipt, in seconds.
func (f figures) cpuEach() float64 {
	return f.cpu.Seconds() / float64(max(f.got.n, 1))
}

// rate is receipts per second.
func (f figures) rate() float64 {
	return float64(f.got.n) / max(f.took.Seconds(), 1e-9)
}

func (f figures) age(q float64) float64 {
	if q == 1 {
		return time.Duration(f.got.age.max).Seconds()
	}
	return f.got.age.quantile(q).Seconds()
}
