//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// stageNames are what --only takes, in the order in which they run. All but
// limits need the connections, so that opening always takes place.
func stageNames() []string {
	return []string{"limits", "open", "memory", "idle", "broadcast", "single", "flat", "fairness"}
}

// options is what the command line says.
type options struct {
	url         string // empty: a pod of our own
	redis       string
	username    string
	password    string
	prefix      string
	channel     string // empty: from the presence of one of our users
	admin       string
	binary      string // of a pod of our own; empty: it is built
	pid         int    // 0: found by the port
	connections int
	size        int
	quick       bool
	only        []string
	json        bool
	seed        uint64
	curve       *curve
	out         string
}

// maxSize is the largest data that fits a pod's default redis.max_envelope.
const maxSize = 1<<20 - 1024

const (
	asideConnections    = 50                    // more than --connections, for fairness
	reservedDescriptors = 64 + asideConnections // for those, Redis, children, files
)

func (o options) does(stage string) bool { return len(o.only) == 0 || slices.Contains(o.only, stage) }

// errUsage says that the command line is wrong, and that it has been said.
var errUsage = errors.New("bench: usage")

// parseOptions parses the command line. Help goes to stderr.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	o := options{username: os.Getenv("PUSHPOD_REDIS_USERNAME"), password: os.Getenv("PUSHPOD_REDIS_PASSWORD")}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.url, "url", "", "the pod, as `ws://host:port/ws`; without it a pod is built and started here")
	serve := f.Bool("serve", false, "build and start a pod here, which is the default without --url")
	f.StringVar(&o.binary, "binary", "", "the pushpod `file` to start, instead of building one")
	f.StringVar(&o.redis, "redis", "", "the pod's Redis, `host:port` (default 127.0.0.1:6379 with --url, else a redis-server is started);\nPUSHPOD_REDIS_USERNAME and PUSHPOD_REDIS_PASSWORD log in")
	f.StringVar(&o.prefix, "prefix", "push:", "the pod's redis.prefix")
	f.StringVar(&o.channel, "channel", "", "the pod's `channel` (default: what presence says about one of the connections opened)")
	f.StringVar(&o.admin, "admin", "", "the pod's admin listener, `http://host:port`, for frames per write")
	f.IntVar(&o.pid, "pid", 0, "the pod's process `id`, where it runs here (default: found by its port)")
	f.IntVar(&o.connections, "connections", 10_000, "how many connections")
	f.IntVar(&o.size, "size", 128, fmt.Sprintf("`bytes` of data in a message; less than %d counts as %d, which the time in it takes", minSize, minSize))
	f.BoolVar(&o.quick, "quick", false, "short stages: to see that it works, not to be quoted")
	only := f.String("only", "", "run these `stages`: "+strings.Join(stageNames(), ","))
	f.BoolVar(&o.json, "json", false, "print JSON (base units: seconds, bytes) instead of a table")
	f.Uint64Var(&o.seed, "seed", 0, "of the payload and of the order in which users are pushed to; 0: as they were opened")
	curveText := f.String("curve", "", "measure at several points: `connections=1000,5000` or size=16,128,1024")
	f.StringVar(&o.out, "out", ".", "the `directory` for a curve's pictures")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return options{}, err
		}
		return options{}, errUsage
	}
	if f.NArg() > 0 {
		return options{}, fmt.Errorf("bench: unexpected argument %q: there are flags only", f.Arg(0))
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	var err error
	if o.curve, err = parseCurve(*curveText); err != nil {
		return options{}, err
	}
	if *serve && o.url != "" {
		return options{}, errors.New("bench: --serve starts a pod here, --url names one: give one of them")
	}
	if o.url != "" && o.redis == "" {
		o.redis = "127.0.0.1:6379"
	}
	return o, o.validate()
}

func (o options) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("bench: "+format, args...)) }
	most := maxConnections()
	points := []options{o}
	if o.curve != nil {
		points = o.curve.points(o)
	}
	for _, p := range points {
		if p.connections < 1 || p.connections > most {
			bad("--connections %d: want 1 to %d, which is what this process's limit of descriptors allows (ulimit -n)", p.connections, most)
		}
		if p.size < 0 || p.size > maxSize {
			bad("--size %d: want 0 to %d bytes", p.size, maxSize)
		}
	}
	for _, stage := range o.only {
		if !slices.Contains(stageNames(), stage) {
			bad("--only %q: want some of %s", stage, strings.Join(stageNames(), ","))
		}
	}
	if o.url != "" {
		if _, _, err := newTarget(o.url); err != nil {
			errs = append(errs, err)
		}
		if o.binary != "" {
			bad("--binary is the pod that is started without --url")
		}
	} else if o.pid != 0 || o.channel != "" || o.admin != "" {
		bad("--pid, --channel and --admin are about the pod that --url names")
	}
	if o.admin != "" {
		if u, err := url.Parse(o.admin); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			bad("--admin %q: want http://host:port", o.admin)
		}
	}
	if strings.ContainsAny(o.prefix, "{}") {
		bad("--prefix %q: braces are not allowed in redis.prefix", o.prefix)
	}
	return errors.Join(errs...)
}

// maxConnections is how many descriptors may become connections. Go has
// already raised the soft limit to the hard one.
func maxConnections() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Cur > 1<<20 {
		return 1 << 20
	}
	return max(1, int(l.Cur)-reservedDescriptors)
}

func (o options) redisServer(ctx context.Context, hostPort string) (redisServer, error) {
	addr, err := resolve(ctx, hostPort)
	return redisServer{addr: addr, username: o.username, password: o.password}, err
}

// curve is one option that takes several values in turn.
type curve struct {
	of     string // connections or size
	values []int
}

// parseCurve parses "connections=1000,5000"; an empty string is no curve.
func parseCurve(s string) (*curve, error) {
	if s == "" {
		return nil, nil
	}
	of, list, ok := strings.Cut(s, "=")
	if !ok || of != "connections" && of != "size" {
		return nil, fmt.Errorf("bench: --curve %q: want connections=N,N… or size=N,N…", s)
	}
	c := &curve{of: of}
	for _, text := range strings.Split(list, ",") {
		v, err := strconv.Atoi(text)
		if err != nil || v < 1 {
			return nil, fmt.Errorf("bench: --curve %q: %q is not a number above 0", s, text)
		}
		c.values = append(c.values, v)
	}
	if !slices.IsSorted(c.values) || len(slices.Compact(slices.Clone(c.values))) < len(c.values) || len(c.values) < 2 {
		return nil, fmt.Errorf("bench: --curve %q: want at least two values, each larger than the one before", s)
	}
	return c, nil
}

// points are the options of each point.
func (c *curve) points(o options) []options {
	var points []options
	for _, v := range c.values {
		p := o
		if c.of == "connections" {
			p.connections = v
		} else {
			p.size = v
		}
		points = append(points, p)
	}
	return points
}
