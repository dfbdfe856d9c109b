//go:build linux

package main

import (
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

// options is what the command line says.
type options struct {
	url      string // empty: a pod of our own
	redis    string // host:port; empty: a redis-server of our own
	username string
	password string
	prefix   string
	admin    string
	binary   string // of a pod of our own; empty: it is built
	pid      int    // 0: not known, where --url names the pod
	points   []point
	only     []string // stages; empty: all
	quick    bool
	shuffle  bool
	json     bool
	markdown string // a file
}

const (
	defaultSize = 128
	// maxSize is the largest data that fits a pod's default redis.max_envelope.
	maxSize = 1<<20 - 1024

	asideConnections    = 50                    // more than a point's, for fairness
	reservedDescriptors = 64 + asideConnections // for those, Redis, children, files
)

// stageNames are what --only takes, in the order in which they run. All but
// limits need the connections, so that opening always takes place.
func stageNames() []string {
	return []string{"limits", "open", "memory", "idle", "broadcast", "single", "flat", "fairness", "script"}
}

func (o options) does(stage string) bool { return len(o.only) == 0 || slices.Contains(o.only, stage) }

// errUsage says that the command line is wrong, and that it has been said.
var errUsage = errors.New("bench: usage")

// parseOptions parses the command line. Help goes to stderr.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	o := options{username: os.Getenv("PUSHPOD_REDIS_USERNAME"), password: os.Getenv("PUSHPOD_REDIS_PASSWORD")}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.url, "url", "", "the pod, as `ws://host:port/ws`; without it a pod is built and started here")
	f.StringVar(&o.binary, "binary", "", "the pushpod `file` to start, instead of building one")
	f.StringVar(&o.redis, "redis", "", "the pod's Redis, `host:port` (default 127.0.0.1:6379 with --url, else a redis-server is started);\nPUSHPOD_REDIS_USERNAME and PUSHPOD_REDIS_PASSWORD log in")
	f.StringVar(&o.prefix, "prefix", "push:", "the pod's redis.prefix")
	f.StringVar(&o.admin, "admin", "", "the admin listener of the pod that --url names, `http://host:port`, for frames per write")
	f.IntVar(&o.pid, "pid", 0, "the process `id` of the pod that --url names, where it runs here, for CPU and memory")
	points := f.String("points", "10000", "measure with so many connections and bytes of data in a message, as `N[xBYTES],…` (BYTES: 128)")
	only := f.String("only", "", "run these `stages`: "+strings.Join(stageNames(), ","))
	f.BoolVar(&o.quick, "quick", false, "short stages: to see that it works, not to be quoted")
	f.BoolVar(&o.shuffle, "shuffle", false, "push to users in a random order, instead of the one in which they came")
	f.BoolVar(&o.json, "json", false, "print JSON (base units: seconds, bytes) instead of a table")
	f.StringVar(&o.markdown, "markdown", "", "put the table into this `file` too, between "+tableBegin+" and "+tableEnd)
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
	if o.url != "" && o.redis == "" {
		o.redis = "127.0.0.1:6379"
	}
	var err error
	if o.points, err = parsePoints(*points); err != nil {
		return options{}, err
	}
	return o, o.validate()
}

// parsePoints parses "1000,5000x1024".
func parsePoints(s string) ([]point, error) {
	var points []point
	most := maxConnections()
	for text := range strings.SplitSeq(s, ",") {
		p := point{Size: defaultSize}
		n, size, sized := strings.Cut(text, "x")
		var errN, errSize error
		p.Connections, errN = strconv.Atoi(n)
		if sized {
			p.Size, errSize = strconv.Atoi(size)
		}
		switch {
		case errN != nil || errSize != nil:
			return nil, fmt.Errorf("bench: --points %q: want N or NxBYTES, such as 5000x1024", text)
		case p.Connections < 1 || p.Connections > most:
			return nil, fmt.Errorf("bench: --points %q: want 1 to %d connections, which is what this process's limit of descriptors allows (ulimit -n)", text, most)
		case p.Size < minSize || p.Size > maxSize:
			return nil, fmt.Errorf("bench: --points %q: want %d to %d bytes", text, minSize, maxSize)
		}
		points = append(points, p)
	}
	return points, nil
}

func (o options) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("bench: "+format, args...)) }
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
	} else if o.pid != 0 || o.admin != "" {
		bad("--pid and --admin are about the pod that --url names")
	}
	if u, err := url.Parse(o.admin); o.admin != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		bad("--admin %q: want http://host:port", o.admin)
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
