package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// ErrToken is returned where Options.Token has failed, or returned what no header field and no frame can hold. It wraps
// the callback's own error.
var ErrToken = errors.New("client: no token")

// Refresh gets a fresh token by Options.Token and sends it over the connection that there is, so that it outlives the
// token that it came with; it returns when a pod has taken it. It waits for a connection where there is none; where the
// connection breaks before, it sends the token over the next one, too.
//
// A pod's refusal is a *RejectedError: not_allowed for a token that is bad, or of another user, and unavailable or rate
// for one that could not be looked at now. Other errors are those of RequestID, and ErrToken.
func (c *Client) Refresh(ctx context.Context) error {
	token, err := c.opts.token(ctx)
	if err != nil {
		return err
	}
	id := rand.Text()
	quoted, err := json.Marshal(token)
	if err != nil {
		return fmt.Errorf("client: encode token: %w", err)
	}
	frame := bytes.Join([][]byte{[]byte(`{"type":"token","id":"` + id + `","token":`), quoted, []byte(`}`)}, nil)
	return c.untilReceipt(ctx, id, frame)
}

// token calls Options.Token.
func (o Options) token(ctx context.Context) (string, error) {
	if o.Token == nil {
		return "", fmt.Errorf("%w: option Token is not given", ErrToken)
	}
	token, err := o.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrToken, err)
	}
	if !isToken(token) {
		// What is wrong with it is not shown: it may be nearly a good one.
		return "", fmt.Errorf("%w: option Token returned %d bytes: one or more visible characters of ASCII are allowed", ErrToken, len(token))
	}
	return token, nil
}

// isToken reports whether a header field can hold the token as one word.
func isToken(token string) bool {
	for _, c := range []byte(token) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return token != ""
}

// header is what is added to the handshake request.
func (o Options) header(ctx context.Context) (http.Header, error) {
	if o.Token == nil {
		return o.Header, nil
	}
	token, err := o.token(ctx)
	if err != nil {
		return nil, err
	}
	header := o.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Authorization", "Bearer "+token)
	return header, nil
}
