package presence

import "time"

// observations are what a pod has seen of all pods in push:pods, by its own
// clock. Their owner guards them.
//
// A pod is dead when its score is absent, or has not changed for lease while
// the observer's own heartbeats succeeded. What counts is that the score
// changes, not what it says: clocks may jump. After a gap in the observer's own
// heartbeats (one failed, or the observer itself stood still) all observation
// starts anew: a Redis that stalled must not make the pods kill each other.
//
// Not every heartbeat reads all pods: see Pods.survey. Between two surveys those are
// read that are to be judged, and at each heartbeat those that are suspected.
type observations struct {
	lease  time.Duration
	maxGap time.Duration // between two heartbeats of one's own that succeeded
	pods   map[string]*observed
	begun  bool
	gap    bool      // the last heartbeat failed
	last   time.Time // when the last heartbeat succeeded
}

// observed is one pod as seen.
type observed struct {
	score  float64
	absent bool      // not in push:pods at the last reading
	since  time.Time // when the score, or the absence, was first seen
	read   time.Time // the last reading
	info   Info
	told   bool // info is known
}

// reading is what one reading says of one pod; score is nil where it has none.
type reading struct {
	score *float64
	info  *Info // nil: it tells nothing of itself
}

func newObservations(lease, maxGap time.Duration) observations {
	return observations{lease: lease, maxGap: maxGap, pods: make(map[string]*observed)}
}

// beat records that a heartbeat of one's own succeeded, and returns the time since
// the one before.
func (o *observations) beat(now time.Time) (away time.Duration) {
	if o.begun {
		away = now.Sub(o.last)
	}
	if o.gap || away > o.maxGap {
		for _, p := range o.pods {
			p.since = now
		}
	}
	o.begun, o.gap, o.last = true, false, now
	return away
}

// fail records that a heartbeat of one's own failed.
func (o *observations) fail() { o.gap = true }

// all records a reading of all pods (a survey).
func (o *observations) all(read map[string]reading, now time.Time) {
	o.some(read, now)
	for channel := range o.pods {
		if _, there := read[channel]; !there {
			delete(o.pods, channel) // nothing is left of it
		}
	}
}

// some records a reading of some pods.
func (o *observations) some(read map[string]reading, now time.Time) {
	for channel, r := range read {
		p := o.pods[channel]
		if p == nil {
			p = &observed{absent: r.score == nil, since: now}
			o.pods[channel] = p
		}
		p.take(r, now)
	}
}

func (p *observed) take(r reading, now time.Time) {
	p.read = now
	switch {
	case r.score == nil:
		if !p.absent {
			p.absent, p.since = true, now
		}
	case p.absent || p.score != *r.score:
		p.score, p.absent, p.since = *r.score, false, now
	}
	p.info, p.told = Info{}, r.info != nil
	if r.info != nil {
		p.info = *r.info
	}
}

// trusted reports whether deaths may be judged now: the own heartbeats succeed.
func (o *observations) trusted(now time.Time) bool {
	return o.begun && !o.gap && now.Sub(o.last) <= o.maxGap
}

func (o *observations) dead(channel string, now time.Time) bool {
	if !o.trusted(now) {
		return false
	}
	p := o.pods[channel]
	return p == nil || p.absent || p.still(o.lease)
}

// still reports whether the score has not changed for so long, from one reading to another.
func (p *observed) still(d time.Duration) bool { return !p.absent && p.read.Sub(p.since) >= d }

// suspected reports whether a pod may turn out to be dead: when it was read, its score was
// older than a lease by Redis's clock, or ahead of it, and has not been watched for long
// enough. What was read long ago, and was new then, makes nobody suspected: whoever judges
// reads again.
func (o *observations) suspected(channel string, clock *redisClock) bool {
	p := o.pods[channel]
	if p == nil || p.absent || p.still(o.lease) {
		return false
	}
	age := time.Duration(clock.now(p.read)/1000-int64(p.score)) * time.Millisecond
	return age >= o.lease || age < -o.maxGap
}

// suspects returns the channels of pods that are suspected.
func (o *observations) suspects(clock *redisClock) (channels []string) {
	for channel := range o.pods {
		if o.suspected(channel, clock) {
			channels = append(channels, channel)
		}
	}
	return channels
}

// fresh reports whether a pod was read within d.
func (o *observations) fresh(channel string, now time.Time, d time.Duration) bool {
	p := o.pods[channel]
	return p != nil && now.Sub(p.read) < d
}

// outdated reports whether a pod that uses the channel started after the UUID
// was made, by a predecessor under the same address.
func (o *observations) outdated(channel string, u UUID) bool {
	p := o.pods[channel]
	return p != nil && p.told && UUIDTime(u) < p.info.Started
}

// forgettable returns at most limit channels of pods that have been dead for longer
// than after, each with its last score, or nil where it is absent.
func (o *observations) forgettable(now time.Time, after time.Duration, limit int) map[string]*float64 {
	var found map[string]*float64
	for channel, p := range o.pods {
		if len(found) == limit {
			break
		}
		if p.read.Sub(p.since) <= after {
			continue
		}
		if found == nil {
			found = make(map[string]*float64)
		}
		if p.absent {
			found[channel] = nil
		} else {
			score := p.score
			found[channel] = &score
		}
	}
	return found
}
