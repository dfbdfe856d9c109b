package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxVerdict bounds a hook's answer in bytes.
const maxVerdict = 64 << 10

// oddAnswer is why an answer can't be used, of a hook that is well enough to give one.
// It is for operators, and holds nothing of question and answer.
type oddAnswer string

func (o oddAnswer) Error() string { return string(o) }

// newHookClient makes a client whose connections are kept: one for each question that is
// asked at once. It goes nowhere but to the hook: by no proxy, and along no redirect.
func newHookClient(timeout time.Duration) *http.Client {
	var plain http.Protocols // over one connection of HTTP/2 all would wait for one
	plain.SetHTTP1(true)
	return &http.Client{
		Transport: &http.Transport{
			Protocols: &plain,
			// The attempt to connect outlives the question, for the next one.
			DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
			TLSHandshakeTimeout:    timeout,
			MaxIdleConns:           maxAsking,
			MaxIdleConnsPerHost:    maxAsking,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // what is bounded is what is read
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// post asks the hook once, but twice where a kept connection breaks before the answer.
// Errors are Denied, oddAnswer, or what shows that the hook is not well.
func (h *Hook) post(ctx context.Context, q *Question) (Verdict, error) {
	status, body, err := h.exchange(ctx, q)
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden: // whatever is in it
		return Verdict{}, &Denied{Status: status, Reason: readReason(body, status, q.Token)}
	case err != nil:
		return Verdict{}, err
	case status == http.StatusOK:
		return h.readVerdict(body)
	case status >= http.StatusInternalServerError:
		return Verdict{}, fmt.Errorf("it answers with status %d", status)
	}
	return Verdict{}, oddAnswer(fmt.Sprintf("it answers with status %d; 200, 401 and 403 mean something", status))
}

// exchange returns the status of the answer, 0 where there is none, and its body. With an
// error there is no body, or not all of it.
func (h *Hook) exchange(ctx context.Context, q *Question) (int, []byte, error) {
	question, err := json.Marshal(q)
	if err != nil {
		return 0, nil, fmt.Errorf("writing the question: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.opts.URL, bytes.NewReader(question))
	if err != nil {
		return 0, nil, fmt.Errorf("asking: %w", withoutURL(err))
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "pushpod")
	r.Header["Idempotency-Key"] = nil // not sent: it allows to ask again over another connection
	answer, err := h.client.Do(r)
	if err != nil {
		return 0, nil, fmt.Errorf("asking: %w", withoutURL(err))
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxVerdict+1))
	if err != nil {
		err = fmt.Errorf("reading its answer: %w", withoutURL(err))
	} else if len(body) > maxVerdict {
		err = oddAnswer(fmt.Sprintf("its answer is larger than %d bytes", maxVerdict))
	}
	return answer.StatusCode, body, err
}

// readReason returns the reason in a refusal, or one that stands for it. The reason is
// logged: it must not hold the token.
func readReason(body []byte, status int, token string) string {
	reason, ok := readMember(body, "reason", maxReason)
	switch {
	case ok && (token == "" || !strings.Contains(reason, token)):
		return reason
	case status == http.StatusUnauthorized:
		return "the client is not accepted"
	}
	return "the client is not allowed in"
}
