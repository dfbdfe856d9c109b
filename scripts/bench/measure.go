//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"pushpod/internal/resp"
)

// measurement measures one pod at one point. One goroutine runs it.
type measurement struct {
	point
	plan    plan
	o       options
	setting setting
	say     func(format string, args ...any)
	data    payload
	users   []int // whose turn it is

	clients *clients
	channel string // the pod's
	script  string // push.lua in Redis
	empty   int64  // RSS of the pod before the first connection
	limits  limits
	rows    []row

	redisEach map[float64]float64 // Redis's CPU time for a PUBLISH, by rate
}

// measure runs all stages that are asked for, in this order.
func measure(ctx context.Context, o options, p point, s setting, say func(string, ...any)) ([]row, error) {
	m := &measurement{
		point: p, plan: newPlan(p, o.quick), o: o, setting: s, say: say,
		data: newPayload(p.Size), users: turns(p.Connections, o.shuffle),
		redisEach: make(map[float64]float64),
	}
	if o.does("limits") {
		if err := m.takeLimits(ctx); err != nil {
			return nil, err
		}
	}
	if err := m.open(ctx); err != nil {
		return nil, err
	}
	defer m.clients.close()
	err := m.stages(ctx)
	return m.rows, err
}

func (m *measurement) stages(ctx context.Context) error {
	if err := m.atRest(ctx); err != nil {
		return err
	}
	loaded := false
	for _, l := range m.plan.loads {
		if !m.o.does(l.stage) {
			continue
		}
		loaded = true
		if err := m.load(ctx, l.lasting(m.plan.paced)); err != nil {
			return fmt.Errorf("bench: %s: %w", l.name, err)
		}
	}
	if gone := int64(m.Connections) - m.clients.open.Load(); gone > 0 {
		m.add(row{Measure: "connections that the server has ended", Value: float64(gone)})
	}
	if !loaded || !m.o.does("memory") || !m.setting.server.known() {
		return nil
	}
	m.say("memory after the load")
	if err := sleep(ctx, 2*m.plan.settle); err != nil {
		return err
	}
	return m.addRSS(fmt.Sprintf("RSS per connection, %v after the load", 2*m.plan.settle))
}

func (m *measurement) add(r row) { m.rows = append(m.rows, r) }

// open opens the connections, and finds the pod's channel.
func (m *measurement) open(ctx context.Context) error {
	m.say("opening %d connections", m.Connections)
	server := m.setting.server
	before, err := server.cpu()
	if err == nil && server.known() {
		m.empty, err = server.rss()
	}
	if err != nil {
		return err
	}
	redisBefore, err := m.setting.redis.cpu(ctx)
	if err != nil {
		return err
	}
	c, took, err := openClients(ctx, m.setting.target, m.Connections)
	if err != nil {
		return err
	}
	m.clients = c
	if err := m.welcomed(ctx); err != nil {
		c.close()
		return err
	}
	after, err := server.cpu()
	redisAfter, redisErr := m.setting.redis.cpu(ctx)
	if err = errors.Join(err, redisErr); err == nil && m.o.does("open") {
		m.addOpen(took, after-before, redisAfter-redisBefore)
	}
	if err == nil {
		err = m.findChannel(ctx)
	}
	if err == nil && m.o.does("script") {
		m.script, err = m.setting.redis.loadScripts(ctx)
	}
	if err != nil {
		c.close()
	}
	return err
}

func (m *measurement) addOpen(took, cpu, redisCPU time.Duration) {
	n := float64(m.Connections)
	if m.setting.server.known() {
		m.add(row{Measure: "handshakes: server CPU for each", Unit: seconds, Value: cpu.Seconds() / n}.against(m.limits.openCPU))
	}
	if redisCPU > 0 {
		m.add(row{Measure: "handshakes: Redis CPU for each", Unit: seconds, Value: redisCPU.Seconds() / n})
	}
	m.add(row{Measure: "handshakes", Unit: perSecond, Value: n / took.Seconds()}.against(m.limits.openRate))
}

// welcomed waits until each connection has been told that its presence is
// registered: that belongs to what a handshake costs.
func (m *measurement) welcomed(ctx context.Context) error {
	return await(ctx, ctx.Err, func() error {
		if n := m.clients.tally.unstamped(); n < uint64(m.Connections) {
			return fmt.Errorf("bench: %d connections are open, and %d were welcomed: is it pushpod that listens there?", m.Connections, n)
		}
		return nil
	})
}

