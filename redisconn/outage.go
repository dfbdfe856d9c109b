package redisconn

import (
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Outage is a time in which something asked of Redis fails, again and again: it says which
// failure is news, for a log in which nothing is repeated. The zero value is none. It is
// used by one goroutine.
type Outage struct {
	since    time.Time // when it began
	Failures int       // so far

	kind string // of the last failure
}

// Failed counts a failure, and reports whether it is the first one, or of another kind than
// the one before: Redis sends another error, or begins to send one, or sends none any more.
func (o *Outage) Failed(err error) (news bool) {
	kind := "" // texts of failed connections hold ports, which are never the same
	var reply redis.Error
	if errors.As(err, &reply) {
		kind, _, _ = strings.Cut(reply.Error(), " ")
	}
	news = o.Failures == 0 || kind != o.kind
	if o.Failures == 0 {
		o.since = time.Now()
	}
	o.Failures++
	o.kind = kind
	return news
}

// Over ends the outage. It returns how long it was and how many failures there were; 0:
// there was none.
func (o *Outage) Over() (away time.Duration, failures int) {
	if failures = o.Failures; failures > 0 {
		away = time.Since(o.since).Round(time.Millisecond)
	}
	*o = Outage{}
	return away, failures
}
