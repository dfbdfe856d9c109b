package redisconn

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/backoff"
)

const (
	redirections = 8                     // of one command, at most
	tryAgain     = 10 * time.Millisecond // a key that is on its way has come by then
)

// redirection is what a node says instead of doing a command.
type redirection struct {
	addr   string // of the node that does it; "": the same one, in a moment
	asking bool   // only this once
}

// redirected says whether a reply is a redirection.
func redirected(err error) (redirection, bool) {
	if err == nil {
		return redirection{}, false
	}
	if addr, ok := redis.IsMovedError(err); ok {
		return redirection{addr: addr}, true
	}
	if addr, ok := redis.IsAskError(err); ok {
		return redirection{addr: addr, asking: true}, true
	}
	return redirection{}, redis.IsTryAgainError(err)
}

// unit is commands that are done together: one, or a transaction.
type unit struct {
	cmds []redis.Cmder
	at   *Node // that has answered last
	to   redirection
}

// units returns those among commands that were redirected. They may share cmds' array.
func units(from *Node, cmds []redis.Cmder) (found []unit) {
	for i := 0; i < len(cmds); i++ {
		end := i + 1
		if cmds[i].Name() == "multi" {
			for end < len(cmds) && cmds[end-1].Name() != "exec" {
				end++
			}
		}
		if to, ok := first(cmds[i:end]); ok {
			found = append(found, unit{cmds: cmds[i:end:end], at: from, to: to})
		}
		i = end - 1
	}
	return found
}

// first returns the redirection among the replies to a unit.
func first(cmds []redis.Cmder) (redirection, bool) {
	for _, c := range cmds {
		if to, ok := redirected(c.Err()); ok {
			return to, true
		}
	}
	return redirection{}, false
}

// Follow obeys the redirections among the replies of a node: MOVED, ASK and TRYAGAIN. It
// sends those commands again, each to the node that is named, until it has another reply,
// a few times at most. A transaction, from MULTI to EXEC, is sent again as a whole. It
// says whether there were any.
//
// A command that was redirected has not been done, so nothing is done twice.
func (r *Redis) Follow(ctx context.Context, from *Node, cmds []redis.Cmder) (any bool) {
	if !hasRedirection(cmds) {
		return false
	}
	left := units(from, cmds)
	for range redirections {
		if len(left) == 0 || ctx.Err() != nil {
			break
		}
		left = r.sendAgain(ctx, left)
	}
	return true
}

func hasRedirection(cmds []redis.Cmder) bool {
	for _, c := range cmds {
		if err := c.Err(); err != nil {
			if _, ok := redirected(err); ok {
				return true
			}
		}
	}
	return false
}

// sendAgain sends redirected units to where they were sent, node by node, and returns
// those that are redirected once more.
func (r *Redis) sendAgain(ctx context.Context, left []unit) (again []unit) {
	wait := false
	groups := map[*Node][]unit{}
	for _, u := range left {
		switch {
		case u.to.addr == "":
			wait = true
		case !u.to.asking:
			r.Refresh() // the map is out of date
		}
		if u.to.addr != "" {
			u.at = r.redirectedTo(u)
		}
		groups[u.at] = append(groups[u.at], u)
	}
	if wait {
		backoff.Sleep(ctx, tryAgain)
	}
	var mu sync.Mutex
	var running sync.WaitGroup
	for node, group := range groups {
		running.Go(func() {
			found := sendUnits(ctx, node, group)
			mu.Lock()
			again = append(again, found...)
			mu.Unlock()
		})
	}
	running.Wait()
	return again
}

// redirectedTo returns the node that a redirection names. One without a host is at that
// of the node that named it.
func (r *Redis) redirectedTo(u unit) *Node {
	addr := u.to.addr
	if host, port, err := net.SplitHostPort(addr); err == nil && (host == "" || host == "?") {
		own, _, _ := net.SplitHostPort(u.at.addr)
		addr = net.JoinHostPort(own, port)
	}
	return r.Node(addr)
}

func sendUnits(ctx context.Context, node *Node, group []unit) (again []unit) {
	var cmds []redis.Cmder
	for _, u := range group {
		if u.to.asking {
			cmds = append(cmds, redis.NewStatusCmd(ctx, "asking"))
		}
		for _, c := range u.cmds {
			c.SetErr(nil)
		}
		cmds = append(cmds, u.cmds...)
	}
	node.Send(ctx, cmds)
	for _, u := range group {
		to, ok := first(u.cmds)
		if !ok {
			continue
		}
		if to.addr == "" { // TRYAGAIN: where an ASK has led, with it again
			to.asking = u.to.asking
		}
		u.at, u.to = node, to
		again = append(again, u)
	}
	return again
}

