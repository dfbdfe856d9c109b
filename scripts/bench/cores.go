//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// core is a core of this machine, or any of them.
type core int

const anyCore core = -1

func (c core) set() (s unix.CPUSet) {
	s.Set(int(c))
	return s
}

// start starts cmd from a thread that is on the core, which a child inherits.
func (c core) start(cmd *exec.Cmd) error {
	if c == anyCore {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	there := c.set()
	if err := errors.Join(unix.SchedGetaffinity(0, &before), unix.SchedSetaffinity(0, &there)); err != nil {
		return err
	}
	defer unix.SchedSetaffinity(0, &before)
	return cmd.Start()
}

// cores says which core the server runs on and which one everything else.
// Pinning keeps the kernel from moving them about, which is most of the noise.
type cores struct {
	server, rest core
}

// pinCores chooses the first two cores that this process may use, and moves it
// to the second one. Where there is only one, nothing is pinned. restore takes
// that back.
func pinCores() (c cores, restore func(), err error) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return cores{}, nil, fmt.Errorf("bench: ask for this process's cores: %w", err)
	}
	var found []core
	for i := 0; i < len(may)*64 && len(found) < 2; i++ {
		if may.IsSet(i) {
			found = append(found, core(i))
		}
	}
	if len(found) < 2 {
		return cores{anyCore, anyCore}, func() {}, nil
	}
	return cores{found[0], found[1]}, func() { _ = moveThreads(may) }, moveThreads(found[1].set())
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
			id, _ := strconv.Atoi(task.Name())
			if err := unix.SchedSetaffinity(id, &to); err != nil && err != unix.ESRCH {
				return fmt.Errorf("bench: pin a thread to its core: %w", err)
			}
		}
	}
	return nil
}
