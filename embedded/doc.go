// Package embedded runs a Redis inside the process, for trying pushpod out
// where none is installed. It is miniredis: one process, no persistence, no
// functions, no Cluster; never something to lean on. One subscriber that does
// not read stops it for everybody.
//
// miniredis is made for tests and lets nothing expire by itself. A Server adds
// the clock: keys and hash fields expire in real time, up to a tick (100 ms)
// early, and TIME is the machine's.
//
// A Server owns all its goroutines: Start starts them, Close waits for them.
package embedded
