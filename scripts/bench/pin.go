//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// cores says which core the server runs on and which one everything else.
// Pinning keeps the kernel from moving them about, which is most of the noise.
type cores struct {
	server, rest int
	pinned       bool
}

// pinCores chooses the first two cores that this process may use, and moves it
// to the second one. Where there is only one, nothing is pinned. restore takes
// that back.
func pinCores() (c cores, restore func(), err error) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return cores{}, nil, fmt.Errorf("bench: ask for this process's cores: %w", err)
	}
	var found []int
	for i := 0; i < len(may)*64 && len(found) < 2; i++ {
		if may.IsSet(i) {
			found = append(found, i)
		}
	}
	if len(found) < 2 {
		return cores{}, func() {}, nil
	}
	c = cores{server: found[0], rest: found[1], pinned: true}
	if err := moveThreads(oneCore(c.rest)); err != nil {
		return cores{}, nil, err
	}
	return c, func() { _ = moveThreads(may) }, nil
}

func oneCore(core int) unix.CPUSet {
	var s unix.CPUSet
	s.Set(core)
	return s
}

// moveThreads moves all threads of this process. Threads that they start later
// inherit it; the second pass catches those that were being started.
func moveThreads(to unix.CPUSet) error {
	for range 2 {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("bench: list this process's threads: %w", err)
		}
		for _, task := range tasks {
			id, err := strconv.Atoi(task.Name())
			if err != nil {
				continue
			}
			if err := unix.SchedSetaffinity(id, &to); err != nil && err != unix.ESRCH {
				return fmt.Errorf("bench: pin a thread to its core: %w", err)
			}
		}
	}
	return nil
}