// Redirected returns the node that a reply of a node's to a raw connection names instead of
// it (MOVED); nil: it names none.
func (r *Redis) Redirected(from *Node, err error) *Node {
	if err == nil {
		return nil
	}
	_, text, _ := strings.Cut(err.Error(), "MOVED ")
	_, addr, ok := strings.Cut(text, " ")
	if !ok {
		return nil
	}
	r.Refresh()
	return r.redirectedTo(unit{at: from, to: redirection{addr: addr}})
}

// A Pipeline gathers commands for whichever nodes have their keys.
type Pipeline struct {
	redis *Redis
	m     *Map
	parts []part
	retry bool
}

type part struct {
	node *Node
	cmds []redis.Cmder
}

// Pipeline returns an empty one. With retry, what may have been lost on the way is
// repeated.
func (r *Redis) Pipeline(retry bool) *Pipeline {
	return &Pipeline{redis: r, m: r.Map(), retry: retry}
}

// Add adds commands that are sent to the node which has the key. Redirections are obeyed.
func (p *Pipeline) Add(key string, cmds ...redis.Cmder) {
	p.AddTo(p.m.Of(key), cmds...)
}

// AddTo adds commands for a node.
func (p *Pipeline) AddTo(n *Node, cmds ...redis.Cmder) {
	for i := range p.parts {
		if p.parts[i].node == n {
			p.parts[i].cmds = append(p.parts[i].cmds, cmds...)
			return
		}
	}
	p.parts = append(p.parts, part{n, cmds})
}

// Exec sends what was added, to all nodes at the same time. Afterwards each command has
// its reply or its error. It returns the nodes that have not answered.
func (p *Pipeline) Exec(ctx context.Context) (away []*Node) {
	answered := make([]bool, len(p.parts))
	var others sync.WaitGroup
	for i := 1; i < len(p.parts); i++ {
		others.Go(func() { answered[i] = p.exec(ctx, p.parts[i]) })
	}
	if len(p.parts) > 0 {
		answered[0] = p.exec(ctx, p.parts[0])
	}
	others.Wait()
	for i, ok := range answered {
		if !ok {
			away = append(away, p.parts[i].node)
		}
	}
	return away
}

func (p *Pipeline) exec(ctx context.Context, part part) (answered bool) {
	client := part.node.once
	if p.retry {
		client = part.node.again
	}
	send(ctx, client, part.cmds)
	// What failed on the way failed for all commands behind it as well.
	answered = !IsLinkError(part.cmds[len(part.cmds)-1].Err())
	p.redis.Follow(ctx, part.node, part.cmds)
	for _, c := range part.cmds {
		if outOfDate(c.Err()) {
			p.redis.Refresh()
			break
		}
	}
	return answered
}

// outOfDate reports whether an error tells that the map may not be true any more.
func outOfDate(err error) bool {
	if err == nil {
		return false
	}
	return IsLinkError(err) || redis.IsClusterDownError(err) || redis.IsReadOnlyError(err) || strings.HasPrefix(err.Error(), "MASTERDOWN")
}

// Process sends one command to the node that has the key, once at most but for redirections,
// and returns its error.
func (r *Redis) Process(ctx context.Context, key string, cmd redis.Cmder) error {
	p := r.Pipeline(false)
	p.Add(key, cmd)
	p.Exec(ctx)
	return cmd.Err()
}

// Watch does what f does at the node that has the key, while the key is watched (WATCH). It
// repeats what may have been lost on the way before f, and obeys MOVED: f is then called
// again. While the key's slot is on its way to another node that may fail.
func (r *Redis) Watch(ctx context.Context, key string, f func(*redis.Tx) error) error {
	node := r.Map().Of(key)
	for tries := 0; ; tries++ {
		err := node.again.Watch(ctx, f, key)
		to, ok := redirected(err)
		if !ok || to.asking || to.addr == "" || tries == redirections {
			if outOfDate(err) {
				r.Refresh()
			}
			return err
		}
		r.Refresh()
		node = r.redirectedTo(unit{at: node, to: to})
	}
}
