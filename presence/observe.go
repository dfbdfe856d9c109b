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
	info   Info
	told   bool // info is known
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

// scores records the members of push:pods.
func (o *observations) scores(read map[string]float64, now time.Time) {
	for channel, score := range read {
		p := o.pods[channel]
		switch {
		case p == nil:
			o.pods[channel] = &observed{score: score, since: now}
		case p.absent || p.score != score:
			p.score, p.absent, p.since = score, false, now
		}
	}
	for channel, p := range o.pods {
		if _, there := read[channel]; !there && !p.absent {
			p.absent, p.since = true, now
		}
	}
}

// infos records the fields of push:pods:info. A pod that is only there counts as
// absent.
func (o *observations) infos(read map[string]Info, now time.Time) {
	for channel, info := range read {
		p := o.pods[channel]
		if p == nil {
			p = &observed{absent: true, since: now}
			o.pods[channel] = p
		}
		p.info, p.told = info, true
	}
	for channel, p := range o.pods {
		if _, there := read[channel]; !there {
			p.info, p.told = Info{}, false
			if p.absent {
				delete(o.pods, channel) // nothing is left of it
			}
		}
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
	return p == nil || p.absent || now.Sub(p.since) >= o.lease
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
		if now.Sub(p.since) <= after {
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
