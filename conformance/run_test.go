package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	pushclient "pushpod/clients/go"
)

func options(start func(context.Context, string) (func(), error)) Options {
	return Options{Listen: "127.0.0.1:0", Start: start, Wait: 6 * time.Second, Quiet: time.Second, Retry: 300 * time.Millisecond}
}

const asksForAll = "ping=app&goaway=1&refuse=close"

func TestAClientThatKeepsAllRulesPasses(t *testing.T) {
	t.Parallel()
	o := options(startModel(""))
	o.Query = asksForAll
	verdicts, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(verdicts) != len(Rules()) {
		t.Errorf("%d verdicts for %d rules", len(verdicts), len(Rules()))
	}
	for _, v := range verdicts {
		if v.Result != Pass {
			t.Errorf("%s: %s, %s", v.Rule, v.Result, v.Reason)
		}
	}
}

// Each rule finds the client that breaks it.
func TestClientsThatBreakARuleFail(t *testing.T) {
	faults := map[string][]string{ // the fault → the rules that find it
		"other subprotocol":                  {"handshake"},
		"drops what came with the handshake": {"welcome"},
		"knows no other types":               {"unknown"},
		"knows no fragments":                 {"fragments"},
		"answers no ping":                    {"pings"},
		"answers no app ping":                {"app-pings"},
		"drops no duplicates":                {"duplicates"},
		"forgets ids":                        {"duplicates"},
		"repeats nothing":                    {"requests"},
		"makes new ids":                      {"requests"},
		"repeats all":                        {"accepted"},
		"answers no close":                   {"close-answered"},
		"ignores goaway":                     {"goaway"},
		"closes first":                       {"goaway"},
		"closes too early":                   {"goaway"},
		"never closes":                       {"goaway"},
		"replaces nothing":                   {"goaway"},
		"deaf on the old one":                {"goaway"},
		"ignores retry_ms":                   {"close-1001", "close-1013", "close-4029", "close-4053"},
		"hammers":                            {"close-1008", "close-4001", "broken", "unavailable"},
		"never comes again":                  {"close-1001", "close-4000", "close-4100"},
		"comes again":                        {"close-4003", "close-4500", "close-4501", "close-4600"},
		"sends nonsense":                     {"frames"},
	}
	found := map[string]bool{}
	for fault, rules := range faults {
		for _, rule := range rules {
			found[rule] = true
		}
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			o := options(startModel(fault))
			o.Query, o.Only = asksForAll, rules
			o.Wait = 2 * time.Second
			verdicts, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if len(verdicts) != len(rules) {
				t.Errorf("%d verdicts, want %d", len(verdicts), len(rules))
			}
			for _, v := range verdicts {
				if v.Result != Fail || v.Reason == "" {
					t.Errorf("%s: %s %q, want fail", v.Rule, v.Result, v.Reason)
				}
				t.Log(v.Rule, v.Reason)
			}
		})
	}
	for _, v := range Rules() {
		if !found[v.Rule] {
			t.Errorf("no client is tried that breaks %s", v.Rule)
		}
	}
}

// A client's author is told what is wrong, and not also what follows from it.
func TestVerdictsNameTheFault(t *testing.T) {
	few := []string{"handshake", "welcome", "unknown", "fragments", "pings", "close-4500", "frames"}
	for fault, reasons := range map[string]map[string]string{ // the fault → rule → what its reason says; all other rules are kept
		"has a JSON encoder of its own":      nil,
		"answers no ping":                    {"pings": "a WebSocket ping was not answered"},
		"drops what came with the handshake": {"welcome": "the client loses what it has read with the handshake's answer"},
		"sends binary frames":                {"frames": "a binary frame", "welcome": "(1003): a binary frame", "unknown": "(1003): a binary frame", "fragments": "(1003): a binary frame"},
		"has numbers for ids":                {"frames": "a frame whose id is a number and must be a string"},
		"knows no other types":               {"unknown": "the client has closed the connection with 1002"},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			o := options(startModel(fault))
			o.Query, o.Only, o.Wait = asksForAll, few, 2*time.Second
			verdicts, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range verdicts {
				want, fails := reasons[v.Rule]
				if fails != (v.Result == Fail) || fails && !strings.Contains(v.Reason, want) {
					t.Errorf("%s: %s %q, want %q", v.Rule, v.Result, v.Reason, want)
				}
			}
		})
	}
}

func TestAClientThatNeverComesFails(t *testing.T) {
	t.Parallel()
	o := options(func(context.Context, string) (func(), error) { return func() {}, nil })
	o.Wait, o.Only = 50*time.Millisecond, []string{"handshake", "pings"}
	verdicts, err := Run(t.Context(), o)
	if err != nil || len(verdicts) != 2 || verdicts[0].Result != Fail || !strings.Contains(verdicts[0].Reason, "no connection") {
		t.Errorf("%+v, %v", verdicts, err)
	}
}

func TestTheGoClientPasses(t *testing.T) {
	t.Parallel()
	o := options(startGo)
	o.Query = "ping=app&refuse=close"
	verdicts, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verdicts {
		if v.Result != Pass {
			t.Errorf("%s: %s, %s", v.Rule, v.Result, v.Reason)
		}
	}
}

// startGo runs the project's own client, with an application that sends back what it is handed.
func startGo(ctx context.Context, url string) (func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	messages := make(chan json.RawMessage, 100)
	c, err := pushclient.New(pushclient.Options{
		URL:       url,
		Backoff:   pushclient.Backoff{Min: 200 * time.Millisecond, Max: 2 * time.Second},
		OnMessage: func(m pushclient.Message) { messages <- m.Data },
	})
	if err != nil {
		cancel()
		return nil, err
	}
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) })
	running.Go(func() {
		for {
			select {
			case data := <-messages:
				running.Go(func() { sendBack(ctx, c, data) })
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); running.Wait() }, nil
}

// sendBack repeats a request for as long as it is not known whether it was taken.
func sendBack(ctx context.Context, c *pushclient.Client, data json.RawMessage) {
	for id := newUUID(); ; {
		err := c.RequestID(ctx, id, data)
		if refused := (*pushclient.RejectedError)(nil); !errors.As(err, &refused) || refused.Code != "unavailable" {
			return
		}
	}
}
