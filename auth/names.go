package auth

import "bytes"

// names are the members of an object so far.
type names [][]byte

// twice adds a name, and says whether it was there. Two readers of one object may
// differ in which of two members they see; so no object has two (RFC 7515 section 4,
// RFC 7519 section 4).
func (n *names) twice(name []byte) bool {
	for _, other := range *n {
		if bytes.Equal(name, other) {
			return true
		}
	}
	*n = append(*n, name)
	return false
}
