package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"
)

// A frame is one text frame of a client's.
type frame struct {
	Type  string          `json:"type"`
	ID    *string         `json:"id"`
	Data  json.RawMessage `json:"data"`
	Token *string         `json:"token"`
}

// parse reads a client's frame and holds it against the protocol.
func parse(text []byte) (frame, error) {
	var f frame
	if !utf8.Valid(text) {
		return f, errors.New("a frame that is not UTF-8")
	}
	if err := json.Unmarshal(text, &f); err != nil {
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) && wrong.Field != "" {
			return f, fmt.Errorf("a frame whose %s is a %s and must be a string: %.80q", wrong.Field, wrong.Value, text)
		}
		return f, fmt.Errorf("a frame that is no JSON object: %.80q", text)
	}
	if f.ID != nil && (len(*f.ID) == 0 || len(*f.ID) > 256) {
		return f, fmt.Errorf("an id of %d bytes: 1 to 256 are allowed", len(*f.ID))
	}
	switch f.Type {
	case "request":
		if f.ID == nil || f.Data == nil {
			return f, fmt.Errorf("a request without id or data: %.80q", text)
		}
	case "token":
		if f.ID == nil || f.Token == nil {
			return f, errors.New("a token frame without id or token")
		}
	case "ping", "pong":
	default:
		return f, fmt.Errorf("a frame of type %.40q: request, ping, pong and token are known", f.Type)
	}
	return f, nil
}

// isRequest reports whether the frame asks with that data, however the client's JSON encoder writes it.
func (f frame) isRequest(data string) bool {
	if f.Type != "request" {
		return false
	}
	var got, want any
	return json.Unmarshal(f.Data, &got) == nil && json.Unmarshal([]byte(data), &want) == nil && reflect.DeepEqual(got, want)
}