// findChannel asks presence which pod the connections are on. All must be on
// one: a pod's figures are measured.
func (m *measurement) findChannel(ctx context.Context) error {
	c, err := m.setting.redis.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	for _, i := range []int{0, m.Connections / 2, m.Connections - 1} {
		key := m.o.prefix + "user:{" + user(i) + "}"
		if err := c.do(ctx, "HGETALL", key); err != nil {
			return err
		}
		// Another device of the same user may be elsewhere; ours is the newest (UUIDs of version 7 sort by time).
		channel, newest := "", ""
		for f := range slices.Chunk(c.Fields, 2) {
			if len(f) == 2 && string(f[0]) > newest {
				newest, channel = string(f[0]), string(f[1])
			}
		}
		switch {
		case channel == "":
			return fmt.Errorf("bench: Redis has no presence under %s: are --redis and --prefix this pod's?", key)
		case m.channel != "" && m.channel != channel:
			return fmt.Errorf("bench: the connections are spread over several pods (%s, %s): give --url of one pod", m.channel, channel)
		}
		m.channel = channel
	}
	return nil
}

// atRest looks at the pod's memory once the connections are open, and when it has had
// time to give back what opening them took; then at its CPU time while nothing happens.
func (m *measurement) atRest(ctx context.Context) error {
	if !m.setting.server.known() {
		return nil
	}
	if m.o.does("memory") {
		m.say("memory")
		if err := m.addRSS("RSS per idle connection, just opened"); err != nil {
			return err
		}
		if err := sleep(ctx, m.plan.settle); err != nil {
			return err
		}
		if err := m.addRSS(fmt.Sprintf("RSS per idle connection, %v later", m.plan.settle)); err != nil {
			return err
		}
	}
	if !m.o.does("idle") {
		return nil
	}
	m.say("idle for %v", m.plan.idle)
	start := time.Now()
	before, err := m.usage(ctx)
	if err != nil {
		return err
	}
	if err := sleep(ctx, m.plan.idle); err != nil {
		return err
	}
	after, err := m.usage(ctx)
	m.add(row{Measure: "idle: server CPU, of one core", Unit: percent, Value: 100 * float64(after.pod-before.pod) / float64(time.Since(start))})
	if renewed := after.renewed - before.renewed; renewed > 0 && after.redis > 0 {
		m.add(row{Measure: "idle: Redis CPU for each renewal", Unit: seconds, Value: (after.redis - before.redis).Seconds() / renewed})
	}
	return err
}

// usage is what has been used so far.
type usage struct {
	pod, redis time.Duration
	renewed    float64 // entries
}

func (m *measurement) usage(ctx context.Context) (u usage, err error) {
	if u.pod, err = m.setting.server.cpu(); err != nil {
		return u, err
	}
	if u.redis, err = m.setting.redis.cpu(ctx); err != nil {
		return u, err
	}
	u.renewed, err = m.setting.metrics.renewed(ctx)
	return u, err
}

func (m *measurement) addRSS(measure string) error {
	now, err := m.setting.server.rss()
	m.add(row{Measure: measure, Unit: bytesUnit, Value: float64(now-m.empty) / float64(m.Connections)})
	return err
}

// load gives the pod one load, and adds its rows.
func (m *measurement) load(ctx context.Context, l load) error {
	m.say("%s", l.name)
	writes, written, err := m.setting.metrics.writes(ctx)
	if err != nil {
		return err
	}
	deliver := m.deliver
	if l.beside > 0 {
		deliver = m.deliverAside
	}
	f, err := deliver(ctx, l)
	if err != nil {
		return err
	}
	w, d, err := m.setting.metrics.writes(ctx)
	m.addLoad(l, f, (d-written)/max(w-writes, 1))
	return err
}

// deliver publishes l, which the pod's connections are to receive.
func (m *measurement) deliver(ctx context.Context, l load) (figures, error) {
	return m.publish(ctx, l, m.clients, m.users)
}

