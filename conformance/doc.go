// Package conformance plays a pod for a client under test, and says for each rule of the protocol
// (docs/protocol.md) whether the client keeps it.
//
// The client under test connects to the URL that it is given, as it would to a pod, and stays connected as it would. Its
// application sends the data of each message back as the data of a request: that is how [Run] learns what was handed to it.
// A client whose application does not is looked at from outside only, and the rules that need more are skipped. What a
// client does not ask for (?goaway=1, ?ping=app, ?refuse=close) is skipped too.
//
// One goroutine plays ([Run]'s caller). Each connection has one more, which reads it and ends with it; one accepts. All of
// them have ended when Run returns.
package conformance
