package hub

import (
	"github.com/rs/zerolog"

	"pushpod/internal/loglimit"
)

// lines are those of the log that others can cause as often as they like: clients,
// producers, or a Redis that comes and goes.
type lines struct {
	loglimit.Lines

	// Clients.
	refused, unheard, notRegistered, slow, revoked *loglimit.Line

	// Producers.
	badEnvelope, unknownMembers, ignoredClose, ignoredReplacement *loglimit.Line

	// Redis.
	lost, unsubscribed, subscribed                *loglimit.Line
	shardLost, shardUnsubscribed, shardSubscribed *loglimit.Line
	untaken, taken, rewritten, uplinkFailed       *loglimit.Line

	// The pod.
	ready, notReady, conflict *loglimit.Line
}

func (l *lines) init(log zerolog.Logger) {
	good := func(text string) *loglimit.Line { return l.New(log, zerolog.InfoLevel, text) }
	bad := func(text string) *loglimit.Line { return l.New(log, zerolog.WarnLevel, text) }
	worse := func(text string) *loglimit.Line { return l.New(log, zerolog.ErrorLevel, text) }

	l.refused = good("handshake refused")
	l.unheard = good("connection closed without an answer")
	l.notRegistered = bad("connection not registered")
	l.slow = good("slow consumer")
	l.revoked = good("connection revoked")

	l.badEnvelope = bad("bad envelope dropped")
	l.unknownMembers = bad("envelope with unknown members, which are ignored: a known one misspelt?")
	l.ignoredClose = bad("close ignored: redis.control is on, and it came on no control channel")
	l.ignoredReplacement = bad("replacement of a connection ignored: redis.control is on, and it came on no control channel")

	l.lost = worse("subscription lost; messages published until the pod is subscribed again are lost")
	l.unsubscribed = bad("can't subscribe; trying again")
	l.subscribed = good("subscribed again; presence entries are rewritten")
	l.shardLost = worse("subscription to the shard lost; messages published there until the pod is subscribed again are lost")
	l.shardUnsubscribed = bad("can't subscribe to the shard; trying again")
	l.shardSubscribed = good("subscribed to the shard again")
	l.untaken = bad("Redis does not take the pod's probe (PUBLISH); the pod is not ready until it does, and stays subscribed while the subscription answers")
	l.taken = good("Redis takes the pod's probe again, and it comes back")
	l.rewritten = good("presence entries rewritten")
	l.uplinkFailed = bad("Redis did not accept all requests of a batch; their clients are told unavailable, and repeat them")

	l.ready = good("the pod is ready")
	l.notReady = bad("the pod is not ready")
	l.conflict = worse("CONFLICT: another instance uses this pod's address; pod.address must be unique")
}
