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
	// the clients' loop and a subscriber, and the rest needs some too.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(8, runtime.NumCPU())))
	if len(args) == 1 && args[0] == bareCommand {
		if err := runBareServer(int(os.Stdin.Fd()), stdout); err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		return 0
	}
	o, err := parseOptions(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage): // the flag package has said it
		return 2
	case err != nil:
		fmt.Fprintln(stderr, err)
		return 2
	}
	if err := bench(ctx, o, stdout, progress(stderr)); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// progress returns a function that writes a line with the time that has passed.
func progress(w io.Writer) func(string, ...any) {
	start := time.Now()
	return func(format string, args ...any) {
		fmt.Fprintf(w, "%5.1fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
}

// bench measures all points and prints them.
func bench(ctx context.Context, o options, stdout io.Writer, say func(string, ...any)) error {
	b := &bencher{o: o, say: say}
	if o.url == "" {
		clean, err := b.prepare(ctx)
		if err != nil {
			return err
		}
		defer clean()
	}
	all := []options{o}
	if o.curve != nil {
		all = o.curve.points(o)
	}
	var points []point
	for _, p := range all {
		if o.curve != nil {
			say("point: %d connections, %d bytes", p.connections, p.size)
		}
		measured, err := b.point(ctx, p)
		if err != nil {
			return err
		}
		points = append(points, measured)
		if !o.json {
			if err := writeTable(stdout, measured); err != nil {
				return err
			}
		}
	}
	if o.curve != nil {
		if err := writeCurve(o.out, *o.curve, points, say); err != nil {
			return err
		}
	}
	if o.json {
		return writeJSON(stdout, points)
	}
	return nil
}

// writeJSON prints one object, or an array where there are several.
func writeJSON(w io.Writer, points []point) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if len(points) == 1 {
		return e.Encode(points[0])
	}
	return e.Encode(points)
}

// bencher is what all points have in common.
type bencher struct {
	o      options
	say    func(string, ...any)
	binary string
	cores  cores
}

// prepare builds the pod and chooses the cores; clean takes both back.
func (b *bencher) prepare(ctx context.Context) (clean func(), err error) {
	b.binary = b.o.binary
	remove := func() {}
	if b.binary == "" {
		dir, err := os.MkdirTemp("", "pushpod-bench-")
		if err != nil {
			return nil, fmt.Errorf("bench: a directory for the binary: %w", err)
		}
		remove = func() { _ = os.RemoveAll(dir) }
		b.say("building pushpod")
		if b.binary, err = buildPod(ctx, dir); err != nil {
			remove()
			return nil, err
		}
	}
	cores, restore, err := pinCores()
	if err != nil {
		remove()
		return nil, err
	}
	b.cores = cores
	if cores.pinned {
		b.say("the pod runs on core %d, all else on core %d", cores.server, cores.rest)
	}
	return func() {
		restore()
		remove()
	}, nil
}

// point measures one point: with a fresh pod, where it is our own.
func (b *bencher) point(ctx context.Context, o options) (point, error) {
	var s setting
	var err error
	if o.url == "" {
		s, err = started(ctx, o, b.binary, b.cores)
	} else {
		s, err = given(ctx, o, b.say)
	}
	if err != nil {
		return point{}, err
	}
	defer s.close()
	return measure(ctx, o, s, b.say)
}
