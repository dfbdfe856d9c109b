// Package cli holds the commands beside serve: what an operator or a producer
// does from a terminal or a script.
//
// Every command writes its result to the command's standard output, as a table
// or a line for people, or as one JSON value with --json. Why it could not goes
// back as an error, for the caller to write to standard error; [ExitCode] makes
// the exit status of it: 1 where it failed, 2 where it was called wrongly or
// the configuration is wrong.
//
// Commands that speak to Redis find it as a pod does: --config FILE, the
// environment, --redis.addresses and its neighbours. Where no address is given
// they try the embedded Redis of a pod on this machine
// (redis.embedded_listen).
package cli
