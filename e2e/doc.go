// Package e2e holds the tests of pushpod as its users meet it: real processes of
// the built program, a real redis-server, redis-cli, and clients on real sockets.
// They know what the documentation promises, and nothing of the code behind it.
//
// TestMain builds the program once. A test starts a Redis (startRedis) and pods
// (startPod), connects clients (dial), publishes, and says what must arrive and
// what must not. Each test ends with the books of its pods (wantBooks): every
// message and target is in exactly one counter.
//
// Environment:
//
//	PUSHPOD_E2E_RACE=1     build the program with the race detector
//	PUSHPOD_E2E_BINARY=…   use this program instead of building one
//	PUSHPOD_E2E_LOGS=1     print the pods' logs also where a test passes
//
// The tests run in parallel, more of them than there are processors, because
// they mostly wait. Those that load the machine (crowd_test.go) run alone.
package e2e
