//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

const (
	bareLimit    = "bare server"
	writeLimit   = "one write(2) a frame"
	redisLimit   = "Redis to one subscriber"
	publishLimit = "plain PUBLISH"
)

// limits is what the machine and Redis allow, taken in the same run. What was
// not taken is absent.
type limits struct {
	openRate, openCPU limit
	bare, redis       map[string]figures // by the name of the load
}

// takeLimits runs before the pod has connections, so that both have the
// machine for themselves, and this process's descriptors.
func (m *measurement) takeLimits(ctx context.Context) error {
	m.limits.bare = make(map[string]figures)
	m.limits.redis = make(map[string]figures)
	if err := m.redisLimits(ctx); err != nil {
		return fmt.Errorf("bench: limit of Redis: %w", err)
	}
	if err := m.bareLimits(ctx); err != nil {
		return fmt.Errorf("bench: limit of a bare server: %w", err)
	}
	return nil
}

// redisLimits measures PUBLISH and SUBSCRIBE with nothing in between, for pushes.
func (m *measurement) redisLimits(ctx context.Context) error {
	// A name of our own: nobody else may be on it.
	channel := m.o.prefix + "bench:" + rand.Text()
	sub, err := subscribe(ctx, m.setting.redis, channel)
	if err != nil {
		return err
	}
	p, err := newPublisher(ctx, m.setting.redis)
	if err != nil {
		return errors.Join(err, sub.close())
	}
	defer p.close()
	var data []byte
	next := func(dst []byte, _ int, now int64) []byte {
		data = m.data.append(data[:0], single, now)
		return appendPublish(dst, channel, data)
	}
	for _, l := range m.plan.loads {
		if err != nil || l.kind != single || !m.o.does(l.stage) {
			continue
		}
		l = l.lasting(m.plan.limit)
		m.say("limit: Redis alone, %s", l.name)
		m.limits.redis[l.name], err = watch(ctx, process{}, sub.tally, single, uint64(l.count), func() error { return p.publish(ctx, l, next) })
	}
	return errors.Join(err, sub.close())
}

// bareLimits measures the bare server with as many connections as the pod will
// have, by the same client.
func (m *measurement) bareLimits(ctx context.Context) error {
	m.say("limit: opening %d connections to a bare server", m.Connections)
	b, err := startBare(ctx, m.setting.core)
	if err != nil {
		return err
	}
	defer b.stop()
	before, err := b.cpu()
	if err != nil {
		return err
	}
	c, took, err := openClients(ctx, b.target, m.Connections)
	if err != nil {
		return err
	}
	defer c.close()
	after, err := b.cpu()
	m.limits.openRate = limit{float64(m.Connections) / took.Seconds(), bareLimit}
	m.limits.openCPU = limit{(after - before).Seconds() / float64(m.Connections), bareLimit}
	for _, l := range m.plan.loads {
		if err != nil || l.beside > 0 || !m.o.does(l.stage) {
			continue
		}
		l = l.lasting(m.plan.limit)
		m.say("limit: bare server, %s", l.name)
		m.limits.bare[l.name], err = watch(ctx, b.process, c.tally, l.kind, l.receipts(m.Connections), func() error { return b.send(l, m.Size) })
	}
	return err
}
