package presence

import (
	"errors"
	"testing"
	"time"
)

// sky is an observer of pods under a clock of its own.
type sky struct {
	t   *testing.T
	now time.Time
	o   observations
}

func newSky(t *testing.T) *sky {
	return &sky{t: t, now: time.Unix(1e9, 0), o: newObservations(10*time.Second, 6*time.Second)}
}

// beats lets time pass with a heartbeat every three seconds, each of which sees
// these scores.
func (s *sky) beats(d time.Duration, scores func() map[string]float64) {
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(3 * time.Second)
		s.read(scores(), nil)
		s.o.beat(s.now)
	}
}

// read makes a survey of what scores and infos say.
func (s *sky) read(scores map[string]float64, infos map[string]Info) {
	all := map[string]reading{}
	for channel, info := range infos {
		all[channel] = reading{info: &info}
	}
	for channel, score := range scores {
		all[channel] = reading{score: &score, info: all[channel].info}
	}
	s.o.all(all, s.now)
}

func (s *sky) want(why, channel string, dead bool) {
	s.t.Helper()
	if got := s.o.dead(channel, s.now); got != dead {
		s.t.Fatalf("%s: dead = %v, want %v", why, got, dead)
	}
}

func still() map[string]float64 { return map[string]float64{"b": 1} }

func moving() func() map[string]float64 {
	score := 100.0
	return func() map[string]float64 { score++; return map[string]float64{"b": score} }
}

func TestPodIsDeadWhenItsScoreStandsStillForALease(t *testing.T) {
	s := newSky(t)
	s.beats(6*time.Second, still)
	s.want("seen for less than a lease", "b", false)
	s.beats(9*time.Second, still)
	s.want("still for a lease", "b", true)
	s.beats(3*time.Second, moving())
	s.want("it moves again", "b", false)
	s.beats(time.Hour, moving())
	s.want("it goes on moving", "b", false)
}

func TestPodIsDeadWhenItsScoreIsAbsent(t *testing.T) {
	s := newSky(t)
	s.beats(3*time.Second, still)
	s.want("never seen", "c", true)
	s.beats(3*time.Second, func() map[string]float64 { return nil })
	s.want("gone", "b", true)
	s.read(still(), nil)
	s.want("back, with the score that it had", "b", false)
	s.beats(9*time.Second, still)
	s.want("and still since then, for less than a lease", "b", false)
}

func TestScoreThatWasAbsentIsWatchedAnew(t *testing.T) {
	s := newSky(t)
	s.beats(9*time.Second, still)
	s.read(nil, map[string]Info{"b": {}})
	s.want("only its description is left", "b", true)
	s.now = s.now.Add(3 * time.Second)
	s.read(still(), nil)
	s.o.beat(s.now)
	s.want("back, with the score that it had", "b", false)
	s.beats(9*time.Second, still)
	s.want("and still for less than a lease", "b", false)
	s.now = s.now.Add(time.Second)
	s.read(still(), nil)
	s.want("and still for exactly a lease", "b", true)
}

func TestAGapIsMoreThanTwoHeartbeats(t *testing.T) {
	s := newSky(t)
	if away := s.o.beat(s.now); away != 0 {
		t.Errorf("away for %v before the first heartbeat", away)
	}
	s.read(still(), nil)
	for _, c := range []struct {
		after time.Duration
		dead  bool
	}{{6 * time.Second, false}, {6 * time.Second, true}, {6*time.Second + 1, false}} {
		s.now = s.now.Add(c.after)
		s.read(still(), nil)
		if got, want := s.o.trusted(s.now), c.after <= s.o.maxGap; got != want {
			t.Errorf("%v after a heartbeat: trusted = %v, want %v", c.after, got, want)
		}
		if away := s.o.beat(s.now); away != c.after {
			t.Errorf("away for %v, want %v", away, c.after)
		}
		s.want("after "+c.after.String(), "b", c.dead)
	}
}

func TestPodIsSuspectedByTheAgeOfItsScore(t *testing.T) {
	s := newSky(t)
	var clock redisClock // as ours
	for age, want := range map[time.Duration]bool{
		10*time.Second - time.Millisecond: false,
		10 * time.Second:                  true,
		-6 * time.Second:                  false,
		-6*time.Second - time.Millisecond: true,
	} {
		s.read(map[string]float64{"b": float64(s.now.Add(-age).UnixMilli())}, nil)
		if got := s.o.suspected("b", &clock); got != want {
			t.Errorf("a score %v old: suspected = %v, want %v", age, got, want)
		}
	}
	s.read(nil, map[string]Info{"b": {}})
	if s.o.suspected("b", &clock) || s.o.suspected("c", &clock) {
		t.Error("what is absent is suspected: it is known to be dead")
	}
}

