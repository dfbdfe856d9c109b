package config

import "slices"

// Words returns the words that the value of a key may be, such as on and off, in the
// order of the reference; nothing where it is no word, or there is no such key. For
// some keys other text is allowed too: off, or a number.
func Words(path string) []string {
	for _, k := range keys() {
		if k.path == path {
			return slices.Clone(k.words)
		}
	}
	return nil
}
