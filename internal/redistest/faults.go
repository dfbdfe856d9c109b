package redistest

import (
	"os"
	"testing"
)

// Faults skips a test that takes long, unless make test-faults asks for it.
func Faults(t testing.TB) {
	t.Helper()
	if os.Getenv("PUSHPOD_FAULTS") == "" {
		t.Skip("takes long: make test-faults")
	}
}