func TestReadingIsFreshForAWhile(t *testing.T) {
	s := newSky(t)
	s.read(still(), nil)
	for after, want := range map[time.Duration]bool{0: true, time.Second - 1: true, time.Second: false, time.Hour: false} {
		if got := s.o.fresh("b", s.now.Add(after), time.Second); got != want {
			t.Errorf("after %v: fresh = %v, want %v", after, got, want)
		}
	}
	if s.o.fresh("c", s.now, time.Second) {
		t.Error("what was never read is fresh")
	}
}

func TestScoreThatGoesBackIsAHeartbeat(t *testing.T) {
	s := newSky(t)
	score := 1e12
	s.beats(time.Minute, func() map[string]float64 { score -= 3600e3; return map[string]float64{"b": score} })
	s.want("Redis's clock jumps back all the time", "b", false)
}

func TestNobodyIsDeadBeforeOnesOwnFirstHeartbeat(t *testing.T) {
	s := newSky(t)
	s.read(still(), nil)
	s.now = s.now.Add(time.Hour)
	s.want("no heartbeat yet", "b", false)
	s.want("no heartbeat yet, absent", "c", false)
}

func TestObservationStartsAnewAfterAFailedHeartbeat(t *testing.T) {
	s := newSky(t)
	s.beats(9*time.Second, still)
	s.o.fail()
	s.now = s.now.Add(5 * time.Second) // still for more than a lease by now
	s.want("a heartbeat failed", "b", false)
	s.want("a heartbeat failed, absent", "c", false)
	s.beats(9*time.Second, still)
	s.want("less than a lease after the gap", "b", false)
	s.beats(6*time.Second, still)
	s.want("a lease after the gap", "b", true)
}

func TestObservationStartsAnewHoweverShortTheFailureWas(t *testing.T) {
	s := newSky(t)
	s.beats(9*time.Second, still)
	s.o.fail()
	s.beats(3*time.Second, still) // the next heartbeat comes in time
	s.want("right after it", "b", false)
	s.beats(6*time.Second, still)
	s.want("less than a lease after it", "b", false)
	s.beats(6*time.Second, still)
	s.want("a lease after it", "b", true)
}

func TestObservationStartsAnewAfterTheObserverStoodStill(t *testing.T) {
	s := newSky(t)
	s.beats(6*time.Second, still)
	s.now = s.now.Add(20 * time.Second)
	s.want("judged before the first heartbeat after it", "b", false)
	s.read(still(), nil)
	s.want("and after a reading", "b", false)
	s.beats(3*time.Second, still)
	s.want("right after the first heartbeat", "b", false)
	s.beats(12*time.Second, still)
	s.want("a lease later", "b", true)
}

func TestEntryOlderThanItsPodsStartIsOutdated(t *testing.T) {
	s := newSky(t)
	s.beats(3*time.Second, still)
	s.read(still(), map[string]Info{"b": {Started: 1000}})
	for ms, want := range map[int64]bool{999: true, 1000: false, 1001: false} {
		if got := s.o.outdated("b", NewUUID(ms)); got != want {
			t.Errorf("made at %d: outdated = %v, want %v", ms, got, want)
		}
	}
	if s.o.outdated("c", NewUUID(0)) {
		t.Error("a pod that tells nothing of its start")
	}
}

func TestPodsLongDeadAreForgettable(t *testing.T) {
	s := newSky(t)
	read := func() { s.read(still(), map[string]Info{"gone": {}}); s.o.beat(s.now) }
	read()
	s.now = s.now.Add(time.Minute)
	s.o.last = s.now // heartbeats that read nobody
	read()
	if got := s.o.forgettable(s.now, time.Minute, 8); len(got) != 0 {
		t.Fatalf("after a minute: %v", got)
	}
	s.now = s.now.Add(time.Second)
	if got := s.o.forgettable(s.now, time.Minute, 8); len(got) != 0 {
		t.Fatalf("unread since: %v", got)
	}
	read()
	got := s.o.forgettable(s.now, time.Minute, 8)
	if len(got) != 2 || got["b"] == nil || *got["b"] != 1 || got["gone"] != nil {
		t.Fatalf("forgettable: %v, want b with its score, and gone without", got)
	}
	if got := s.o.forgettable(s.now, time.Minute, 1); len(got) != 1 {
		t.Fatalf("forgettable: %v, want one at most", got)
	}
	s.read(nil, nil)
	if len(s.o.pods) != 0 {
		t.Fatalf("%d pods are remembered of which nothing is left", len(s.o.pods))
	}
}

