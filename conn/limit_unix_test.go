//go:build unix

package conn

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestDescriptorsAreLeftForTheRestOfTheProcess(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1000, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	if n := New(Options{}).opts.MaxConns; n != 1000-reserve-overflowConns {
		t.Errorf("%d connections, of 1000 descriptors", n)
	}
}
