package presence

import "time"

// fleet is how many pods there are, as far as it is known: the most that were seen alive
// within a TTL. Who has just lost all of Redis's data sees fewer, and must not take itself
// for alone.
type fleet struct {
	most int
	at   time.Time // when so many were last seen
}

// saw notes how many pods are seen alive.
func (f *fleet) saw(n int, now time.Time, keep time.Duration) {
	if n >= f.most || now.Sub(f.at) > keep {
		f.most, f.at = n, now
	}
}

// Fleet returns how many pods share Redis, this one included, so that what all of them do at
// once can be paced: the most that were seen alive within PodsOptions.TTL. It may be called
// from anywhere.
func (p *Pods) Fleet() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(1, p.fleet.most)
}

// alive counts the pods that are not dead. The caller holds p.mu.
func (p *Pods) alive(now time.Time) (alive, dead int) {
	for channel, o := range p.seen.pods {
		switch {
		case o.absent:
		case channel != p.channel && p.seen.dead(channel, now):
			dead++
		default:
			alive++
		}
	}
	return alive, dead
}