// Most heartbeats of a large pool read nobody: what was read long ago says nothing of now.
func TestWhoIsNotReadIsNotDead(t *testing.T) {
	s := newSky(t)
	redis := func() int64 { return s.now.UnixMilli() }
	var clock redisClock // as ours
	read := func(score float64) { s.o.some(map[string]reading{"b": {score: &score}}, s.now) }
	pass := func(d time.Duration) {
		for end := s.now.Add(d); s.now.Before(end); {
			s.now = s.now.Add(3 * time.Second)
			s.o.beat(s.now)
		}
	}
	pass(3 * time.Second)
	score := float64(redis())
	read(score)
	if s.o.suspected("b", &clock) {
		t.Error("suspected though its score is new")
	}
	pass(time.Minute)
	s.want("not read for a minute", "b", false)
	if s.o.suspected("b", &clock) {
		t.Error("suspected though its score was new when it was read")
	}
	old := score
	s.o.some(map[string]reading{"c": {score: &old}}, s.now)
	if got := s.o.suspects(&clock); len(got) != 1 || got[0] != "c" {
		t.Errorf("suspects: %v, want the one whose score was a minute old when it was first read", got)
	}
	delete(s.o.pods, "c")
	read(score + 57e3)
	s.want("it has moved", "b", false)
	if s.o.suspected("b", &clock) {
		t.Error("suspected though it has moved")
	}
	read(score + 3600e3)
	if got := s.o.suspects(&clock); len(got) != 1 {
		t.Errorf("suspects: %v; a score that is ahead proves nothing", got)
	}
	pass(9 * time.Second)
	read(score + 3600e3)
	s.want("watched for less than a lease", "b", false)
	pass(3 * time.Second)
	read(score + 3600e3)
	s.want("watched for a lease", "b", true)
	if got := s.o.suspects(&clock); len(got) != 0 {
		t.Errorf("suspects: %v, though it is known", got)
	}
}

func TestClaimTakesWhatStoodStillForALease(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := claim{lease: 10 * time.Second, maxGap: 7 * time.Second}
	look := func(after time.Duration, score float64) bool {
		t.Helper()
		now = now.Add(after)
		free, err := c.look(score, now)
		if err != nil {
			t.Fatal(err)
		}
		return free
	}
	for range 10 {
		if look(time.Second, 5) {
			t.Fatal("taken before a lease was over")
		}
	}
	if !look(time.Second, 5) {
		t.Fatal("not taken after a lease")
	}
	c.broken(now.Add(time.Second))
	if look(2*time.Second, 5) {
		t.Fatal("taken though a look had failed")
	}
	look(5*time.Second, 5)
	if look(time.Minute, 5) {
		t.Fatal("taken though looks were missed")
	}
	c.write(7)
	if !look(time.Second, 7) {
		t.Fatal("one's own score is not recognised")
	}
	c.unwrite(7)
	if _, err := c.look(7, now); !errors.Is(err, ErrAddressTaken) {
		t.Fatalf("a score that was not written after all: %v", err)
	}
	if _, err := c.look(6, now); !errors.Is(err, ErrAddressTaken) {
		t.Fatalf("it moved: %v", err)
	}
}

// Redis may answer with errors for days.
func TestClaimRemembersItsLastWrites(t *testing.T) {
	c := claim{lease: time.Hour}
	const writes = 3 * claimKept
	for i := range writes {
		c.write(float64(i))
	}
	if len(c.mine) != claimKept {
		t.Errorf("%d are remembered, want %d", len(c.mine), claimKept)
	}
	for score, want := range map[float64]bool{writes - 1: true, writes - claimKept: true, writes - claimKept - 1: false, 0: false} {
		c := c
		if own, _ := c.look(score, time.Unix(1e9, 0)); own != want {
			t.Errorf("score %v of %d is one's own: %v, want %v", score, writes, own, want)
		}
	}
}

func TestRedisClockFollowsJumpsAndIgnoresSlowAnswers(t *testing.T) {
	var c redisClock
	at := time.Unix(1e9, 0)
	if got := c.now(at); got != at.UnixMicro() {
		t.Fatalf("unmeasured: %d", got)
	}
	if c.measure(at.UnixMicro(), at, at); !c.known {
		t.Error("a clock that agrees with ours is not taken for measured")
	}
	c.measure(5_000_000, at, at.Add(2*time.Millisecond))
	at = at.Add(2 * time.Millisecond)
	if got := c.now(at); got != 5_001_000 {
		t.Fatalf("measured: %d, want the middle of the round trip", got)
	}
	// A slow answer that agrees changes nothing, at either end of what it leaves open.
	for _, ahead := range []int64{0, 1000} {
		c.measure(5_001_000-ahead, at.Add(-time.Millisecond), at)
		if got := c.now(at); got != 5_001_000 {
			t.Errorf("after a measurement that says %d to %d: %d", 5_001_000-ahead, 5_002_000-ahead, got)
		}
	}
	c.measure(7_000_000, at.Add(time.Second), at.Add(3*time.Second))
	if got := c.now(at.Add(3 * time.Second)); got != 8_001_000 {
		t.Fatalf("after a slow answer: %d", got)
	}
	// A jump is followed at once, back as well.
	for _, jump := range []int64{3600e6, -7200e6} {
		asked := at.Add(10 * time.Second)
		c.measure(8_000_000+jump, asked, asked.Add(2*time.Millisecond))
		if got, want := c.now(asked.Add(2*time.Millisecond)), 8_001_000+jump; got != want {
			t.Fatalf("after a jump: %d, want %d", got, want)
		}
	}
}
