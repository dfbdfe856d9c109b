package presence

// What a registration beyond Limit.PerUser does.
const (
	OnExcessReject      = "reject"       // it fails with ErrTooMany
	OnExcessCloseOldest = "close_oldest" // it succeeds, and names the oldest to close
)

// Limit bounds the connections of each user.
type Limit struct {
	PerUser  int    // of one user, over all pods; 0: any number
	OnExcess string // "reject" (also where empty) or "close_oldest"
}

// SetLimit changes Options.Limit for registrations from then on; entries that are there
// stay. It may be called from any goroutine.
func (s *Store) SetLimit(l Limit) { s.limit.Store(&l) }

// bounds reports whether there is a bound.
func (l Limit) bounds() bool { return l.PerUser > 0 }

// excess is how many of so many connections are too many.
func (l Limit) excess(connections int) int {
	if !l.bounds() {
		return 0
	}
	return max(0, connections-l.PerUser)
}

// rejects reports whether a registration that is too many fails.
func (l Limit) rejects() bool { return l.OnExcess != OnExcessCloseOldest }
