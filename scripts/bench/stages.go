//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// rssEach is the pod's resident memory for each connection.
func (m *session) rssEach() (float64, error) {
	now, err := m.setting.server.rss()
	return float64(now-m.emptyRSS) / float64(m.o.connections), err
}

// memoryOpen looks at the pod's memory once the connections are open, and when
// it has had time to give back what opening them took.
func (m *session) memoryOpen(ctx context.Context) error {
	if !m.setting.server.known() {
		return nil
	}
	m.say("memory")
	first, err := m.rssEach()
	if err != nil {
		return err
	}
	if err := pause(ctx, m.plan.settle); err != nil {
		return err
	}
	later, err := m.rssEach()
	m.add(
		row{Stage: "memory", Measure: "RSS per idle connection, just opened", Unit: bytesUnit, Value: first}.drawn("memory", "just opened"),
		row{Stage: "memory", Measure: fmt.Sprintf("RSS per idle connection, %v later", m.plan.settle), Unit: bytesUnit, Value: later}.drawn("memory", "settled"),
	)
	return err
}

// memoryAfter looks at it again after the load, if there was any.
func (m *session) memoryAfter(ctx context.Context) error {
	loaded := m.o.does("broadcast") || m.o.does("single") || m.o.does("flat") || m.o.does("fairness")
	if !m.setting.server.known() || !loaded {
		return nil
	}
	m.say("memory after the load")
	if err := pause(ctx, 2*m.plan.settle); err != nil {
		return err
	}
	v, err := m.rssEach()
	m.add(row{Stage: "memory", Measure: fmt.Sprintf("RSS per connection, %v after the load", 2*m.plan.settle), Unit: bytesUnit, Value: v}.
		drawn("memory", "after the load"))
	return err
}

// idle measures the pod's CPU while nobody does anything.
func (m *session) idle(ctx context.Context) error {
	if !m.setting.server.known() {
		return nil
	}
	m.say("idle for %v", m.plan.idle)
	before, err := m.cpu()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := pause(ctx, m.plan.idle); err != nil {
		return err
	}
	after, err := m.cpu()
	m.add(row{Stage: "idle", Measure: "server CPU, of one core", Unit: percent, Value: 100 * float64(after-before) / float64(time.Since(start))}.
		drawn("idle", "idle CPU"))
	return err
}

// broadcast publishes to all: many messages at once, and a few evenly.
func (m *session) broadcast(ctx context.Context) error {
	n := m.plan.broadcasts
	m.say("broadcast: %d messages at once", n)
	f, err := m.publish(ctx, m.clients, broadcast, n, func(p *publisher) error { return p.flat(ctx, n, time.Minute, m.broadcasts()) })
	if err != nil {
		return err
	}
	at := fmt.Sprintf("%d at once", n)
	m.addCPU("broadcast", at+": server CPU per delivery", f, m.limits.flatCPU, "broadcast-cpu", "at once")
	m.add(row{Stage: "broadcast", Measure: at + ": deliveries", Unit: perSecond, Value: f.rate()}.
		against(m.limits.flatRate).drawn("broadcast-rate", "at once"))
	m.addLost("broadcast", at, f)

	n = count(m.plan.broadcastRate, m.plan.phase)
	m.say("broadcast: %d messages at %.3g/s", n, m.plan.broadcastRate)
	f, err = m.publish(ctx, m.clients, broadcast, n, func(p *publisher) error { return p.paced(ctx, m.plan.broadcastRate, n, m.broadcasts()) })
	if err != nil {
		return err
	}
	at = fmt.Sprintf("%.3g/s", m.plan.broadcastRate)
	m.addCPU("broadcast", at+": server CPU per delivery", f, m.limits.pacedCPU, "broadcast-cpu", "paced")
	m.addAges("broadcast", at, f, m.limits.pacedAge, "broadcast-latency")
	m.addLost("broadcast", at, f)
	return nil
}

// single publishes to one user each, evenly, at several rates.
func (m *session) single(ctx context.Context) error {
	for _, r := range m.plan.rates {
		n := count(r.actual, m.plan.phase)
		m.say("single: %d messages at %.0f/s", n, r.actual)
		f, err := m.publish(ctx, m.clients, single, n, func(p *publisher) error { return p.paced(ctx, r.actual, n, m.pushes(m.order)) })
		if err != nil {
			return err
		}
		at := group(int64(r.actual)) + "/s"
		chart := ""
		if r.nominal == fairnessRate {
			chart = "single-latency"
		}
		m.addCPU("single", at+": server CPU per push", f, m.limits.singleCPU[r.nominal], "single-cpu", group(int64(r.nominal))+"/s")
		m.addAges("single", at, f, m.limits.redisAge[r.nominal], chart)
		m.addLost("single", at, f)
	}
	return nil
}

