package presence

// An Entry is one connection's presence: in Redis, a field of its user's hash.
type Entry struct {
	User string // has passed ValidUser
	UUID UUID
}

// Located says where a connection is.
type Located struct {
	UUID    UUID
	Channel string // its pod's, ready to PUBLISH to
}

// Registered is the outcome of a registration.
type Registered struct {
	// Err is nil once Redis has the entry. Otherwise it is ErrUnavailable,
	// wrapped around the cause, or ErrTooMany, and no entry is left behind.
	Err error

	// Excess lists the user's oldest connections beyond Options.PerUser, oldest
	// first, of any pod, where Options.OnExcess is OnExcessCloseOldest. The
	// caller has them closed.
	Excess []Located

	// More says that the callback of another registration is called right after
	// this one: Redis answers many at once.
	More bool
}
