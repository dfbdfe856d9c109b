//go:build linux

package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFiguresAreWrittenForPeople(t *testing.T) {
	for _, c := range []struct {
		unit unit
		v    float64
		want string
	}{
		{seconds, 0.0000000801, "0.080 µs"}, {seconds, 33.4e-6, "33.4 µs"}, {seconds, 0.00123, "1.23 ms"}, {seconds, 2, "2.00 s"},
		{bytesUnit, 584.6, "585 B"}, {bytesUnit, 32686, "32,686 B"}, {perSecond, 1234567, "1,234,567/s"},
		{percent, 0, "0 %"}, {number, 7.041, "7.04"}, {bytesUnit, -250, "-250 B"},
	} {
		if got := format(c.unit, c.v); got != c.want {
			t.Errorf("%v %q: %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}

func aPoint(connections int, rss float64) point {
	return point{Connections: connections, Size: 128, Machine: "a machine", Rows: []row{
		row{Stage: "memory", Measure: "RSS", Unit: bytesUnit, Value: rss}.drawn("memory", "settled & more"),
		row{Stage: "single", Measure: "CPU", Unit: seconds, Value: 30e-6}.against(limit{15e-6, "one write(2)"}).drawn("single-cpu", "2,000/s"),
	}}
}

func TestTheTableSetsTheLimitBesideTheFigure(t *testing.T) {
	var b strings.Builder
	if err := writeTable(&b, aPoint(1000, 500)); err != nil {
		t.Fatal(err)
	}
	line := ""
	for l := range strings.Lines(b.String()) {
		if strings.Contains(l, "CPU") {
			line = strings.Join(strings.Fields(l), " ")
		}
	}
	if want := "single CPU 30.0 µs 15.0 µs 2.00 one write(2)"; line != want {
		t.Errorf("line %q, want %q, in\n%s", line, want, b.String())
	}
}

func TestJSONHoldsBaseUnits(t *testing.T) {
	var b strings.Builder
	if err := writeJSON(&b, []point{aPoint(1000, 500)}); err != nil {
		t.Fatal(err)
	}
	var p point
	if err := json.Unmarshal([]byte(b.String()), &p); err != nil {
		t.Fatal(err)
	}
	if p.Rows[1].Value != 30e-6 || p.Rows[1].Limit == nil || *p.Rows[1].Limit != 15e-6 || p.Rows[0].Limit != nil {
		t.Errorf("rows %+v", p.Rows)
	}
}

func TestACurveIsPicturesOfWellFormedXML(t *testing.T) {
	dir := t.TempDir()
	// Figures far apart, and one below zero, which no logarithm takes.
	points := []point{aPoint(1000, 40_000), aPoint(5000, 600), aPoint(19_000, -20)}
	if err := writeCurve(dir, curve{of: "connections"}, points, t.Logf); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]string{
		"connections-memory.svg":     {"settled &amp; more", "19,000", "44,000 B"},
		"connections-single-cpu.svg": {"limit: one write(2)", "stroke-dasharray", "µs"},
	} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(strings.NewReader(string(b))); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
		for _, w := range append(want, "polyline") {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s lacks %q", file, w)
			}
		}
		if strings.Contains(string(b), "NaN") || strings.Contains(string(b), "Inf") {
			t.Errorf("%s has coordinates that are no numbers", file)
		}
	}
}

func TestTheProcessOfAListenerIsFound(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
   2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
`
	inodes := make(map[string]bool)
	listening(table, 8080, inodes)
	if len(inodes) != 1 || !inodes["socket:[4711]"] {
		t.Errorf("inodes %v, want 4711 only", inodes)
	}

	f := newFakeRedis(t, "")
	p, err := listenerOf(f.server(t).addr.Port())
	if err != nil || p.pid != os.Getpid() {
		t.Fatalf("process %d, %v; want this one, %d", p.pid, err, os.Getpid())
	}
	rss, err := p.rss()
	if err != nil || rss < 1<<20 {
		t.Errorf("rss %d, %v", rss, err)
	}
	before, err := p.cpu()
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 20*time.Millisecond; { // work that a thread is charged for
	}
	if after, err := p.cpu(); err != nil || after <= before {
		t.Errorf("CPU time %v, then %v, %v: it stood still", before, after, err)
	}
}

func TestMetricsAreReadByTheirWholeName(t *testing.T) {
	const text = "# HELP pushpod_writes_total x\npushpod_writes_total_more 1\npushpod_writes_total 1.5e+06\npushpod_deliveries_total{result=\"written\"} 7\n"
	if v, err := metric(text, "pushpod_writes_total"); v != 1.5e6 || err != nil {
		t.Errorf("%v, %v", v, err)
	}
	if v, err := metric(text, `pushpod_deliveries_total{result="written"}`); v != 7 || err != nil {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := metric(text, "pushpod_absent"); err == nil || !strings.Contains(err.Error(), "pushpod_absent") {
		t.Errorf("error %v", err)
	}
}
