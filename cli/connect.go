package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	client "pushpod/clients/go"
	"pushpod/presence"
)

type connectOptions struct {
	url, ping   string
	token       string
	count       int
	noReconnect bool
	asJSON      bool
	tls         tlsOptions
}

// IsTerminal reports whether a stream, such as stdin, is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// newConnectCommand returns `pushpod connect USER`, a client in the terminal.
func newConnectCommand(isTerminal func(stream any) bool) *cobra.Command {
	var o connectOptions
	cmd := &cobra.Command{
		Use:   "connect USER",
		Short: "Connect as a user: print messages, send lines of stdin",
		Long: `Connect to a pod as a user, and stay connected.

Received frames are printed on stdout, one JSON object a line. Each change of the
connection is a line on stderr: connecting, connected, disconnected, retrying, not
sent, closed; with --json it is an object whose state says so. Each line of stdin is sent:
    {"type":"ping","id":"1"}    an object with a type: as a frame
    {"order":5}                 other JSON: as the data of a request
    hello                       other text: as the data of a request, a JSON string

Ctrl-C ends the command, and so does Ctrl-D at a terminal. If stdin is not a
terminal, its end does not end the connection: messages are printed until a
signal comes, or until --count is reached.

Exit status 1: the pod refused the connection, or closed it for good.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := exactArgs("USER")(cmd, args); err != nil {
				return err
			}
			if err := presence.ValidUser(args[0]); err != nil {
				return &usageError{Err: err}
			}
			return o.check()
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runConnect(cmd, o, args[0], isTerminal(cmd.InOrStdin()))
		},
	}
	cmd.Flags().StringVar(&o.url, "url", "ws://127.0.0.1:8080/ws", "the pod's endpoint, ws:// or wss://")
	o.tls.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.ping, "ping", "", "app or app,SECONDS (15-300): the pod pings with text frames")
	cmd.Flags().StringVar(&o.token, "token", "", "token of the user, where the pod asks for one; sent as Authorization: Bearer")
	cmd.Flags().IntVar(&o.count, "count", 0, "end after this number of messages; 0: never")
	cmd.Flags().BoolVar(&o.noReconnect, "no-reconnect", false, "end with exit status 1 when the connection ends")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print JSON on stderr too, for scripts")
	cmd.SetFlagErrorFunc(dashHint)
	return cmd
}

// pingAllowed is the contract's ?ping=: 15 to 300 seconds.
const pingAllowed = `^app(,(1[5-9]|[2-9][0-9]|[12][0-9][0-9]|300))?$`

func (o connectOptions) check() error {
	if ok, err := regexp.MatchString(pingAllowed, o.ping); err != nil || !ok && o.ping != "" {
		return usagef("connect: --ping is %q: app is allowed, and app,SECONDS with 15 to 300", o.ping)
	}
	if o.count < 0 {
		return usagef("connect: --count is %d: a number of messages is allowed, and 0 for no end", o.count)
	}
	return nil
}

// A terminal is one run of connect. The client calls its methods on its own
// goroutine; send runs on another.
type terminal struct {
	// Static once the client runs.
	client *client.Client
	count  int
	stdout io.Writer
	asJSON bool

	// Owned by the client's goroutine; read when it has ended.
	messages     int
	disconnected error // why the last connection ended
	printFailed  error

	mu     sync.Mutex // guards what follows
	stderr io.Writer
}

func runConnect(cmd *cobra.Command, o connectOptions, user string, atTerminal bool) error {
	// The first signal closes the connection properly, a second one ends at once.
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()

	tlsConfig, err := o.tls.config()
	if err != nil {
		return &usageError{Err: fmt.Errorf("connect: %w", err)}
	}
	t := &terminal{count: o.count, stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr(), asJSON: o.asJSON}
	header := http.Header{}
	if o.token != "" {
		header.Set("Authorization", "Bearer "+o.token)
	}
	c, err := client.New(client.Options{
		URL: o.url, User: user, Ping: o.ping, Header: header, TLS: tlsConfig, NoReconnect: o.noReconnect,
		OnFrame: t.print, OnMessage: t.counted,
		OnConnect: t.connected, OnDisconnect: t.ended, OnRetry: t.retrying,
	})
	if err != nil {
		return &usageError{Err: fmt.Errorf("connect: %w", err)}
	}
	t.client = c
	t.say(state{State: "connecting", URL: o.url, User: user}, "connecting to %s as %s", shown(o.url), shown(user))

	var sending sync.WaitGroup
	var inputFailed error
	sendCtx, stopSending := context.WithCancel(ctx)
	sending.Go(func() {
		inputFailed = t.send(sendCtx, typedLines(sendCtx, cmd.InOrStdin()))
		if inputFailed != nil || atTerminal {
			c.Close()
		}
	})
	err = c.Run(ctx)
	stopSending()
	sending.Wait()

	if err = errors.Join(t.printFailed, inputFailed, unlessSignalled(ctx, err)); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	t.say(state{State: "closed"}, "closed")
	return nil
}

// unlessSignalled returns nil for the error of a ctx that has ended: that was asked for.
func unlessSignalled(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// print writes a frame as it was received, on a line of its own.
func (t *terminal) print(f client.Frame) {
	if t.printFailed != nil {
		return
	}
	if _, err := t.stdout.Write(append(oneLine(f.Raw), '\n')); err != nil {
		t.printFailed = written(err)
		t.client.Close()
	}
}

// oneLine returns the same JSON without line breaks and control characters. Line breaks
// are only between JSON's tokens, where a space will do; DEL and C1 controls only in its
// strings, where C0 controls are not allowed.
func oneLine(frame []byte) []byte {
	line := make([]byte, 0, len(frame)+1)
	for _, r := range string(frame) {
		switch {
		case r == '\n' || r == '\r':
			line = append(line, ' ')
		case r >= 0x7f && r <= 0x9f:
			line = fmt.Appendf(line, `\u%04x`, r)
		default:
			line = utf8.AppendRune(line, r)
		}
	}
	return line
}

func (t *terminal) counted(client.Message) {
	t.messages++
	if t.messages == t.count {
		t.client.Close()
	}
}

// A state is a line on stderr with --json.
type state struct {
	State  string `json:"state"` // connecting, connected, disconnected, retrying, not_sent, closed
	URL    string `json:"url,omitempty"`
	User   string `json:"user,omitempty"`
	UUID   string `json:"uuid,omitempty"`
	InMs   *int64 `json:"in_ms,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (t *terminal) connected(w client.Welcome) {
	t.say(state{State: "connected", User: w.User, UUID: w.UUID}, "connected as %s, connection %s", shown(w.User), shown(w.UUID))
}

func (t *terminal) ended(err error) {
	t.disconnected = err
	if errors.Is(err, context.Canceled) || errors.Is(err, client.ErrHandover) {
		return // this command closed it, or the next connection is there
	}
	t.say(state{State: "disconnected", Reason: err.Error()}, "disconnected: %v", err)
}

func (t *terminal) retrying(err error, wait time.Duration) {
	ms := wait.Milliseconds()
	s := state{State: "retrying", InMs: &ms, Reason: err.Error()}
	wait = wait.Round(time.Millisecond)
	if err == t.disconnected { // it has just been printed
		t.say(s, "retrying in %v", wait)
		return
	}
	t.say(s, "not connected, retrying in %v: %v", wait, err)
}

// say prints the state of the connection. If stderr is gone, so is the place to say that.
func (t *terminal) say(s state, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asJSON {
		_ = writeJSON(t.stderr, s)
		return
	}
	_ = writeLine(t.stderr, format, args...)
}

// A typedLine is a line, or why there are no more.
type typedLine struct {
	text []byte
	err  error
}

// maxLine is far more than a pod accepts.
const maxLine = 1 << 20

// typedLines reads lines until ctx ends; the channel is closed at the end of
// in. Nothing waits for the goroutine: a read from a terminal cannot be
// interrupted, and ends with its next line or with the process.
func typedLines(ctx context.Context, in io.Reader) <-chan typedLine {
	lines := make(chan typedLine)
	go func() {
		defer close(lines)
		give := func(l typedLine) {
			select {
			case lines <- l:
			case <-ctx.Done():
			}
		}
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, maxLine)
		for ctx.Err() == nil && scanner.Scan() {
			give(typedLine{text: bytes.Clone(scanner.Bytes())})
		}
		if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
			give(typedLine{err: fmt.Errorf("a line on stdin has more than %d bytes", maxLine)})
		} else if err != nil {
			give(typedLine{err: fmt.Errorf("read stdin: %w", err)})
		}
	}()
	return lines
}

