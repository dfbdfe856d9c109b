//go:build linux

package main

import (
	"context"
	"os"
	"testing"
)

// TestMain lets the test's own binary be the bare server, which is a child
// process of whoever measures.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == bareCommand {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}
