package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pushpod/config"
	"pushpod/presence"
)

type topOptions struct {
	interval time.Duration
	order    string
	admin    []string // given; nil: the one of the configuration
	once     bool
	asJSON   bool
}

const (
	leastInterval = 100 * time.Millisecond
	lookTime      = 2 * time.Second // that one look may take; the end waits for it
	ctrlC         = 0x03
	ctrlD         = 0x04
	ctrlZ         = 0x1a
)

func (d deps) newTopCommand() *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use:   "top [POD]...",
		Short: "Watch the pods in the terminal",
		Long: `Watch the pods, all or those with these addresses, in the terminal: connections and how
many they become more or fewer a second, age of the last heartbeat by Redis's clock,
version, start time, and state as pushpod pods explains it. All of that is read from
Redis, where each pod tells it with its heartbeat (presence.heartbeat): no pod is asked.

Pods on this machine that answer at admin.listen, or at each --admin, are asked for their
metrics: deliveries a second, and within how long half of the messages and 99 of 100 were
written after they were published, since the look before. Where no --admin is given and
nothing answers, there is no such line.

q, Ctrl-C and Ctrl-D end it, s sorts by something else, Ctrl-Z suspends it.

--once looks twice, an interval apart, prints what it shows and ends; it needs no terminal.`,
		Args: func(_ *cobra.Command, args []string) error {
			for _, address := range args {
				if address == "" {
					return usagef("top: a POD is empty; addresses are allowed, as pushpod pods lists them")
				}
			}
			return o.check()
		},
	}
	cmd.Flags().DurationVar(&o.interval, "interval", time.Second, "how often to look, at least 100ms")
	cmd.Flags().StringVar(&o.order, "sort", "pod", "what to sort by: "+strings.Join(topOrders(), ", "))
	cmd.Flags().StringSliceVar(&o.admin, "admin", nil, "addresses at which pods on this machine answer operators (default: admin.listen)")
	cmd.Flags().BoolVar(&o.once, "once", false, "print one frame and end")
	jsonFlag(cmd, &o.asJSON)
	s := newServer(cmd, "presence.lease", "presence.heartbeat", "admin.listen", "admin.tls", "tls.cert_file")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in, isFile := cmd.InOrStdin().(*os.File)
		out, _ := cmd.OutOrStdout().(*os.File)
		if live := isFile && IsTerminal(in) && IsTerminal(cmd.OutOrStdout()); !live && !o.once {
			return usagef("top: this is no terminal; --once prints one frame")
		}
		t, err := d.newTop(cmd, s, o, args)
		if err != nil {
			return err
		}
		defer s.redis.Close()
		if o.once {
			return t.once(cmd)
		}
		return t.live(cmd.Context(), in, out)
	}
	return cmd
}

func (o topOptions) check() error {
	switch {
	case o.interval < leastInterval:
		return usagef("top: --interval is %s; it must be %s or more", o.interval, leastInterval)
	case !slices.Contains(topOrders(), o.order):
		return usagef("top: --sort is %q; allowed: %s", o.order, strings.Join(topOrders(), ", "))
	case o.asJSON && !o.once:
		return usagef("top: --json needs --once")
	}
	return nil
}

// A top is one run of the command.
type top struct {
	// Static.
	o      topOptions
	server *server
	local  []*local

	view *topView // owned by the goroutine that runs once or live
}

func (d deps) newTop(cmd *cobra.Command, s *server, o topOptions, only []string) (*top, error) {
	if err := s.open(cmd.Context(), d.environ()); err != nil {
		return nil, err
	}
	t := &top{o: o, server: s}
	t.view = &topView{keys: s.keys, lease: s.lease, only: only, order: o.order, colours: coloursFor(cmd.OutOrStdout(), d.environ())}
	for _, admin := range o.admin {
		l := &local{file: s.file, flags: pflag.NewFlagSet("keys", pflag.ContinueOnError)}
		config.AddFlags(l.flags)
		s.flags.VisitAll(func(f *pflag.Flag) {
			if f.Changed {
				_ = l.flags.Set(f.Name, f.Value.String()) // it takes any text
			}
		})
		_ = l.flags.Set("admin.listen", admin)
		if err := l.open(d.environ(), true); err != nil {
			s.redis.Close()
			return nil, err
		}
		t.local = append(t.local, l)
	}
	if o.admin == nil {
		// What hinders it is nobody's business here.
		if l := (&local{file: s.file, flags: s.flags}); l.open(d.environ(), true) == nil {
			t.local = append(t.local, l)
		}
	}
	return t, nil
}

