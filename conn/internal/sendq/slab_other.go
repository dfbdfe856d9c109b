//go:build !linux

package sendq

// mapSlab returns n bytes; here they lie in the heap.
func mapSlab(n int) []byte { return make([]byte, n) }

func unmapSlab([]byte) {}
