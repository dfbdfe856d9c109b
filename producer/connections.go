package producer

import (
	"context"

	"github.com/redis/go-redis/v9"

	"pushpod/presence"
)

// A Connection is one of a user's, as presence has it.
type Connection struct {
	UUID    string `json:"uuid"`
	Pod     string `json:"pod"`               // address; empty where the channel is not a pod's
	Channel string `json:"channel"`           // to PUBLISH to
	Since   int64  `json:"since"`             // Unix ms, from the UUID
	Expires *int64 `json:"expires,omitempty"` // ms until the entry expires unless it is renewed; absent: not known
}

// Connections reads a user's entries, and when they expire.
func (p *Producer) Connections(ctx context.Context, user string) ([]Connection, error) {
	found, err := presence.Lookup(ctx, p.Redis, p.Keys, user)
	if err != nil {
		return nil, err
	}
	list := make([]Connection, 0, len(found))
	fields := make([]string, 0, len(found))
	for _, l := range found {
		list = append(list, Connection{
			UUID: presence.FormatUUID(l.UUID), Pod: p.address(l.Channel), Channel: l.Channel, Since: presence.UUIDTime(l.UUID),
		})
		fields = append(fields, presence.FormatUUID(l.UUID))
	}
	if len(list) > 0 {
		p.addExpiry(ctx, p.Keys.User(user), fields, list)
	}
	return list, nil
}

// addExpiry sets when the entries expire: each field's own time (HPTTL, Redis 7.4,
// Valkey 9), or the key's (PTTL). Without an answer it stays unknown.
func (p *Producer) addExpiry(ctx context.Context, key string, fields []string, list []Connection) {
	args := []any{"hpttl", key, "fields", len(fields)}
	for _, f := range fields {
		args = append(args, f)
	}
	each := redis.NewIntSliceCmd(ctx, args...)
	if err := p.do(ctx, key, each); err == nil && len(each.Val()) == len(list) {
		for i, ms := range each.Val() {
			if ms >= 0 {
				list[i].Expires = &ms
			}
		}
	}
	whole := redis.NewIntCmd(ctx, "pttl", key)
	if err := p.do(ctx, key, whole); err != nil || whole.Val() < 0 {
		return
	}
	ms := whole.Val()
	for i := range list {
		if list[i].Expires == nil || *list[i].Expires > ms {
			list[i].Expires = &ms
		}
	}
}
