package hub

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/conn"
	"pushpod/internal/backoff"
	"pushpod/internal/json"
	"pushpod/presence"
)

// readReplaces reads ?replaces=UUID. An empty one is none.
func readReplaces(r *conn.Request) (presence.UUID, *conn.Refusal) {
	text, _ := r.Query.Get("replaces")
	if text == "" {
		return presence.UUID{}, nil
	}
	u, ok := presence.ParseUUID(text)
	if !ok {
		return u, badRequest("replaces must be the UUID of a connection, in lower case, as its welcome has named it")
	}
	return u, nil
}

// Replacement is what a pod is told whose connection of the user has been replaced in
// presence, and on which channel; see presence.Options. It is in no book.
func (h *Hub) Replacement(user string, old presence.Located) (channel string, message []byte) {
	message = append([]byte(`{"replaced":"`), presence.FormatUUID(old.UUID)...)
	message = json.AppendString(append(message, `","of":`...), user)
	return h.closing(old.Channel), append(message, '}')
}

// replaced is called where another connection has taken the place of one in presence. It
// is still sent what is addressed to it, until it is closed.
func (h *Hub) replaced(u presence.UUID, user string) {
	s := h.registry.find(u)
	if s == nil || s.user != user {
		return // it has ended meanwhile
	}
	s.conn.MarkReplaced() // first: no renewal is asked for behind this
	// One that was under way may have brought the entry back.
	_ = h.presence.Unregister(s.entry(), nil)
}

// unheard are replacements of which their pod has not heard, since it was not subscribed: it
// is dead, or subscribes anew and then writes all its entries again, the replaced ones too.
type unheard struct {
	wanted chan struct{} // capacity 1

	mu   sync.Mutex // protects following
	list []replacement
}

// replacement is what a pod is to be told.
type replacement struct {
	channel string
	message []byte
	until   time.Time
}

const (
	tellEvery   = time.Second
	tellFor     = 30 * time.Second // by then a pod is subscribed again, or dead
	mostUnheard = 10_000
)

// add has a pod told again. Beyond a bound it is not: the entry may then stand beside the new
// one until the client closes the connection.
func (u *unheard) add(channel string, message []byte) {
	u.mu.Lock()
	if len(u.list) < mostUnheard {
		u.list = append(u.list, replacement{channel, message, time.Now().Add(tellFor)})
	}
	u.mu.Unlock()
	select {
	case u.wanted <- struct{}{}:
	default:
	}
}

// take returns what is to be told.
func (u *unheard) take() (list []replacement) {
	u.mu.Lock()
	defer u.mu.Unlock()
	list, u.list = u.list, nil
	return list
}

// keep puts back what was not heard.
func (u *unheard) keep(list []replacement) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = append(u.list, list...)
}

// tellAgain tells pods again of what they have not heard, until ctx ends.
func (h *Hub) tellAgain(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.unheard.wanted:
		}
		for list := h.unheard.take(); len(list) > 0 && ctx.Err() == nil; list = h.unheard.take() {
			backoff.Sleep(ctx, tellEvery)
			h.unheard.keep(h.tell(ctx, list))
		}
	}
}

// tell returns what is to be told once more. A pod that has not heard the first is told
// nothing further for now.
func (h *Hub) tell(ctx context.Context, list []replacement) (again []replacement) {
	ctx, cancel := context.WithTimeout(ctx, h.opts.Redis.Timeout)
	defer cancel()
	deaf := map[string]bool{}
	for _, r := range list {
		if time.Now().After(r.until) {
			continue
		}
		if !deaf[r.channel] {
			heard := redis.NewIntCmd(ctx, "publish", r.channel, r.message)
			_ = h.opts.Uplink.Process(ctx, r.channel, heard)
			deaf[r.channel] = heard.Val() == 0
		}
		if deaf[r.channel] {
			again = append(again, r)
		}
	}
	return again
}
