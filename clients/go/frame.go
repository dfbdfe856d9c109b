package client

import (
	"encoding/json"
	"errors"
	"fmt"
)

// A Message is a push.
type Message struct {
	// ID is the producer's own name for the message; empty where it gave none.
	ID string
	// Data is the JSON value as the producer sent it, byte for byte. The receiver may keep and change it.
	Data json.RawMessage
}

// A Welcome is what a pod says first: the connection is registered, and pushes will come.
type Welcome struct {
	UUID       string `json:"uuid"`        // names this connection
	User       string `json:"user"`        // whose connection it is
	Ping       int    `json:"ping"`        // seconds between the pod's pings; 0: unknown
	MaxMessage int    `json:"max_message"` // bytes of the largest frame that the pod takes; 0: unknown
	Time       int64  `json:"time"`        // the pod's clock, Unix milliseconds
}

// A Frame is one frame from the server. Which members it has depends on its type.
type Frame struct {
	Type     string          `json:"type"`      // welcome, message, receipt, error, ping, goaway, or one yet unknown
	ID       string          `json:"id"`        // of a message or a receipt
	Data     json.RawMessage `json:"data"`      // of a message
	Status   string          `json:"status"`    // of a receipt: accepted or rejected
	Error    string          `json:"error"`     // of an error, or a rejected receipt: bad_frame, rate, …
	Reason   string          `json:"reason"`    // the same for people
	WithinMS int64           `json:"within_ms"` // of a goaway: milliseconds until the close
	Welcome

	Raw []byte `json:"-"` // the frame as it came
}

// parseFrame reads a text frame's payload, which it keeps as Raw.
func parseFrame(payload []byte) (Frame, error) {
	f := Frame{Raw: payload}
	err := json.Unmarshal(payload, &f)
	if cause := (*json.UnmarshalTypeError)(nil); errors.As(err, &cause) && f.Type != "" && !f.known() {
		// A later version's frame may use our members differently. Such frames are to be ignored, not to be refused. A
		// goaway is understood without its member.
		return Frame{Type: f.Type, Raw: payload}, nil
	}
	if err != nil {
		return f, fmt.Errorf("%w: %w", ErrBadFrame, err)
	}
	if f.Type == "" {
		return f, fmt.Errorf("%w: no type", ErrBadFrame)
	}
	return f, nil
}

func (f Frame) known() bool {
	switch f.Type {
	case "welcome", "message", "receipt", "error", "ping":
		return true
	}
	return false
}