// look reads everything at the same time.
func (t *top) look(ctx context.Context) (l look) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	l.local = make([]localLook, len(t.local))
	var asking sync.WaitGroup
	for i, pod := range t.local {
		asking.Go(func() {
			s, err := pod.scrape(ctx)
			l.local[i] = localLook{admin: pod.cfg.Admin.Listen, quiet: t.o.admin == nil, scrape: s, err: err}
		})
	}
	l.pods, l.err = presence.ListPods(ctx, t.server.redis, t.server.keys)
	if errors.Is(l.err, context.DeadlineExceeded) {
		l.err = fmt.Errorf("no answer from Redis within %s", lookTime)
	}
	asking.Wait()
	return l
}

// once prints one frame.
func (t *top) once(cmd *cobra.Command) error {
	t.view.take(t.look(cmd.Context()))
	if t.view.err == nil {
		wait(cmd.Context(), t.o.interval)
		t.view.take(t.look(cmd.Context()))
	}
	if t.view.err != nil {
		return t.server.failed(t.view.err)
	}
	if t.o.asJSON {
		return writeJSON(cmd.OutOrStdout(), struct {
			Pods    []topPod   `json:"pods"`
			Missing []string   `json:"missing,omitempty"` // of those that were named
			Local   []topLocal `json:"local"`
		}{append([]topPod{}, t.view.pods...), t.view.missing, append([]topLocal{}, t.view.local...)})
	}
	return writeLine(cmd.OutOrStdout(), "%s", strings.Join(t.view.lines(time.Now(), 0, 0), "\n"))
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// live shows frames until a key or a signal ends it. However it ends, the terminal is as
// it was.
func (t *top) live(ctx context.Context, in, out *os.File) (err error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGWINCH, syscall.SIGTSTP)
	defer signal.Stop(signals)

	var looking sync.WaitGroup
	defer looking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	looks := make(chan look)
	looking.Go(func() { t.watch(ctx, looks) })

	s := &screen{in: in, out: out}
	if err := s.enter(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.leave()) }()
	keys, err := newKeyboard(in)
	if err != nil {
		return err
	}
	defer keys.close()
	return t.loop(ctx, s, keys.keys, signals, looks)
}

// watch looks again and again until ctx ends.
func (t *top) watch(ctx context.Context, looks chan<- look) {
	for ctx.Err() == nil {
		select {
		case looks <- t.look(ctx):
		case <-ctx.Done():
		}
		wait(ctx, t.o.interval)
	}
}

func (t *top) loop(ctx context.Context, s *screen, keys <-chan byte, signals <-chan os.Signal, looks <-chan look) error {
	for {
		width, height := s.size()
		if err := s.show(t.view.lines(time.Now(), width, height)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case l := <-looks:
			t.view.take(l)
		case sig := <-signals:
			if sig == syscall.SIGTSTP {
				if err := suspend(ctx, s); err != nil {
					return err
				}
			}
		case key, ok := <-keys:
			switch {
			case !ok || key == 'q' || key == 'Q' || key == ctrlC || key == ctrlD:
				return nil
			case key == 's':
				t.view.nextOrder()
			case key == ctrlZ:
				if err := suspend(ctx, s); err != nil {
					return err
				}
			}
		}
	}
}

// suspend gives the terminal back and stops the process, as Ctrl-Z does, until somebody has
// it go on, which SIGCONT tells: the threads of a process do not stop at once.
func suspend(ctx context.Context, s *screen) error {
	goesOn := make(chan os.Signal, 1)
	signal.Notify(goesOn, syscall.SIGCONT)
	defer signal.Stop(goesOn)
	if err := s.leave(); err != nil {
		return err
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGSTOP); err != nil {
		return err
	}
	select {
	case <-goesOn:
	case <-ctx.Done():
	}
	return s.enter()
}
