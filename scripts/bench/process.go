//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is the server's process where it runs on this machine. The zero
// value is a remote one, of which nothing is known.
type process struct {
	pid int
}

func (p process) known() bool { return p.pid > 0 }

// cpu returns the CPU time of all its threads so far, as the scheduler counts
// it (/proc/PID/task/*/schedstat, ns); 0 where the process is not known. Threads
// that have ended are not in it: Go ends none.
func (p process) cpu() (sum time.Duration, err error) {
	if !p.known() {
		return 0, nil
	}
	dir := fmt.Sprintf("/proc/%d/task", p.pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("bench: CPU time of process %d: %w", p.pid, err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(filepath.Join(dir, task.Name(), "schedstat"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // ended meanwhile
		}
		ran, _, _ := strings.Cut(string(b), " ")
		ns, notNumber := strconv.ParseInt(ran, 10, 64)
		if err := errors.Join(err, notNumber); err != nil {
			return 0, fmt.Errorf("bench: CPU time of process %d: %w", p.pid, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// rss returns the resident memory in bytes (VmRSS in /proc/PID/status).
func (p process) rss() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return 0, fmt.Errorf("bench: memory of process %d: %w", p.pid, err)
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(b)
	if found == nil {
		return 0, fmt.Errorf("bench: memory of process %d: no VmRSS in its status", p.pid)
	}
	kb, err := strconv.ParseInt(string(found[1]), 10, 64)
	return kb << 10, err
}

// machine describes where this process runs: figures without it say little.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // it can't fail with room of its own
	return fmt.Sprintf("%s, %d cores, Linux %s, %s", processor(), runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), runtime.Version())
}

func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // not everywhere
	_, b, _ = bytes.Cut(b, []byte("model name"))
	line, _, _ := bytes.Cut(b, []byte("\n"))
	if name := strings.Trim(string(line), "\t :"); name != "" {
		return name
	}
	return runtime.GOARCH
}
