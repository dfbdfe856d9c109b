package auth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// HookOptions configures a [Hook].
type HookOptions struct {
	URL     string        // http or https; a name and password in it are sent (RFC 7617). Required
	Timeout time.Duration // from a question to its answer. Required

	ValidID func(id string) bool // says whether what the hook names may be a user id. Required
	Now     func() time.Time     // default time.Now

	// Log is told when the circuit opens and closes, for operators; err is nil where that is
	// good. LogFailure is told of each answer that can't be used, which may be often. Both may
	// be called from any goroutine of Run. Default: nobody.
	Log, LogFailure func(what string, err error)
}

// Hook asks a service of the operator's who may connect. Its methods may be called from
// any goroutine.
type Hook struct {
	opts    HookOptions
	client  *http.Client
	circuit *gobreaker.CircuitBreaker[Verdict]
	queue   chan asked
	hookCounters
}

const (
	maxAsking = 64   // questions that are asked at once, each over a connection of its own
	maxAsked  = 1024 // questions that wait for their turn
)

// Question is what a hook is asked about a handshake. What is not known is "".
type Question struct {
	User   string `json:"user,omitempty"`
	Token  string `json:"token,omitempty"`
	IP     string `json:"ip,omitempty"`
	Origin string `json:"origin,omitempty"`
	Device string `json:"device,omitempty"`
}

// Verdict is the answer of a hook that lets a client in.
type Verdict struct {
	User    string    // whose connection it is; "": of the user who was asked about
	Expires time.Time // when it ends; zero: the hook does not say
	Topics  []string  // nil: it does not say
}

// ErrUndecided is given where the hook can't be asked, or answers what it should not:
// 503. The client may be a good one.
var ErrUndecided = errors.New("who may connect can't be asked now")

// Denied is a hook's refusal.
type Denied struct {
	Status int    // 401 or 403
	Reason string // for the client; it holds nothing of the token
}

func (d *Denied) Error() string { return d.Reason }

// asked is a question on its way.
type asked struct {
	Question
	since  time.Time
	wanted func() bool
	done   func(Verdict, error)
}

// NewHook makes a Hook. Nothing is asked before Run is called.
func NewHook(o HookOptions) (*Hook, error) {
	if u, err := url.Parse(o.URL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("a hook must be an http or https URL") // err would show the URL
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	nobody := func(string, error) {}
	if o.Log == nil {
		o.Log = nobody
	}
	if o.LogFailure == nil {
		o.LogFailure = nobody
	}
	h := &Hook{opts: o, client: newHookClient(o.Timeout), queue: make(chan asked, maxAsked)}
	h.circuit = gobreaker.NewCircuitBreaker[Verdict](h.circuitSettings())
	return h, nil
}

// Ask has the hook asked. done is called once, from a goroutine of Run, with a verdict,
// a [Denied], or ErrUndecided: within the time-out, unless Run ends before. wanted is
// called before that, likewise: where it returns false, the hook is not asked. Ask never
// blocks; where it returns ErrUndecided, too many questions wait, and neither is called.
func (h *Hook) Ask(q Question, wanted func() bool, done func(Verdict, error)) error {
	select {
	case h.queue <- asked{Question: q, since: time.Now(), wanted: wanted, done: done}:
		return nil
	default:
		h.count(hookBusy)
		return ErrUndecided
	}
}

// Run asks the questions until ctx ends. Its caller waits for it.
func (h *Hook) Run(ctx context.Context) {
	defer h.client.CloseIdleConnections()
	var all sync.WaitGroup
	for range maxAsking {
		all.Go(func() { h.work(ctx) })
	}
	all.Wait()
}

func (h *Hook) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-h.queue:
			a.done(h.decide(ctx, &a))
		}
	}
}

// decide asks one question. One that has waited for half of its time is given up: what
// would be left of it might be too short for a hook that is well.
func (h *Hook) decide(ctx context.Context, a *asked) (Verdict, error) {
	if !a.wanted() {
		return Verdict{}, ErrUndecided
	}
	if time.Since(a.since) > h.opts.Timeout/2 {
		h.count(hookBusy)
		return Verdict{}, ErrUndecided
	}
	ctx, cancel := context.WithDeadline(ctx, a.since.Add(h.opts.Timeout))
	defer cancel()
	v, err := h.circuit.Execute(func() (Verdict, error) {
		defer h.took(time.Now())
		return h.post(ctx, &a.Question)
	})
	return v, h.settle(err)
}

// settle counts how a question has ended, has it logged where the hook is to blame, and
// returns what the client is told.
func (h *Hook) settle(err error) error {
	var denied *Denied
	switch {
	case err == nil:
		h.count(hookAllowed)
		return nil
	case errors.As(err, &denied):
		h.count(hookRefused)
		return denied
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		h.count(hookOpen)
	case errors.Is(err, context.Canceled): // Run ends
	case errors.Is(err, context.DeadlineExceeded):
		h.count(hookTimedOut)
		h.opts.LogFailure("no answer within auth.hook_timeout", err)
	default:
		h.count(hookFailed)
		h.opts.LogFailure("not what a hook answers", err)
	}
	return ErrUndecided
}
