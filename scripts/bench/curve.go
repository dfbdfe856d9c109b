//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// writeCurve draws what several points have in common: one picture for each
// chart that rows name, and a line in it for each of its series, with its
// limit beside it.
func writeCurve(dir string, c curve, points []point, say func(string, ...any)) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("bench: directory for pictures: %w", err)
	}
	for _, name := range chartNames(points) {
		file := filepath.Join(dir, fmt.Sprintf("%s-%s.svg", c.of, name))
		if err := os.WriteFile(file, []byte(chartOf(name, c.of, points).svg()), 0o644); err != nil {
			return fmt.Errorf("bench: write a picture: %w", err)
		}
		say("wrote %s", file)
	}
	return nil
}

// chartNames lists the charts in the order of the rows.
func chartNames(points []point) []string {
	var names []string
	seen := make(map[string]bool)
	for _, p := range points {
		for _, r := range p.Rows {
			if r.chart != "" && !seen[r.chart] {
				seen[r.chart] = true
				names = append(names, r.chart)
			}
		}
	}
	return names
}

// chartOf collects one chart.
func chartOf(name, of string, points []point) *chart {
	axis := "connections"
	if of == "size" {
		axis = "bytes of data"
	}
	c := &chart{title: chartTitle(name), xTitle: axis}
	for _, p := range points {
		x := float64(p.Connections)
		if of == "size" {
			x = float64(p.Size)
		}
		for _, r := range p.Rows {
			if r.chart != name {
				continue
			}
			c.unit = r.Unit
			c.add(r.series, false, x, r.Value)
			if r.Limit != nil {
				c.add(r.series+", limit: "+r.LimitIs, true, x, *r.Limit)
			}
		}
	}
	return c
}

func chartTitle(name string) string {
	switch name {
	case "handshakes":
		return "Handshakes"
	case "handshake-cpu":
		return "Server CPU per handshake"
	case "memory":
		return "Server memory (RSS) per connection"
	case "idle":
		return "Server CPU while idle"
	case "broadcast-cpu":
		return "Server CPU per delivery of a broadcast"
	case "broadcast-rate":
		return "Deliveries of broadcasts"
	case "broadcast-latency":
		return "Paced broadcasts: PUBLISH to receipt"
	case "single-cpu":
		return "Server CPU per push to one user"
	case "single-latency":
		return "Pushes to one user, 2,000/s: PUBLISH to receipt"
	case "flat-cpu":
		return "Server CPU per push, flat out"
	case "flat-rate":
		return "Deliveries of pushes to one user each, flat out"
	case "fairness":
		return "Pushes to one user beside broadcasts: PUBLISH to receipt"
	}
	return name
}
