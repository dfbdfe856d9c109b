//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// session measures one pod at one point. One goroutine runs it.
type session struct {
	o       options
	plan    plan
	setting setting
	say     func(format string, args ...any)
	data    *payloads
	order   []int // connections: whose turn it is

	clients *clients
	channel string // the pod's
	limits  limits
	rows    []row

	emptyRSS int64 // of the pod, before the first connection
}

// measure runs all stages that are asked for, in this order.
func measure(ctx context.Context, o options, s setting, say func(string, ...any)) (point, error) {
	o.size = max(o.size, minSize)
	r := rand.New(rand.NewPCG(o.seed, o.seed))
	m := &session{
		o: o, plan: newPlan(o), setting: s, say: say,
		data: newPayloads(o.size, r), order: turns(o, r),
	}
	if o.does("limits") {
		if err := m.takeLimits(ctx); err != nil {
			return point{}, err
		}
	}
	if err := m.open(ctx); err != nil {
		return point{}, err
	}
	defer m.clients.close()
	stages := []struct {
		name string
		run  func(context.Context) error
	}{
		{"memory", m.memoryOpen}, {"idle", m.idle}, {"broadcast", m.broadcast}, {"single", m.single},
		{"flat", m.flat}, {"fairness", m.fairness}, {"memory", m.memoryAfter},
	}
	for _, stage := range stages {
		if !o.does(stage.name) {
			continue
		}
		if err := stage.run(ctx); err != nil {
			return point{}, fmt.Errorf("bench: stage %s: %w", stage.name, err)
		}
		if gone := int64(o.connections) - m.clients.open.Load(); gone > 0 {
			m.add(row{Stage: stage.name, Measure: "connections that the server has ended so far", Value: float64(gone)})
		}
	}
	return point{o.connections, o.size, machine(), o.seed, o.quick, m.rows}, nil
}