// deliverAside publishes l while all are sent broadcasts: what do the many do to the
// one? The users are others than so far, with a loop of their own, so that the pushes
// don't wait until this process has read the broadcasts of everybody else.
func (m *measurement) deliverAside(ctx context.Context, l load) (figures, error) {
	aside := m.setting.target
	aside.from = m.Connections
	few, _, err := openClients(ctx, aside, asideConnections)
	if err != nil {
		return figures{}, err
	}
	defer few.close()
	users := turns(asideConnections, false)
	for i := range users {
		users[i] += aside.from
	}
	all, err := newPublisher(ctx, m.setting.redis)
	if err != nil {
		return figures{}, err
	}
	defer all.close()
	var wg sync.WaitGroup
	var besideErr error
	wg.Go(func() {
		beside := load{kind: broadcast, rate: l.beside}.lasting(m.plan.paced)
		besideErr = all.publish(ctx, beside, m.command(beside, nil))
	})
	f, err := m.publish(ctx, l, few, users)
	wg.Wait()
	return f, errors.Join(err, besideErr)
}

// publish publishes l, single pushes to the users in turn, and watches what c receives.
func (m *measurement) publish(ctx context.Context, l load, c *clients, users []int) (figures, error) {
	p, err := newPublisher(ctx, m.setting.redis)
	if err != nil {
		return figures{}, err
	}
	defer p.close()
	expected := l.receipts(int(c.open.Load()))
	before, err := m.setting.redis.cpu(ctx)
	if err != nil {
		return figures{}, err
	}
	f, err := watch(ctx, m.setting.server, c.tally, l.kind, expected, func() error { return p.publish(ctx, l, m.command(l, users)) })
	after, redisErr := m.setting.redis.cpu(ctx)
	f.redisCPU, err = after-before, errors.Join(err, redisErr)
	if err == nil && p.receivers == 0 {
		err = fmt.Errorf("bench: none of %d messages had a subscriber: is %s this pod's channel, and --prefix its prefix?", l.count, m.channel)
	}
	// Some without one: the pod was cut off from Redis meanwhile, which drops
	// a subscriber that is too far behind. That is a result, not a mistake.
	f.unheard = max(0, l.count-int(p.receivers))
	return f, err
}

// command makes the commands that push: for all, or for one of the users each, in turn.
func (m *measurement) command(l load, users []int) message {
	if l.by != byPublish {
		return m.call(l, users)
	}
	var envelope []byte
	return func(dst []byte, i int, now int64) []byte {
		channel := m.o.prefix + "all"
		if l.kind == broadcast {
			envelope = append(envelope[:0], `{"all":true,"data":`...)
		} else {
			channel = m.channel
			envelope = append(envelope[:0], `{"user":"`...)
			envelope = append(envelope, user(users[i%len(users)])...)
			envelope = append(envelope, `","data":`...)
		}
		envelope = append(m.data.append(envelope, l.kind, now), '}')
		return appendPublish(dst, channel, envelope)
	}
}

// call makes the calls of the script or the function.
func (m *measurement) call(l load, users []int) message {
	command := []string{"EVALSHA", m.script}
	if l.by == byFunction {
		command = []string{"FCALL", "pushpod_push"}
	}
	var data []byte
	return func(dst []byte, i int, now int64) []byte {
		data = m.data.append(data[:0], l.kind, now)
		key := m.o.prefix + "user:{" + user(users[i%len(users)]) + "}"
		return resp.AppendCommand(dst, append(command, "1", key, string(data))...)
	}
}

const (
	tick     = 20 * time.Millisecond
	silence  = 3 * time.Second // without a receipt: the rest is lost
	overtime = time.Minute     // for what is still under way, in all
)

// watch measures what do publishes: it waits for the expected receipts, until
// none has come for a while.
func watch(ctx context.Context, server process, t *tally, k kind, expected uint64, do func() error) (figures, error) {
	before, err := server.cpu()
	if err != nil {
		return figures{}, err
	}
	t.reset()
	start := time.Now()
	if err := do(); err != nil {
		return figures{}, err
	}
	last, moved := t.count(k), time.Now()
	for end := time.Now().Add(overtime); last < expected && time.Now().Before(end) && time.Since(moved) < silence; {
		if err := sleep(ctx, tick); err != nil {
			return figures{}, err
		}
		if n := t.count(k); n > last {
			last, moved = n, time.Now()
		}
	}
	after, err := server.cpu()
	f := figures{received: *t.reset()[k], expected: expected, cpu: after - before}
	f.took = time.Duration(max(0, f.last-start.UnixNano()))
	return f, err
}
