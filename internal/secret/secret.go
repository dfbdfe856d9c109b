// Package secret has the type of what nobody may read in a log, an error or the output
// of a command.
package secret

import (
	"fmt"
	"io"
)

// Hidden stands where a secret would.
const Hidden = "(hidden)"

// Text is a secret, such as a password. Package fmt does not show it, whatever the
// verb, nor do encoders. Whoever needs it converts it to a string.
//
// Reflection sees through an unexported field: a struct that may be printed has its
// secrets in exported ones.
type Text string

// Format writes a placeholder; see fmt.Formatter.
func (Text) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, Hidden) }

// MarshalText returns a placeholder, for encoders; see encoding.TextMarshaler.
func (Text) MarshalText() ([]byte, error) { return []byte(Hidden), nil }
