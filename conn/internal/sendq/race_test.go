//go:build race

package sendq

const raceEnabled = true // sync.Pool then drops what it is given, at random
