//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is the server's process where it runs on this machine. The zero
// value is a remote one, of which nothing is known.
type process struct {
	pid int
}

func (p process) known() bool { return p.pid > 0 }

// cpu returns the CPU time of all its threads so far, as the scheduler counts
// it (/proc/PID/task/*/schedstat, ns). Threads that have ended are not in it:
// Go ends none.
func (p process) cpu() (time.Duration, error) {
	dir := fmt.Sprintf("/proc/%d/task", p.pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("bench: CPU time of process %d: %w", p.pid, err)
	}
	var sum time.Duration
	for _, task := range tasks {
		b, err := os.ReadFile(filepath.Join(dir, task.Name(), "schedstat"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // ended meanwhile
		}
		if err != nil {
			return 0, fmt.Errorf("bench: CPU time of process %d: %w", p.pid, err)
		}
		ran, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("bench: CPU time of process %d: schedstat holds %q", p.pid, b)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// rss returns the resident memory in bytes (VmRSS in /proc/PID/status).
func (p process) rss() (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return 0, fmt.Errorf("bench: memory of process %d: %w", p.pid, err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) >= 2 && fields[0] == "VmRSS:" {
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				break
			}
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("bench: memory of process %d: no VmRSS in its status", p.pid)
}

// listenerOf finds the process that listens on a port of this machine: the
// socket's inode in /proc/net/tcp and tcp6, and whose descriptor that is.
func listenerOf(port uint16) (process, error) {
	inodes := make(map[string]bool)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return process{}, fmt.Errorf("bench: look for the server's process: %w", err)
		}
		listening(string(b), port, inodes)
	}
	if len(inodes) > 0 {
		descriptors, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is good; what can't be read is left out
		for _, fd := range descriptors {
			to, err := os.Readlink(fd)
			if err == nil && inodes[to] {
				pid, err := strconv.Atoi(strings.Split(fd, "/")[2])
				return process{pid}, err
			}
		}
	}
	return process{}, fmt.Errorf("bench: no process that listens on port %d can be seen from here: give --pid, or run as its user", port)
}

// listening collects the links ("socket:[N]") of the sockets of a table in
// /proc/net that listen on port.
func listening(table string, port uint16, inodes map[string]bool) {
	const listen = "0A"
	suffix := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) > 9 && strings.HasSuffix(f[1], suffix) && f[3] == listen {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
}
