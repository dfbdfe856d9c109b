package conn

// state is where a connection stands in its life; see the package comment.
type state uint8

const (
	stateHandshaking state = iota
	stateRegistering
	stateOpen
	stateClosing
	stateRefused
	stateClosed
)
