package presence

import "math"

// An Entry is one connection's presence: in Redis, a field of its user's hash.
type Entry struct {
	User string // has passed ValidUser
	UUID UUID

	// Credential is what the connection was let in by, where that can be withdrawn.
	// Nil: it can't, and only Keys.Block speaks against the entry. It is not changed
	// once it has been handed over.
	Credential *Credential

	// Replaces is another connection of the user, on whichever pod, whose entry is removed
	// in the moment in which a registration writes this one. Zero: none; and one that is not
	// in presence counts as none. Only registrations and checks look at it.
	Replaces UUID
}

// A Credential is what lets a connection in until it is withdrawn: Keys.Revoked stands for
// its ID, or Keys.ValidAfter or Keys.ValidAfterUser is later than Issued.
type Credential struct {
	ID     string // has passed ValidUser; "": it has none
	Issued int64  // Unix seconds; 0: not known, which is before any time

	// Once is not 0 where the credential, which then has an ID, lets in one connection
	// only: Keys.Used is kept until this Unix second. Always: for ever.
	Once int64
}

// Always is the time at which Keys.Used ends where it doesn't.
const Always = math.MaxInt64

// Located says where a connection is.
type Located struct {
	UUID    UUID
	Channel string // its pod's, ready to PUBLISH to
}

// Registered is the outcome of a registration.
type Registered struct {
	// Err is nil once Redis has the entry. Otherwise it is ErrUnavailable,
	// wrapped around the cause, ErrTooMany, or a *Refused, and no entry is left
	// behind.
	Err error

	// Excess lists the user's oldest connections beyond Options.PerUser, oldest
	// first, of any pod, where Options.OnExcess is OnExcessCloseOldest. The
	// caller has them closed.
	Excess []Located

	// Unheard is the connection whose entry was replaced, where nobody was subscribed to
	// its pod's channel to hear of that: the pod is dead, or subscribes anew and may
	// write the entry again. The caller tells it again. In a Cluster that is not known. Zero: none.
	Unheard Located

	// More says that the callback of another registration is called right after
	// this one: Redis answers many at once.
	More bool
}
