package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pushpod/presence"
	"pushpod/producer"
)

const (
	maxBody     = 4 << 20 // bytes: an envelope of 1 MiB, as a string of JSON
	bodyTimeout = 5 * time.Second
)

// read reads what is to be done; else it has answered.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	body.DisallowUnknownFields()
	err := body.Decode(into)
	if err == nil {
		if _, more := body.Token(); more != io.EOF {
			err = errors.New("something stands behind the JSON")
		}
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if err != nil {
		failed(w, http.StatusBadRequest, err)
	}
	return err == nil
}

// connectionOf reads the UUID of a connection.
func connectionOf(text string) (presence.UUID, error) {
	uuid, ok := presence.ParseUUID(text)
	if !ok {
		return uuid, errors.New(strconv.Quote(text) + " is no UUID of a connection: 36 characters in lower case")
	}
	return uuid, nil
}

// push is a message that the console is to push.
func (c *Console) push(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		User        string   `json:"user"`
		Connections []string `json:"connections"`
		All         bool     `json:"all"`
		Data        string   `json:"data"` // JSON, as text
		ID          string   `json:"id"`
		TTL         int64    `json:"ttl_ms"`
		Collapse    string   `json:"collapse"`
	}
	if !read(w, r, &ask) {
		return
	}
	if !utf8.ValidString(ask.Data) || !json.Valid([]byte(ask.Data)) {
		failed(w, http.StatusBadRequest, errors.New("data is not JSON"))
		return
	}
	m := producer.Message{User: ask.User, All: ask.All, Data: ask.Data}
	for _, text := range ask.Connections {
		uuid, err := connectionOf(text)
		if err != nil {
			failed(w, http.StatusBadRequest, err)
			return
		}
		m.Connections = append(m.Connections, uuid)
	}
	for name, value := range map[string]string{"id": ask.ID, "collapse": ask.Collapse} {
		if value != "" {
			m.Pairs = append(m.Pairs, name, value)
		}
	}
	if ask.TTL != 0 {
		m.Pairs = append(m.Pairs, "ttl", strconv.FormatInt(ask.TTL, 10))
	}
	sent, err := c.Producer.Push(r.Context(), m)
	if len(sent) > 0 {
		whom := ask.User
		if whom == "" {
			whom = strings.Join(ask.Connections, " ")
		}
		c.tell(r, "push", whom)
	}
	addressed := 0
	for _, s := range sent {
		if s.Subscribers > 0 {
			addressed += s.Connections
		}
	}
	respond(w, err, map[string]any{"addressed": addressed, "sent": append([]producer.Sent{}, sent...)})
}

// kick closes connections of a user, and blocks it first where that is asked for.
func (c *Console) kick(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		User       string `json:"user"`
		Connection string `json:"connection"` // the only one; "": all
		Block      int64  `json:"block_ms"`   // 0: none
		Reason     string `json:"reason"`
	}
	if !read(w, r, &ask) {
		return
	}
	k := producer.Kick{Reason: ask.Reason}
	const most = int64(10 * 365 * 24 * time.Hour / time.Millisecond)
	if ask.Block < 0 || ask.Block > most {
		failed(w, http.StatusBadRequest, errors.New("block_ms must be from 1 to "+strconv.FormatInt(most, 10)+", or 0 for no block"))
		return
	}
	k.Lasts = time.Duration(ask.Block) * time.Millisecond
	if ask.Connection != "" {
		uuid, err := connectionOf(ask.Connection)
		if err != nil {
			failed(w, http.StatusBadRequest, err)
			return
		}
		k.Connection = &uuid
	}
	if err := k.Check(ask.User); err != nil {
		failed(w, http.StatusBadRequest, err)
		return
	}
	done, err := c.Producer.Kick(r.Context(), ask.User, k)
	if done.Blocked > 0 {
		c.tell(r, "block", ask.User)
	}
	if len(done.Sent) > 0 {
		c.tell(r, "kick", ask.User)
	}
	body := map[string]any{"closed": done.Closed, "sent": append([]producer.Sent{}, done.Sent...)}
	if done.Blocked > 0 {
		body["blocked_ms"] = done.Blocked
	}
	respond(w, err, body)
}

// unblock ends a user's block.
func (c *Console) unblock(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		User string `json:"user"`
	}
	if !read(w, r, &ask) {
		return
	}
	was, err := c.Producer.Unblock(r.Context(), ask.User)
	if was {
		c.tell(r, "unblock", ask.User)
	}
	respond(w, err, map[string]any{"was": was})
}

// respond says what was done, and what went wrong.
func respond(w http.ResponseWriter, err error, body map[string]any) {
	status := http.StatusOK
	if err != nil {
		status, body["error"] = http.StatusBadGateway, err.Error()
		if producer.IsBadInput(err) {
			status = http.StatusBadRequest
		}
	}
	answer(w, status, body)
}

func (c *Console) tell(r *http.Request, what, whom string) {
	if c.Acted != nil {
		c.Acted(what, whom, remoteOf(r))
	}
}
