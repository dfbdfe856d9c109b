package redisconn

import (
	"testing"
	"time"
)

func TestWhoKnowsTheLatestFailoverIsBelieved(t *testing.T) {
	const a, b, c = "a:1", "b:1", "c:1"
	now := time.Now()
	known := func(addr string, epoch int64) choice { return choice{addr: addr, epoch: epoch, confirmed: now} }
	for name, test := range map[string]struct {
		before choice
		votes  []vote
		after  time.Duration
		want   string
	}{
		"the first answer":                           {choice{}, []vote{{addr: a, epoch: 3}}, 0, a},
		"first answers that differ":                  {choice{}, []vote{{addr: a, epoch: 3}, {addr: a, epoch: 3}, {addr: b, epoch: 4}}, 0, b},
		"first answers of whom nobody tells":         {choice{}, []vote{{addr: a, epoch: -1}, {addr: b, epoch: -1}, {addr: b, epoch: -1}}, 0, b},
		"all name the known one":                     {known(a, 3), []vote{{addr: a, epoch: -1}, {addr: a, epoch: -1}}, time.Hour, a},
		"one knows of a failover":                    {known(a, 3), []vote{{addr: a, epoch: -1}, {addr: a, epoch: -1}, {addr: b, epoch: 4}}, 0, b},
		"of two failovers the later":                 {known(a, 3), []vote{{addr: c, epoch: 5}, {addr: b, epoch: 4}}, 0, c},
		"one missed the failover":                    {known(b, 4), []vote{{addr: b, epoch: -1}, {addr: a, epoch: 3}}, 0, b},
		"who alone answers missed it":                {known(b, 4), []vote{{addr: a, epoch: 3}}, 0, b},
		"he has been alone for long":                 {known(b, 4), []vote{{addr: a, epoch: 3}}, time.Minute, a},
		"most of them have not heard of it yet":      {known(b, 4), []vote{{addr: a, epoch: 3}, {addr: a, epoch: 3}}, time.Second, b},
		"most of them forgot, being set up anew":     {known(b, 4), []vote{{addr: a, epoch: 0}, {addr: a, epoch: 0}}, 10 * time.Second, a},
		"epochs are not told, and most name another": {known(a, -1), []vote{{addr: a, epoch: -1}, {addr: b, epoch: -1}, {addr: b, epoch: -1}}, 0, b},
		"epochs are not told, and most name it":      {known(a, -1), []vote{{addr: a, epoch: -1}, {addr: a, epoch: -1}, {addr: b, epoch: -1}}, 0, a},
	} {
		got := test.before
		got.take(test.votes, 3, now.Add(test.after))
		if got.addr != test.want {
			t.Errorf("%s: %s, want %s", name, got.addr, test.want)
		}
	}
}

// A later failover of which the epoch is known counts again, wherever it leads.
func TestAFailoverBackIsFollowed(t *testing.T) {
	var c choice
	for epoch, addr := range []string{"a:1", "b:1", "a:1", "b:1"} {
		c.take([]vote{{addr: addr, epoch: int64(epoch)}}, 3, time.Now())
		if c.addr != addr || c.epoch != int64(epoch) {
			t.Errorf("%+v, want %s", c, addr)
		}
	}
}
