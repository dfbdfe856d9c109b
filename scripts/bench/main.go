//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is the program: 0 where it worked, 1 where it failed, 2 where the
// command line is wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	// Goroutines that wait in raw calls keep their processors: two publishers,
	// the clients' loop and a subscriber. The rest needs some too.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(8, runtime.NumCPU())))
	status, err := 1, error(nil)
	if len(args) == 1 && args[0] == bareCommand {
		err = runBareServer(stdout)
	} else if o, bad := parseOptions(args, stderr); bad != nil {
		status, err = 2, bad
	} else {
		err = bench(ctx, o, args, stdout, progress(stderr))
	}
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case !errors.Is(err, errUsage): // which the flag package has said
		fmt.Fprintln(stderr, err)
	}
	return status
}

// progress returns a function that writes a line with the time that has passed.
func progress(w io.Writer) func(string, ...any) {
	start := time.Now()
	return func(format string, args ...any) {
		fmt.Fprintf(w, "%5.1fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
}

// bench measures all points and writes what came out.
func bench(ctx context.Context, o options, args []string, stdout io.Writer, say func(string, ...any)) error {
	c := cores{anyCore, anyCore}
	if o.url == "" {
		pinned, restore, err := pinCores()
		if err != nil {
			return err
		}
		defer restore()
		c = pinned
	}
	if o.url == "" && o.binary == "" {
		dir, err := os.MkdirTemp("", "pushpod-bench-")
		if err != nil {
			return fmt.Errorf("bench: a directory for the binary: %w", err)
		}
		defer os.RemoveAll(dir)
		say("building pushpod")
		if o.binary, err = buildPod(ctx, dir); err != nil {
			return err
		}
	}
	r := report{Machine: machine(), Command: commandLine(args), Quick: o.quick}
	for _, p := range o.points {
		say("%s", p)
		figures, redis, err := measurePoint(ctx, o, p, c, say)
		if err != nil {
			return err
		}
		r.Points, r.Redis = append(r.Points, figures), redis
	}
	return r.write(o, stdout)
}

// measurePoint measures one point: with a fresh pod, where it is our own.
func measurePoint(ctx context.Context, o options, p point, c cores, say func(string, ...any)) (pointReport, string, error) {
	find := start
	if o.url != "" {
		find = given
	}
	s, err := find(ctx, o, c)
	if err != nil {
		return pointReport{}, "", err
	}
	defer s.close()
	rows, err := measure(ctx, o, p, s, say)
	if err != nil {
		return pointReport{}, "", err
	}
	version, err := s.redis.version(ctx)
	return pointReport{p, rows}, version, err
}

// write prints the report, as the options ask for it.
func (r report) write(o options, stdout io.Writer) error {
	if o.markdown != "" {
		if err := replaceTable(o.markdown, r.table()); err != nil {
			return err
		}
	}
	if o.json {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := io.WriteString(stdout, r.table())
	return err
}
