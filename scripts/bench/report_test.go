//go:build linux

package main

import (
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

func TestTheTableHasAColumnForEachPoint(t *testing.T) {
	cpu := row{Measure: "CPU", Unit: seconds, Value: 30e-6}.against(limit{15e-6, "one write(2)"})
	r := report{Command: "bench", Machine: "a machine", Redis: "Redis 7", Points: []pointReport{
		{point{1000, 128}, []row{cpu}},
		{point{5000, 128}, []row{cpu, {Measure: "RSS", Unit: bytesUnit, Value: 500}}},
	}}
	const want = "`bench`: a machine, Redis 7. Columns: connections × bytes of data; in brackets the ratio to the limit in the last column.\n" + `
|     |   1,000 × 128 B |   5,000 × 128 B | (of)         |
| --- |            ---: |            ---: | ---          |
| CPU | 30.0 µs (2.00) | 30.0 µs (2.00) | one write(2) |
| RSS |                 |           500 B |              |
`
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if got := r.table(); squeeze(got) != squeeze(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAFileWithoutMarksIsLeftAsItIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	for _, text := range []string{"nothing", tableBegin + " and no end", tableEnd + tableBegin} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := replaceTable(file, "table")
		if got, _ := os.ReadFile(file); err == nil || string(got) != text {
			t.Errorf("%q became %q, %v; want an error", text, got, err)
		}
	}
}

func TestAProcessIsAskedForItsCPUAndMemory(t *testing.T) {
	p := process{os.Getpid()}
	if rss, err := p.rss(); err != nil || rss < 1<<20 {
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
