package presence

import "slices"

// A Command is one that a pod's account in Redis must be allowed to send.
type Command struct {
	Args []string // in full, with an example of its key or channel
	On   string   // the keys or channels, as people know them; "": it has none

	// Optional: the pod gets by without it where the server does not know it. Where it
	// does, it must not refuse it.
	Optional bool
}

// Commands are all that presence sends as the pod of this channel, each with an
// example of the keys that it is sent for. It also watches Watched, and sends MULTI,
// EXEC and UNWATCH, and publishes what Options.Replaced says.
func Commands(k Keys, channel string) []Command {
	user, pods, info := k.User(channel), k.Pods(), k.PodsInfo() // a user whom nobody is
	return slices.Concat(
		on(k.Users(), user,
			[]string{"HSET", "-", channel}, []string{"HDEL", "-"}, []string{"HGETALL"}, []string{"HLEN"}, []string{"HGET", "-"}, []string{"PEXPIRE", "1"},
			[]string{"PTTL"}, []string{"PERSIST"}, []string{"HEXPIRE", "1", "FIELDS", "1", "-"}),
		on(pods, pods,
			[]string{"ZADD", "0", channel}, []string{"ZREM", channel}, []string{"ZRANGE", "0", "-1"}, []string{"ZSCORE", channel}),
		on(info, info,
			[]string{"HSET", channel, "-"}, []string{"HDEL", channel}, []string{"HGET", channel}, []string{"HGETALL"}, []string{"HEXPIRE", "1", "FIELDS", "1", "-"}),
		on(k.prefix+"block:*", k.Block(channel), []string{"GET"}, []string{"EXISTS"}),
		on(k.prefix+"revoked:*", k.Revoked(channel), []string{"GET"}, []string{"EXISTS"}),
		on(k.prefix+"valid-after:*", k.ValidAfterUser(channel), []string{"GET"}, []string{"EXISTS"}),
		on(k.ValidAfter(), k.ValidAfter(), []string{"GET"}),
		on(k.prefix+"used:*", k.Used(channel), []string{"GET"}, []string{"SET", "-", "NX"}),
		[]Command{{Args: []string{"TIME"}}})
}

// Watched is what a pod watches before a transaction.
func Watched(k Keys) Command { return Command{Args: []string{"WATCH", k.Pods()}, On: k.Pods()} }

// on returns commands on a key, which is one of those that people know as name. Each
// is given as its name and what stands behind the key.
func on(name, key string, commands ...[]string) (list []Command) {
	for _, c := range commands {
		list = append(list, Command{Args: append([]string{c[0], key}, c[1:]...), On: name, Optional: c[0] == "HEXPIRE"})
	}
	return list
}
