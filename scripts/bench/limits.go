//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

// limits is what the machine and Redis allow, taken in the same run. What was
// not taken is the zero limit, which the table leaves empty.
type limits struct {
	openRate, openCPU      limit
	flatRate, flatCPU      limit
	pacedCPU               limit
	pacedAge               ages
	singleCPU              map[int]limit // by the nominal rate
	redisAge               map[int]ages
	publishRate, flatTakes limit
}

// ages are the quantiles that the table shows.
type ages struct{ p50, p99, p999, max limit }

func agesOf(f figures, is string) ages {
	return ages{limit{f.age(0.5), is}, limit{f.age(0.99), is}, limit{f.age(0.999), is}, limit{f.age(1), is}}
}

// takeLimits runs before the pod has connections, so that both have the
// machine for themselves, and this process's descriptors.
func (m *session) takeLimits(ctx context.Context) error {
	m.limits.singleCPU = make(map[int]limit)
	m.limits.redisAge = make(map[int]ages)
	if err := m.redisLimits(ctx); err != nil {
		return fmt.Errorf("bench: limit of Redis: %w", err)
	}
	if err := m.bareLimits(ctx); err != nil {
		return fmt.Errorf("bench: limit of a bare server: %w", err)
	}
	return nil
}

// redisLimits measures PUBLISH and SUBSCRIBE with nothing in between.
func (m *session) redisLimits(ctx context.Context) error {
	m.say("limit: Redis alone")
	// A name of our own: nobody else may be on it.
	channel := m.o.prefix + "bench:" + rand.Text()
	sub, err := subscribe(ctx, m.setting.redis, channel)
	if err != nil {
		return err
	}
	err = m.redisLoads(ctx, sub.tally, channel)
	if ended := sub.close(); err == nil {
		err = ended
	}
	return err
}

func (m *session) redisLoads(ctx context.Context, t *tally, channel string) error {
	p, err := newPublisher(ctx, m.setting.redis)
	if err != nil {
		return err
	}
	defer p.close()
	var data []byte
	next := func(dst []byte, _ int, now int64) []byte {
		data = m.data.append(data[:0], single, now)
		return appendPublish(dst, channel, data)
	}
	if m.o.does("single") || m.o.does("fairness") {
		for _, r := range m.plan.rates {
			n := count(r.actual, m.plan.limitPhase)
			f, err := watch(ctx, process{}, t, single, uint64(n), func() error { return p.paced(ctx, r.actual, n, next) })
			if err != nil {
				return err
			}
			m.limits.redisAge[r.nominal] = agesOf(f, "Redis alone")
		}
	}
	if m.o.does("flat") {
		f, err := watch(ctx, process{}, t, single, uint64(m.plan.flat), func() error { return p.flat(ctx, m.plan.flat, time.Minute, next) })
		if err != nil {
			return err
		}
		m.limits.publishRate = limit{f.rate(), "Redis to one subscriber"}
		m.limits.flatTakes = limit{f.took.Seconds(), "Redis to one subscriber"}
	}
	return nil
}

// bareLimits measures the bare server with as many connections as the pod will
// have, by the same client.
func (m *session) bareLimits(ctx context.Context) error {
	b, err := startBare(ctx, m.setting.core)
	if err != nil {
		return err
	}
	defer b.close()
	server := b.process()
	before, err := server.cpu()
	if err != nil {
		return err
	}
	m.say("limit: opening %d connections to a bare server", m.o.connections)
	c, opened, err := openClients(ctx, b.target, m.o.connections, m.say)
	if err != nil {
		return err
	}
	defer c.close()
	after, err := server.cpu()
	if err != nil {
		return err
	}
	m.limits.openRate = limit{float64(opened.n) / opened.took.Seconds(), "bare server"}
	m.limits.openCPU = limit{(after - before).Seconds() / float64(opened.n), "bare server"}
	return m.bareLoads(ctx, b, c.tally)
}

func (m *session) bareLoads(ctx context.Context, b *bareChild, t *tally) error {
	load := func(k kind, n int, rate float64) (figures, error) {
		expected := uint64(n)
		if k == broadcast {
			expected *= uint64(m.o.connections)
		}
		return watch(ctx, b.process(), t, k, expected, func() error { return b.send(k, m.o.size, n, rate) })
	}
	if m.o.does("broadcast") || m.o.does("flat") {
		m.say("limit: bare writes to all")
		f, err := load(broadcast, m.plan.broadcasts, 0)
		if err != nil {
			return err
		}
		m.limits.flatCPU = limit{f.cpuEach(), "one write(2) a frame"}
		m.limits.flatRate = limit{f.rate(), "one write(2) a frame"}
	}
	if m.o.does("broadcast") {
		f, err := load(broadcast, count(m.plan.broadcastRate, m.plan.limitPhase), m.plan.broadcastRate)
		if err != nil {
			return err
		}
		m.limits.pacedCPU = limit{f.cpuEach(), "one write(2) a frame"}
		m.limits.pacedAge = agesOf(f, "one write(2) a frame")
	}
	if m.o.does("single") {
		m.say("limit: bare writes to one each")
		for _, r := range m.plan.rates {
			f, err := load(single, count(r.actual, m.plan.limitPhase), r.actual)
			if err != nil {
				return err
			}
			m.limits.singleCPU[r.nominal] = limit{f.cpuEach(), "one write(2) a frame"}
		}
	}
	return nil
}
