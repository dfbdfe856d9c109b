package redisconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"
)

// answer is what a server says of itself, and of the Cluster that it is in.
type answer struct {
	kind     Kind
	ranges   []slotRange // in order
	replicas []string
	epoch    int  // of the Cluster, as the server knows it; the highest knows best
	well     bool // the server can serve all that it has
}

// slotRange is slots that one master has.
type slotRange struct {
	from, to int
	master   string
}

const (
	askAtOnce = 3 // servers
	askWithin = time.Second
)

// askAll asks servers that are known, else those that are configured, and returns the
// best answer of the first few that have one.
func (r *Redis) askAll(ctx context.Context) (answer, error) {
	if r.options.SentinelMaster != "" {
		return answer{kind: Standalone}, nil
	}
	var failures []error
	for addrs := range slices.Chunk(r.askable(), askAtOnce) {
		answers := make(chan answer, len(addrs))
		failed := make(chan error, len(addrs))
		for _, addr := range addrs {
			go func() { // ends within askWithin
				a, err := r.askOne(ctx, addr)
				if err != nil {
					failed <- fmt.Errorf("ask %s what it is: %w", addr, err)
					return
				}
				answers <- a
			}()
		}
		var said []answer
		for range addrs {
			select {
			case a := <-answers:
				said = append(said, a)
			case err := <-failed:
				failures = append(failures, err)
			}
		}
		if len(said) > 0 {
			return best(said), nil
		}
	}
	if len(failures) == 0 {
		return answer{}, errNoAnswer
	}
	return answer{}, failures[0]
}

// askable returns whom to ask: masters that are known in any order, then replicas, then
// what is configured.
func (r *Redis) askable() []string {
	m := r.Map()
	var addrs []string
	if m.Kind == Cluster {
		for _, i := range rand.Perm(len(m.Masters)) {
			addrs = append(addrs, m.Masters[i].addr)
		}
		addrs = append(addrs, m.replicas...)
	}
	for _, addr := range r.options.Addresses {
		if !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// best returns the answer that is believed: of a Cluster's node that is well, and knows the
// latest epoch. Of several such, that of which there are most: a node that the others have
// forgotten knows nothing of it.
func best(said []answer) answer {
	votes := func(a answer) (n int) {
		for _, b := range said {
			if slices.Equal(a.ranges, b.ranges) {
				n++
			}
		}
		return n
	}
	return slices.MaxFunc(said, func(a, b answer) int {
		return cmp.Or(
			compareBool(a.kind == Cluster, b.kind == Cluster),
			compareBool(a.well, b.well),
			cmp.Compare(a.epoch, b.epoch),
			cmp.Compare(votes(a), votes(b)))
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// askOne asks one server, over a connection of its own: an old one may lead elsewhere.
func (r *Redis) askOne(ctx context.Context, addr string) (answer, error) {
	o := r.options
	o.Addresses, o.DB, o.NoRetry, o.PoolSize = []string{addr}, 0, true, 1
	o.Timeout = min(askWithin, o.timeout())
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	e, first := NewEndpoint(o), r.first.endpoint
	e.noInfo.Store(first.noInfo.Load())
	fresh, err := e.Fresh(ctx)
	first.noInfo.Store(e.noInfo.Load())
	if err != nil {
		return answer{}, whoRefuses(ctx, o, err)
	}
	defer fresh.Close()
	first.last.CompareAndSwap(nil, &fresh.Server)
	if fresh.Server.Kind != Cluster {
		return answer{kind: fresh.Server.Kind}, nil
	}
	pipe := fresh.client.Pipeline()
	slots := pipe.Do(ctx, "cluster", "slots")
	info := pipe.Do(ctx, "cluster", "info")
	_, _ = pipe.Exec(ctx)
	if err := slots.Err(); err != nil {
		return answer{}, err
	}
	host, _, _ := net.SplitHostPort(addr)
	a, err := parseSlots(slots.Val(), host)
	if err != nil {
		return answer{}, err
	}
	state := lines(info.Val())
	a.epoch, _ = strconv.Atoi(state["cluster_current_epoch"])
	a.well = state["cluster_state"] == "ok"
	return a, nil
}

// whoRefuses names a Sentinel, where it is one that has refused the account of a Redis.
func whoRefuses(ctx context.Context, o Options, err error) error {
	if !IsReply(err) {
		return err
	}
	o.Username, o.Password, o.changing = "", "", nil
	nameless, failed := NewEndpoint(o).Fresh(ctx)
	if failed != nil {
		return err
	}
	defer nameless.Close()
	if nameless.Server.Kind == Sentinel {
		return ErrSentinel
	}
	return err
}

var errNotSlots = errors.New("malformed reply to CLUSTER SLOTS")

// parseSlots reads a reply to CLUSTER SLOTS. Nodes that do not tell their host are at the
// one that was asked.
func parseSlots(reply any, host string) (answer, error) {
	a := answer{kind: Cluster}
	ranges, ok := reply.([]any)
	if !ok {
		return a, errNotSlots
	}
	for _, one := range ranges {
		fields, _ := one.([]any)
		if len(fields) < 3 {
			return a, errNotSlots
		}
		from, okFrom := fields[0].(int64)
		to, okTo := fields[1].(int64)
		master, okMaster := parseNode(fields[2], host)
		if !okFrom || !okTo || !okMaster || from < 0 || to < from || to >= Slots {
			return a, errNotSlots
		}
		a.ranges = append(a.ranges, slotRange{int(from), int(to), master})
		for _, f := range fields[3:] {
			if replica, ok := parseNode(f, host); ok && !slices.Contains(a.replicas, replica) {
				a.replicas = append(a.replicas, replica)
			}
		}
	}
	if len(a.ranges) == 0 {
		return a, errors.New("the Cluster has no slots yet")
	}
	// Masters stand in the order of their addresses, whoever was asked.
	slices.SortFunc(a.ranges, func(x, y slotRange) int { return x.from - y.from })
	return a, nil
}

func parseNode(field any, host string) (addr string, ok bool) {
	parts, _ := field.([]any)
	if len(parts) < 2 {
		return "", false
	}
	port, ok := parts[1].(int64)
	if !ok || port <= 0 || port > 65535 {
		return "", false
	}
	if named, _ := parts[0].(string); named != "" && named != "?" {
		host = named
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port))), true
}
