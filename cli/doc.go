// Package cli has the commands beside serve, for operators and producers in a terminal
// or a script.
//
// A command writes its result to standard output: a table or a line for people, or one
// JSON value with --json. A failure is returned as an error, which the caller writes to
// standard error; [ExitCode] gives the exit status: 1 for a failure, 2 for wrong usage
// or a wrong configuration.
//
// Commands find Redis as a pod does: by --config FILE, the environment,
// --redis.addresses and the other --redis flags. Without an address they try the
// embedded Redis of a pod on this machine (redis.embedded_listen). health and drain speak to
// a pod on this machine instead, at its admin.listen (local.go).
package cli