// send sends line by line, each when the one before it has its receipt, until
// ctx ends or there are no more.
func (t *terminal) send(ctx context.Context, lines <-chan typedLine) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-lines:
			if !ok || line.err != nil {
				return line.err
			}
			err := t.sendLine(ctx, bytes.TrimSpace(line.text))
			rejected := (*client.RejectedError)(nil)
			if err == nil || errors.As(err, &rejected) {
				continue // the receipt has been printed
			}
			if errors.Is(err, client.ErrClosed) || ctx.Err() != nil {
				return nil // the connection's end has been told, or was wanted
			}
			t.say(state{State: "not_sent", Reason: err.Error()}, "not sent: %v", err)
		}
	}
}

func (t *terminal) sendLine(ctx context.Context, line []byte) error {
	var members map[string]json.RawMessage // stays nil where line is no object
	switch {
	case len(line) == 0:
		return nil
	case !utf8.Valid(line):
		return errors.New("the line is not UTF-8")
	case !json.Valid(line):
		text, err := json.Marshal(string(line))
		if err != nil {
			return fmt.Errorf("quote the line: %w", err)
		}
		return t.client.Request(ctx, text)
	case json.Unmarshal(line, &members) == nil && members["type"] != nil:
		return t.client.Send(ctx, line)
	}
	return t.client.Request(ctx, line)
}
