package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Request sends data, any JSON value, up to the backends under an id of its own, and returns when a pod has said that
// Redis has it. The result, if any, comes as a message. See RequestID.
func (c *Client) Request(ctx context.Context, data json.RawMessage) error {
	return c.RequestID(ctx, rand.Text(), data)
}

// RequestID is Request with the caller's id, 1 to 256 bytes, by which backends drop doubles. It waits for a connection
// where there is none, and where the connection breaks before the receipt came, sends the request again over the next
// one: at least once.
//
// A pod's refusal is a *RejectedError. ErrTooLarge: the pod's max_message is smaller. ErrDuplicateID: the id is in use.
// ErrClosed, with what ended it: Run has ended. After ctx's end it is not known whether the request has arrived.
func (c *Client) RequestID(ctx context.Context, id string, data json.RawMessage) error {
	frame, err := requestFrame(id, data)
	if err != nil {
		return err
	}
	return c.untilReceipt(ctx, id, frame)
}

// untilReceipt sends a frame with that id, over one connection after the other, until there is the receipt.
func (c *Client) untilReceipt(ctx context.Context, id string, frame []byte) error {
	receipt, err := c.expectReceipt(id)
	if err != nil {
		return err
	}
	defer c.forgetReceipt(id)
	for {
		l, err := c.connected(ctx)
		if err != nil {
			return err
		}
		err = l.send(ctx, frame)
		if errors.Is(err, ErrTooLarge) {
			return err
		}
		// Any other failure is the end of this connection, or of ctx.
		select {
		case f := <-receipt:
			return resultOf(f)
		case <-l.gone:
		case <-ctx.Done():
			return fmt.Errorf("client: wait for the receipt: %w", ctx.Err())
		}
		select {
		case f := <-receipt: // it came just before the end
			return resultOf(f)
		default:
		}
	}
}

func requestFrame(id string, data json.RawMessage) ([]byte, error) {
	if len(id) == 0 || len(id) > 256 || !utf8.ValidString(id) {
		return nil, fmt.Errorf("client: request id of %d bytes %.40q: 1 to 256 bytes of UTF-8 are allowed", len(id), id)
	}
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, fmt.Errorf("client: request data %.40q: one JSON value in UTF-8 is allowed", data)
	}
	quoted, err := json.Marshal(id)
	if err != nil {
		return nil, fmt.Errorf("client: encode request id: %w", err)
	}
	return bytes.Join([][]byte{[]byte(`{"type":"request","id":`), quoted, []byte(`,"data":`), data, []byte(`}`)}, nil), nil
}

func (c *Client) expectReceipt(id string) (<-chan Frame, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.receipts[id]; ok {
		return nil, fmt.Errorf("%w: %.40q", ErrDuplicateID, id)
	}
	receipt := make(chan Frame, 1) // one is enough: further receipts for the id say the same
	c.receipts[id] = receipt
	return receipt, nil
}

func (c *Client) forgetReceipt(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.receipts, id)
}

// receipt hands a receipt to the request that waits for it, if it still does.
func (c *Client) receipt(f Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.receipts[f.ID] <- f: // a nil channel, where nobody waits, is never ready
	default:
	}
}

func resultOf(f Frame) error {
	if f.Status == "accepted" {
		return nil
	}
	return &RejectedError{ID: f.ID, Code: f.Error, Reason: f.Reason}
}
