package client

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the package where a test has left a goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" {
		os.Exit(code) // fuzzing keeps goroutines of its own
	}
	if left := leftGoroutines(5 * time.Second); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines left after the tests:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// leftGoroutines waits for all but its own to end, and returns the stacks of those that did not.
func leftGoroutines(wait time.Duration) string {
	stacks := make([]byte, 1<<20)
	for end := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		all := strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n")
		if len(all) == 1 {
			return ""
		}
		if time.Now().After(end) {
			return strings.Join(all[1:], "\n\n")
		}
	}
}