// flat publishes to one user each, as fast as Redis takes it.
func (m *session) flat(ctx context.Context) error {
	n := m.plan.flat
	m.say("flat: %d messages", n)
	var writes, written float64
	var err error
	if m.setting.metrics.known() {
		if writes, written, err = m.setting.metrics.writes(ctx); err != nil {
			return err
		}
	}
	f, err := m.publish(ctx, m.clients, single, n, func(p *publisher) error { return p.flat(ctx, n, 2*time.Minute, m.pushes(m.order)) })
	if err != nil {
		return err
	}
	at := group(int64(n))
	m.addCPU("flat", at+" pushes: server CPU per push", f, m.limits.flatCPU, "flat-cpu", "CPU per push")
	if m.setting.metrics.known() {
		w, d, err := m.setting.metrics.writes(ctx)
		if err != nil {
			return err
		}
		if w > writes {
			m.add(row{Stage: "flat", Measure: at + " pushes: frames per write", Value: (d - written) / (w - writes)}.against(limit{1, "one write(2) a frame"}))
		}
	}
	m.add(
		row{Stage: "flat", Measure: at + " pushes: until the last is received", Unit: seconds, Value: f.took.Seconds()}.against(m.limits.flatTakes),
		row{Stage: "flat", Measure: at + " pushes: deliveries", Unit: perSecond, Value: f.rate()}.against(m.limits.publishRate).drawn("flat-rate", "deliveries/s"),
	)
	m.addAges("flat", at+" pushes", f, ages{}, "")
	m.addLost("flat", at+" pushes", f)
	return nil
}

// fairness publishes to one user each while all are sent broadcasts: what do
// the many do to the one? The users are others than so far, with a loop of
// their own, so that the pushes don't wait until this process has read the
// broadcasts of everybody else.
func (m *session) fairness(ctx context.Context) error {
	rate := m.plan.rates[min(1, len(m.plan.rates)-1)]
	n := count(rate.actual, m.plan.phase)
	m.say("fairness: %d single pushes beside broadcasts", n)
	// Where a core is busy all the time, how late a push is says nothing about fairness.
	pace := m.plan.broadcastRate / 2
	aside := m.setting.target
	aside.from = m.o.connections
	few, _, err := openClients(ctx, aside, asideConnections, m.say)
	if err != nil {
		return err
	}
	defer few.close()
	users := make([]int, asideConnections)
	for i := range users {
		users[i] = aside.from + i
	}
	all, err := newPublisher(ctx, m.setting.redis)
	if err != nil {
		return err
	}
	defer all.close()
	f, err := m.publish(ctx, few, single, n, func(p *publisher) error {
		return errors.Join(together(
			func() error { return p.paced(ctx, rate.actual, n, m.pushes(users)) },
			func() error {
				return all.paced(ctx, pace, count(pace, m.plan.phase), m.broadcasts())
			},
		))
	})
	if err != nil {
		return err
	}
	at := fmt.Sprintf("%s/s beside %.3g broadcasts/s", group(int64(rate.actual)), pace)
	m.addAges("fairness", at, f, m.limits.redisAge[rate.nominal], "fairness")
	m.addLost("fairness", at, f)
	return nil
}

// addCPU adds a row about the server's CPU, where it is known.
func (m *session) addCPU(stage, measure string, f figures, l limit, chart, series string) {
	if m.setting.server.known() {
		m.add(row{Stage: stage, Measure: measure, Unit: seconds, Value: f.cpuEach()}.against(l).drawn(chart, series))
	}
}

// addAges adds the time from PUBLISH to receipt. An empty chart is none.
func (m *session) addAges(stage, at string, f figures, l ages, chart string) {
	for _, q := range []struct {
		name string
		q    float64
		l    limit
	}{{"p50", 0.5, l.p50}, {"p99", 0.99, l.p99}, {"p99.9", 0.999, l.p999}, {"max", 1, l.max}} {
		r := row{Stage: stage, Measure: at + ": PUBLISH to receipt, " + q.name, Unit: seconds, Value: f.age(q.q)}.against(q.l)
		if chart != "" && (q.name == "p50" || q.name == "p99") {
			r = r.drawn(chart, q.name)
		}
		m.add(r)
	}
}

// addLost says how many messages never came, where some didn't.
func (m *session) addLost(stage, at string, f figures) {
	if n := f.lost(); n > 0 {
		m.add(row{Stage: stage, Measure: at + ": LOST, of " + group(int64(f.expected)), Value: float64(n)})
	}
	if f.unheard > 0 {
		m.add(row{Stage: stage, Measure: at + ": PUBLISHes while Redis had cut the pod off", Value: float64(f.unheard)})
	}
}
