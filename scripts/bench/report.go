//go:build linux

package main

import "fmt"

// report is what one run of this tool found.
type report struct {
	Command string        `json:"command"`
	Machine string        `json:"machine"`
	Redis   string        `json:"redis"`
	Quick   bool          `json:"quick"`
	Points  []pointReport `json:"points"`
}

type pointReport struct {
	point
	Rows []row `json:"rows"`
}

// row is one figure, and the limit beside it where there is one.
type row struct {
	Measure string   `json:"measure"`
	Unit    unit     `json:"unit"`
	Value   float64  `json:"value"`
	Limit   *float64 `json:"limit,omitempty"`
	LimitIs string   `json:"limit_is,omitempty"`
}

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

// addLoad adds the rows of one load: what it cost the server, how fast it was, how
// late, and what was lost.
func (m *measurement) addLoad(l load, f figures, framesPerWrite float64) {
	bare, hasBare := m.limits.bare[l.name]
	redis, hasRedis := m.limits.redis[l.name]
	// of is the limit that a figure of one of them sets, if that was taken.
	of := func(has bool, f figures, is string, figure func(figures) float64) limit {
		if !has {
			return limit{}
		}
		return limit{figure(f), is}
	}
	late, hasLate, lateIs := redis, hasRedis && l.rate > 0, redisLimit
	each, fast := "push", of(hasRedis, redis, redisLimit, figures.rate)
	if l.kind == broadcast {
		late, hasLate, lateIs = bare, hasBare, writeLimit
		each, fast = "delivery", of(hasBare, bare, writeLimit, figures.rate)
	}
	if m.setting.server.known() && l.beside == 0 && l.by == byPublish {
		m.add(row{Measure: l.name + ": server CPU per " + each, Unit: seconds, Value: f.cpuEach()}.against(of(hasBare, bare, writeLimit, figures.cpuEach)))
	}
	if l.kind == single && l.beside == 0 {
		m.addRedis(l, f)
	}
	if l.by != byPublish && f.unheard == 0 && f.n == f.expected { // the pod knows no difference
		return
	}
	if l.rate == 0 {
		m.add(row{Measure: l.name + ": deliveries", Unit: perSecond, Value: f.rate()}.against(fast))
		if m.setting.metrics.known() {
			m.add(row{Measure: l.name + ": frames per write", Value: framesPerWrite})
		}
	}
	for _, p := range []float64{50, 99, 100} {
		at := func(f figures) float64 { return f.ageAt(p) }
		name := fmt.Sprintf("p%g", p)
		if p == 100 {
			name = "max"
		}
		m.add(row{Measure: l.name + ": PUBLISH to receipt, " + name, Unit: seconds, Value: at(f)}.against(of(hasLate, late, lateIs, at)))
	}
	if lost := f.expected - min(f.n, f.expected); lost > 0 {
		m.add(row{Measure: l.name + ": LOST", Value: float64(lost)})
	}
	if f.unheard > 0 {
		m.add(row{Measure: l.name + ": PUBLISHes while Redis had cut the pod off", Value: float64(f.unheard)})
	}
}

// addRedis adds what a push cost Redis; of the script and the function beside a plain
// PUBLISH at the same rate.
func (m *measurement) addRedis(l load, f figures) {
	if f.redisCPU == 0 {
		return
	}
	each := f.redisCPU.Seconds() / max(1, float64(f.n))
	r := row{Measure: l.name + ": Redis CPU per push", Unit: seconds, Value: each}
	if plain := m.redisEach[l.rate]; l.by != byPublish && plain > 0 {
		r = r.against(limit{plain, publishLimit})
	} else if l.by == byPublish {
		m.redisEach[l.rate] = each
	}
	m.add(r)
}
