//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: needs Linux: it waits with epoll and reads the server's CPU time from /proc")
	os.Exit(1)
}
