// Package presence keeps, in Redis, which connections a user has and on which
// pod each of them is, so that producers can find them.
//
// # Keys
//
// With the prefix "push:", one hash per user says where the user's connections
// are, and two keys describe the pods:
//
//	push:user:{<userID>}  hash        connection UUID → the owning pod's channel, ready to PUBLISH to
//	push:pods             sorted set  a pod's channel, by its last heartbeat: Unix ms by Redis's TIME
//	push:pods:info        hash        a pod's channel → JSON: started, version, connections, draining
//
// Others write keys that speak against entries, and only the last of these a Store:
//
//	push:block:{<userID>}        string  the user is blocked; the reason
//	push:revoked:{<id>}          string  the credential is revoked; the reason
//	push:valid-after             string  Unix seconds: credentials issued before it are good no more
//	push:valid-after:{<userID>}  string  likewise, of one user
//	push:used:{<id>}             string  the credential was for one connection; that one's UUID
//
// Keys builds these names; nothing else does.
//
// # Entries and their expiry
//
// A Store writes the entries of one pod. An entry is registered before its
// connection is told so, renewed every Options.Renew, and unregistered when the
// connection ends; unless renewed, it is gone after Options.TTL. Where the server
// has HEXPIRE (Redis 7.4, Valkey 9), each field expires by itself, and a renewal
// is that one command. Elsewhere the hash expires as a whole, and a renewal
// writes the field again (HSET, PEXPIRE). The store finds out which of the two it is
// by trying, after every new connection to Redis.
//
// A server that is upgraded from the second kind to the first still expires the
// hashes that it holds as a whole, with the new entries in them. For a while
// after the change the store looks for such hashes, gives each of their fields an
// expiry of its own, and takes the whole one off.
//
// Everything is sent in pipelines (batches), to each node of Redis one at a time; what comes meanwhile
// waits for the next one. An operation after a quiet time is sent at once. Under
// load a pause (Options.Pace) lies between the starts of two pipelines, since a
// round trip costs far more than an entry in it.
//
// # What speaks against entries
//
// Each pipeline counts these keys, of all the entries that it registers, checks or renews, by one
// command (EXISTS) behind the writes; only where there is one does a second pipeline read them. So a
// refused entry stands for a moment, until the next pipeline removes it, and a key is noticed within
// Options.Renew by who is connected. A credential for one connection is used up (SET NX) in one more
// pipeline, once nothing else speaks against the registration. While Redis is away nothing is decided:
// registrations fail, and entries stay.
//
// # Entries that take another's place
//
// A client that moves to another pod names the connection that it leaves (Entry.Replaces). One
// transaction writes the new entry, removes the old one and tells its pod, so that who looks the
// user up finds one of them at any moment (swap.go). That pod renews the entry no more, and
// unregisters it, in case a renewal was under way.
//
// # Stale entries
//
// An entry is stale when its pod is dead, or when its UUID is older than the
// start of its pod: then a predecessor under the same address made it. A pod is
// dead when its score in push:pods is absent, or has not changed for a lease by
// the observer's own monotonic clock, while the observer's own heartbeats
// succeeded. After a gap in those, observation starts anew, so that a Redis that
// stalled does not make the pods kill each other. Whoever judges reads the hash
// first and the scores after it; and a pod's score is written before its entries, in
// every pipeline that writes any.
//
// Stale entries do not count against Options.PerUser. Where the hash expires as
// a whole, those beside a live entry are removed by the pods that renew one, and
// everywhere by Heal: a pod calls it when it gets a message for a connection that
// it does not hold.
//
// # Who calls what, and when
//
// A pod calls Pods.Claim first, then runs Pods.Run and Store.Run, then registers
// connections. When it leaves, it unregisters all of them, ends Store.Run, calls
// Pods.Leave, and ends Pods.Run. Register, Check, Renew, Unregister and Heal
// never block.
//
// # Rights
//
// Under an ACL a pod needs, on its prefix, HSET, HDEL, HLEN, HGET, HGETALL, PEXPIRE,
// PTTL, PERSIST, HEXPIRE, ZADD, ZREM, ZRANGE, ZSCORE, GET and EXISTS, SET for push:used,
// and also TIME, WATCH, UNWATCH, MULTI and EXEC. HELLO and, for a database other than 0, SELECT are the
// client's.
//
// # Cluster
//
// All that belongs to a user is in one slot, and goes to the node that has it (route.go). The
// other keys go to their own: those of pods, and those that are not the user's and speak
// against entries, which are looked up behind the batch. Where a slot moves, what waits moves
// along, and redirections are obeyed entry by entry. In a Cluster pods also need CLUSTER SLOTS,
// and ASKING while slots move.
package presence
