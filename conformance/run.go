package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Options say whom to look at, and how long.
type Options struct {
	// Listen is the address of the pod that is played, on which the client connects: host:port.
	Listen string
	// Query is added to the URL that the client gets, such as goaway=1&ping=app.
	Query string
	// Only names the rules to play; nil: all of them. The rule welcome is played in any case: it tells what can be seen.
	Only []string
	// Start starts a client for a URL, once for each rule; it returns what ends that client. nil: somebody else starts
	// it, and again where a rule has ended it.
	Start func(ctx context.Context, url string) (stop func(), err error)
	// Again asks for a client to be started, where Start is nil.
	Again func(url string)
	// Wait is how long to wait for what a client must do. Zero: 10 s.
	Wait time.Duration
	// Quiet is how long a client that must stay away is watched. Zero: 3 s.
	Quiet time.Duration
	// Retry is what retry_ms says to clients. Zero: 1.5 s.
	Retry time.Duration
	// OnVerdict is called for each verdict as it is known.
	OnVerdict func(Verdict)
}

// A Result is what became of a rule.
type Result string

// The results.
const (
	Pass Result = "pass"
	Fail Result = "fail"
	Skip Result = "skip" // it does not apply to this client, or could not be seen
)

// A Verdict is the result of one rule.
type Verdict struct {
	Rule   string `json:"rule"`
	About  string `json:"about"`
	Result Result `json:"result"`
	Reason string `json:"reason,omitempty"` // why it is not pass; of some that are, what was seen
}

// Rules names the rules and says what each of them asks for.
func Rules() []Verdict {
	var all []Verdict
	for _, r := range rules() {
		all = append(all, Verdict{Rule: r.name, About: r.about})
	}
	return all
}

// Run plays all rules, one behind the other, and returns their verdicts. The error says why it could not: the address is
// taken, the client can't be started, ctx has ended. That a client never comes is a verdict.
func Run(ctx context.Context, o Options) ([]Verdict, error) {
	if o.Wait == 0 {
		o.Wait = 10 * time.Second
	}
	if o.Quiet == 0 {
		o.Quiet = 3 * time.Second
	}
	if o.Retry == 0 {
		o.Retry = 1500 * time.Millisecond
	}
	pod, err := listen(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("conformance: listen: %w", err)
	}
	defer pod.close()
	r := &run{ctx: ctx, opts: o, pod: pod, gone: true}
	var verdicts []Verdict
	for _, rule := range rules() {
		asked := len(o.Only) == 0 || slices.Contains(o.Only, rule.name)
		if !asked && rule.name != "welcome" {
			continue
		}
		v, err := r.play(rule)
		if err != nil {
			return verdicts, err
		}
		if !asked {
			continue
		}
		verdicts = append(verdicts, v)
		if o.OnVerdict != nil {
			o.OnVerdict(v)
		}
	}
	return verdicts, nil
}

// run is the state of one Run.
type run struct {
	ctx  context.Context
	opts Options
	pod  *pod

	starts int  // of clients
	gone   bool // a rule has ended the client, and somebody must start it

	// What is known of the client.
	echoes    bool // its application sends back what it is handed
	pongless  bool // it answers no pings
	loses     bool // it loses what comes with the handshake's answer
	badFrames []error
	frames    int

	hold bool // the rule answers requests by itself
}

// errSkipped is the error of a rule that does not apply.
type errSkipped struct{ why string }

func (e errSkipped) Error() string { return e.why }

func skip(why string) error { return errSkipped{why} }

// noted is no error: the rule is kept, and this is to be told.
type noted struct{ what string }

func (n noted) Error() string { return n.what }

// play plays one rule with a client of its own.
func (r *run) play(rule rule) (Verdict, error) {
	v := Verdict{Rule: rule.name, About: rule.about, Result: Pass}
	stop, err := r.start()
	if err != nil {
		return v, err
	}
	err = rule.play(r)
	r.hold = false
	r.pod.hangUp()
	stop()
	if e := r.ctx.Err(); e != nil {
		return v, fmt.Errorf("conformance: %w", e)
	}
	var skipped errSkipped
	var note noted
	switch {
	case err == nil:
	case errors.As(err, &skipped):
		v.Result, v.Reason = Skip, err.Error()
	case errors.As(err, &note):
		v.Reason = err.Error()
	default:
		v.Result, v.Reason = Fail, err.Error()
	}
	return v, nil
}

func (r *run) start() (stop func(), err error) {
	if r.opts.Start != nil {
		r.starts++
	}
	url := r.pod.url(r.opts.Query, r.starts)
	if r.opts.Start != nil {
		stop, err = r.opts.Start(r.ctx, url)
		if err != nil {
			return nil, fmt.Errorf("conformance: start the client: %w", err)
		}
		return stop, nil
	}
	if r.gone && r.opts.Again != nil {
		r.opts.Again(url)
	}
	r.gone = false
	return func() {}, nil
}
