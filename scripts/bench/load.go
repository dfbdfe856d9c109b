//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// point is how many connections there are, and how many bytes of data a message has.
type point struct {
	Connections int `json:"connections"`
	Size        int `json:"size"`
}

func (p point) String() string {
	return fmt.Sprintf("%s × %s B", group(int64(p.Connections)), group(int64(p.Size)))
}

// load is one stretch of messages, which the pod and its limits are all given.
type load struct {
	stage  string
	name   string // of its rows
	kind   kind
	count  int
	rate   float64 // messages/s; 0: as fast as they are taken
	beside float64 // broadcasts/s to everybody else meanwhile
	by     way     // of a push to a user
}

// way is how a producer pushes to a user.
type way uint8

const (
	byPublish  way = iota // PUBLISH of an envelope, by who has looked the user up before
	byScript              // push.lua, which looks the user up (EVALSHA)
	byFunction            // pushpod_push, the same as a function (FCALL)
)

func (l load) receipts(connections int) uint64 {
	if l.kind == broadcast {
		return uint64(l.count) * uint64(connections)
	}
	return uint64(l.count)
}

// plan is how long and how hard the stages work.
type plan struct {
	settle time.Duration // until memory is looked at again
	idle   time.Duration
	paced  time.Duration // each stretch of load with a rate
	limit  time.Duration // the same, where it measures a limit
	loads  []load
}

const (
	broadcastsAtOnce = 100
	broadcastRate    = 6.0
	flatPushes       = 300_000

	envelopeBytes  = 40       // around the data
	queueShare     = 192_000  // bytes for each connection at once: less than conn.queue_bytes
	flatBytes      = 200e6    // flat out, to single users
	fanOutBytes    = 4e9      // at once, to all
	fanOutBytesPer = 200e6    // bytes/s, paced to all
	singleBytesPer = 100e6    // bytes/s, paced to single users
	scriptMost     = 64 << 10 // bytes of data that push.lua takes
)

// newPlan makes the plan for a point. Where messages are large, rates are lowered
// to what loopback and one core can carry; the names of the loads say to which.
func newPlan(p point, quick bool) plan {
	pl := plan{settle: 5 * time.Second, idle: 30 * time.Second, paced: 10 * time.Second, limit: 5 * time.Second}
	flat := flatPushes
	if quick {
		pl = plan{settle: 300 * time.Millisecond, idle: time.Second, paced: 500 * time.Millisecond, limit: 300 * time.Millisecond}
		flat /= 20
	}
	each := float64(p.Size + envelopeBytes)
	all := each * float64(p.Connections)
	atOnce := int(max(1, min(broadcastsAtOnce, queueShare/each, fanOutBytes/all)))
	pace := min(broadcastRate, fanOutBytesPer/all)
	most := singleBytesPer / each
	pl.loads = []load{
		{stage: "broadcast", name: fmt.Sprintf("%d broadcasts at once", atOnce), kind: broadcast, count: atOnce},
		{stage: "broadcast", name: fmt.Sprintf("%.3g broadcasts/s", pace), kind: broadcast, rate: pace},
	}
	for _, rate := range []float64{200, 2000, 10_000} {
		if rate = min(rate, most); rate != pl.loads[len(pl.loads)-1].rate {
			pl.loads = append(pl.loads, load{stage: "single", name: group(int64(rate)) + " pushes/s", rate: rate})
		}
	}
	mixed := min(2000, most)
	flat = max(1, min(flat, int(flatBytes/each)))
	// Broadcasts at half the pace: where a core is busy all the time, how late a push is says nothing about fairness.
	pl.loads = append(pl.loads,
		load{stage: "flat", name: "pushes flat out", count: flat},
		load{stage: "fairness", name: fmt.Sprintf("%s pushes/s beside %.3g broadcasts/s", group(int64(mixed)), pace/2), rate: mixed, beside: pace / 2})
	for by, name := range []string{byScript: "push.lua", byFunction: "pushpod_push"} {
		if name == "" || p.Size > scriptMost {
			continue
		}
		pl.loads = append(pl.loads,
			load{stage: "script", name: group(int64(mixed)) + " pushes/s by " + name, rate: mixed, by: way(by)},
			load{stage: "script", name: "pushes flat out by " + name, count: flat / 3, by: way(by)})
	}
	return pl
}

// lasting is the load for so long; at least 2 messages, so that a rate means something.
func (l load) lasting(d time.Duration) load {
	if l.rate > 0 {
		l.count = max(2, int(l.rate*d.Seconds()))
	}
	return l
}

// turns is the order in which n connections are pushed to: as they were opened, or
// shuffled, which touches the server's memory at random.
func turns(n int, shuffle bool) []int {
	if shuffle {
		return rand.New(rand.NewPCG(1, 1)).Perm(n)
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}