// turns is the order in which connections are pushed to. As they were opened
// is what the bare server does too. Another one touches the server's memory at
// random, and costs a pod about a tenth more.
func turns(o options, r *rand.Rand) []int {
	order := make([]int, o.connections)
	for i := range order {
		order[i] = i
	}
	if o.seed != 0 {
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	return order
}

func (m *session) add(rows ...row) { m.rows = append(m.rows, rows...) }

// open opens the connections, and finds the pod's channel.
func (m *session) open(ctx context.Context) error {
	before, err := m.cpu()
	if err != nil {
		return err
	}
	if m.setting.server.known() {
		if m.emptyRSS, err = m.setting.server.rss(); err != nil {
			return err
		}
	}
	m.say("opening %d connections", m.o.connections)
	c, opened, err := openClients(ctx, m.setting.target, m.o.connections, m.say)
	if err != nil {
		return err
	}
	m.clients = c
	fail := func(err error) error {
		c.close()
		return err
	}
	if err := m.awaitWelcomes(ctx); err != nil {
		return fail(err)
	}
	after, err := m.cpu()
	if err != nil {
		return fail(err)
	}
	if m.o.does("open") {
		m.add(row{Stage: "open", Measure: "handshakes", Unit: perSecond, Value: float64(opened.n) / opened.took.Seconds()}.
			against(m.limits.openRate).drawn("handshakes", "handshakes/s"))
		if m.setting.server.known() {
			m.add(row{Stage: "open", Measure: "server CPU per handshake", Unit: seconds, Value: (after - before).Seconds() / float64(opened.n)}.
				against(m.limits.openCPU).drawn("handshake-cpu", "CPU per handshake"))
		}
	}
	if err := m.findChannel(ctx); err != nil {
		return fail(err)
	}
	return nil
}

// awaitWelcomes waits until each connection has been told that its presence is
// registered: that belongs to what a handshake costs.
func (m *session) awaitWelcomes(ctx context.Context) error {
	for end := time.Now().Add(15 * time.Second); m.clients.tally.unstamped() < uint64(m.o.connections); {
		if time.Now().After(end) {
			return fmt.Errorf("bench: %d connections are open, and %d were welcomed: is it pushpod that listens there?", m.o.connections, m.clients.tally.unstamped())
		}
		if err := pause(ctx, tick); err != nil {
			return err
		}
	}
	return nil
}

// findChannel asks presence which pod the connections are on. All must be on
// one: a pod's figures are measured.
func (m *session) findChannel(ctx context.Context) error {
	if m.o.channel != "" {
		m.channel = m.o.channel
		return nil
	}
	c, err := m.setting.redis.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	for _, i := range []int{0, m.o.connections / 2, m.o.connections - 1} {
		key := m.o.prefix + "user:{" + user(i) + "}"
		r, err := c.do(ctx, "HGETALL", key)
		if err != nil {
			return err
		}
		if len(r.fields) < 2 {
			return fmt.Errorf("bench: Redis has no presence under %s: are --redis and --prefix this pod's?", key)
		}
		// Another device of the same user may be elsewhere; ours is the newest (UUIDs of version 7 sort by time).
		channel, newest := "", ""
		for f := range slices.Chunk(r.fields, 2) {
			if len(f) == 2 && string(f[0]) > newest {
				newest, channel = string(f[0]), string(f[1])
			}
		}
		if m.channel != "" && m.channel != channel {
			return fmt.Errorf("bench: the connections are spread over several pods (%s, %s): give --url of one pod", m.channel, channel)
		}
		m.channel = channel
	}
	return nil
}

// pushes makes PUBLISH commands for one of the users each, in turn.
func (m *session) pushes(users []int) message {
	var envelope []byte
	return func(dst []byte, i int, now int64) []byte {
		envelope = append(envelope[:0], `{"user":"`...)
		envelope = append(envelope, user(users[i%len(users)])...)
		envelope = append(envelope, `","data":`...)
		envelope = append(m.data.append(envelope, single, now), '}')
		return appendPublish(dst, m.channel, envelope)
	}
}

// broadcasts makes PUBLISH commands for all.
func (m *session) broadcasts() message {
	var envelope []byte
	channel := m.o.prefix + "all"
	return func(dst []byte, _ int, now int64) []byte {
		envelope = append(envelope[:0], `{"all":true,"data":`...)
		envelope = append(m.data.append(envelope, broadcast, now), '}')
		return appendPublish(dst, channel, envelope)
	}
}

// cpu is the server's CPU time so far; 0 where it is not known.
func (m *session) cpu() (time.Duration, error) {
	if !m.setting.server.known() {
		return 0, nil
	}
	return m.setting.server.cpu()
}

// publish runs one stretch of load on the pod: n messages of kind k, which c is to receive.
func (m *session) publish(ctx context.Context, c *clients, k kind, n int, do func(*publisher) error) (figures, error) {
	p, err := newPublisher(ctx, m.setting.redis)
	if err != nil {
		return figures{}, err
	}
	defer p.close()
	expected := uint64(n)
	if k == broadcast {
		expected *= uint64(c.open.Load())
	}
	f, err := watch(ctx, m.setting.server, c.tally, k, expected, func() error { return do(p) })
	if err == nil && p.receivers == 0 {
		err = fmt.Errorf("bench: none of %d messages had a subscriber: is %s this pod's channel, and --prefix its prefix?", n, m.channel)
	}
	// Some without one: the pod was cut off from Redis meanwhile, which drops
	// a subscriber that is too far behind. That is a result, not a mistake.
	f.unheard = max(0, n-int(p.receivers))
	return f, err
}

const (
	tick     = 20 * time.Millisecond
	silence  = 3 * time.Second // without a receipt: the rest is lost
	overtime = time.Minute     // for what is still under way, in all
)

// watch measures what do publishes: it waits for the expected receipts, until
// none has come for a while.
func watch(ctx context.Context, server process, t *tally, k kind, expected uint64, do func() error) (figures, error) {
	var before, after time.Duration
	var err error
	if server.known() {
		if before, err = server.cpu(); err != nil {
			return figures{}, err
		}
	}
	t.reset()
	start := time.Now()
	if err := do(); err != nil {
		return figures{}, err
	}
	last, moved := t.count(k), time.Now()
	for end := time.Now().Add(overtime); last < expected && time.Now().Before(end) && time.Since(moved) < silence; {
		if err := pause(ctx, tick); err != nil {
			return figures{}, err
		}
		if n := t.count(k); n > last {
			last, moved = n, time.Now()
		}
	}
	if server.known() {
		if after, err = server.cpu(); err != nil {
			return figures{}, err
		}
	}
	f := figures{expected: expected, cpu: after - before, got: t.of(k)}
	f.took = time.Duration(max(0, f.got.last-start.UnixNano()))
	return f, nil
}

// together runs two things at once and waits for both.
func together(a, b func() error) (errA, errB error) {
	var wg sync.WaitGroup
	wg.Go(func() { errB = b() })
	errA = a()
	wg.Wait()
	return errA, errB
}
