// Package systemd tells systemd how this process is, where it is a service of
// Type=notify: see sd_notify(3). Where it is none ($NOTIFY_SOCKET is not set), nothing is
// told to anybody.
package systemd

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Service is this process as systemd sees it. Its methods may be called from anywhere.
type Service struct {
	failed func(error)
	said   atomic.Bool // that it failed
}

// New returns the service that the environment tells of. failed is told of the first time
// that systemd could not be told.
func New(failed func(error)) *Service { return &Service{failed: failed} }

// Listens reports whether anybody is told.
func (s *Service) Listens() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// Ready says that the service has started, or that it has loaded its configuration.
func (s *Service) Ready() { s.tell(daemon.SdNotifyReady) }

// Reloading says that the service loads its configuration, until Ready.
func (s *Service) Reloading() {
	s.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Stopping says that the service ends, for which it takes so long at most, whatever
// TimeoutStopSec says.
func (s *Service) Stopping(within time.Duration) {
	s.tell(fmt.Sprintf("%s\nEXTEND_TIMEOUT_USEC=%d", daemon.SdNotifyStopping, within.Microseconds()))
}

// Status says in a line how the service is, for systemctl status.
func (s *Service) Status(text string) {
	s.tell("STATUS=" + strings.Join(strings.Fields(text), " "))
}

// Watch feeds systemd's watchdog (WatchdogSec) until ctx ends, three times in each of its
// periods: each time once alive has returned. Where it does not, the watchdog is fed no
// more, and late is told when a third of a period has gone by. Where there is no watchdog
// it returns at once.
func (s *Service) Watch(ctx context.Context, alive, late func()) {
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.fail(err)
	}
	if period <= 0 {
		return
	}
	every := time.NewTicker(period / 3)
	defer every.Stop()
	for ctx.Err() == nil {
		patience := time.AfterFunc(period/3, late)
		alive()
		patience.Stop()
		s.tell(daemon.SdNotifyWatchdog)
		select {
		case <-every.C:
		case <-ctx.Done():
		}
	}
}

func (s *Service) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.fail(err)
	}
}

func (s *Service) fail(err error) {
	if s.said.CompareAndSwap(false, true) {
		s.failed(fmt.Errorf("systemd: %w", err))
	}
}
