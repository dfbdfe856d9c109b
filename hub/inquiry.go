package hub

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"pushpod/internal/resp"
	"pushpod/presence"
	"pushpod/redisconn"
)

// inquiry asks Redis which commands it refuses the pod's account, on a connection of
// its own. None of them is done: Redis holds commands against the account's rights
// where it queues them in a transaction, and this one ends with its connection. So it
// finds commands that the server does not know, or not under their name (rename-command).
// Whatever else it answers, such as READONLY, LOADING or MOVED, comes behind these two
// checks: the right is there.
type inquiry struct {
	conn    net.Conn
	replies *bufio.Reader
	found   *[]lack
}

// errReply is what can't be a reply to a queued command.
var errReply = errors.New("malformed reply of Redis")

// askRights makes an inquiry at each node: in a Cluster each has accounts of its own. The
// error says that none could be asked.
func (h *Hub) askRights(ctx context.Context) (found []lack, err error) {
	asked := false
	for _, node := range h.opts.Redis.Nodes.Map().Masters {
		if failed := h.askRightsOf(ctx, node, &found); failed != nil {
			err = failed
			continue
		}
		asked = true
	}
	if asked {
		return found, nil
	}
	return nil, err
}

func (h *Hub) askRightsOf(ctx context.Context, node *redisconn.Node, found *[]lack) error {
	ctx, cancel := context.WithTimeout(ctx, h.opts.Redis.Timeout)
	defer cancel()
	c, _, err := node.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(h.opts.Redis.Timeout)); err != nil {
		return fmt.Errorf("ask for rights: %w", err)
	}
	q := inquiry{conn: c, replies: bufio.NewReader(c), found: found}
	plain := func(name string) presence.Command { return presence.Command{Args: []string{name}} }
	// Outside of a transaction EXEC does nothing. Where MULTI is refused, what
	// follows would be done.
	begun, err := q.ask(plain("EXEC"), presence.Watched(h.opts.Keys), plain("UNWATCH"), plain("MULTI"))
	if err == nil && begun {
		_, err = q.ask(h.commands()...)
	}
	if err != nil {
		return fmt.Errorf("ask for rights: %w", err)
	}
	return nil
}

// ask sends commands whose replies are lines, and reports whether the last one was
// taken.
func (q *inquiry) ask(commands ...presence.Command) (taken bool, err error) {
	var request []byte
	for _, c := range commands {
		request = resp.AppendCommand(request, c.Args...)
	}
	if _, err := q.conn.Write(request); err != nil {
		return false, err
	}
	for _, c := range commands {
		line, err := q.replies.ReadSlice('\n')
		if err != nil {
			return false, err
		}
		reply := strings.TrimRight(string(line), "\r\n")
		if reply == "" || reply[0] != '+' && reply[0] != '-' {
			return false, errReply
		}
		taken = reply[0] == '+'
		if taken {
			continue
		}
		if at := strings.Index(reply, "NOPERM "); at >= 0 { // behind EXECABORT for EXEC
			q.miss(c, reply[at:], false)
		} else if !c.Optional && isUnknown(reply) {
			q.miss(c, reply[1:], true)
		}
	}
	return taken, nil
}

// isUnknown reports whether the server, or a proxy before it, does not have the command.
func isUnknown(reply string) bool {
	text := strings.ToLower(reply)
	return strings.Contains(text, "unknown command") || strings.Contains(text, "unsupported command")
}

// miss notes that a command can't be had. One on several keys is one.
func (q *inquiry) miss(c presence.Command, reply string, unknown bool) {
	found := *q.found
	i := slices.IndexFunc(found, func(m lack) bool { return m.command == c.Args[0] })
	if i < 0 {
		i = len(found)
		reply, _, _ = strings.Cut(reply, ", with args") // which are our own examples
		found = append(found, lack{command: c.Args[0], reply: reply, unknown: unknown})
		*q.found = found
	}
	if m := &found[i]; c.On != "" && !slices.Contains(m.on, c.On) {
		m.on = append(m.on, c.On)
	}
}
