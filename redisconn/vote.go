package redisconn

import (
	"fmt"
	"strconv"
	"time"
)

// vote is what one Sentinel says: the address of the master, and the epoch of the
// failover that made it one.
type vote struct {
	addr  string
	epoch int64 // or unknownEpoch: it was not asked for, or is not told
	err   error // in place of an answer
}

const unknownEpoch = -1

// choice is the master of which the Sentinels are believed.
type choice struct {
	addr      string // "": none yet
	epoch     int64
	confirmed time.Time // when a Sentinel has named it last
}

// take takes what some of n Sentinels have answered, at least one of them. A later
// failover goes before an earlier one, however many have not heard of it: a Sentinel
// that was cut off names the old master, which may live on. But where nobody who answers
// knows the later one any more, it was forgotten; right after a failover, though, most have
// not heard of it, and the one who has may be slow to answer.
func (c *choice) take(votes []vote, n int, now time.Time) {
	count := map[string]int{}
	for _, v := range votes {
		count[v.addr]++
	}
	if count[c.addr] > 0 {
		c.confirmed = now
	}
	best := vote{epoch: unknownEpoch}
	for _, v := range votes {
		if v.addr != c.addr && (best.addr == "" || v.epoch > best.epoch || v.epoch == best.epoch && count[v.addr] > count[best.addr]) {
			best = v
		}
	}
	switch {
	case best.addr == "":
		return // all name the one that is known
	case c.addr == "":
	case best.epoch > c.epoch && best.epoch != unknownEpoch:
	case best.epoch == unknownEpoch && count[best.addr] > count[c.addr]:
	case count[c.addr] == 0 && 2*len(votes) > n && now.Sub(c.confirmed) > sentinelSettle:
	case count[c.addr] == 0 && now.Sub(c.confirmed) > sentinelTrust:
	default:
		return
	}
	*c = choice{addr: best.addr, epoch: best.epoch, confirmed: now}
}

// number reads a whole number, whichever way Redis sends it; unknownEpoch for none.
func number(v any) int64 {
	n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
	if err != nil || n < 0 {
		return unknownEpoch
	}
	return n
}
