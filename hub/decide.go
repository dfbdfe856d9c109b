package hub

import (
	"errors"
	"net/http"
	"strings"

	"pushpod/auth"
	"pushpod/conn"
	"pushpod/presence"
)

// undecided is a handshake that is decided off the loops: its token takes long to verify,
// or a hook is asked. Its session is not in the registry, and waits for both at most. It
// holds nothing but its own connection.
type undecided struct {
	session  *session
	claim    claim
	opens    bool          // it asks for a connection
	replaces presence.UUID // the connection whose place it takes; zero: none
	question auth.Question // for the hook; zero where there is none
}

// decidesLater reports whether a handshake is decided off the loops.
func (h *Hub) decidesLater(c claim) bool { return c.token != "" || h.opts.Hook != nil }

// decideLater has a handshake decided off the loops. r is what the client asked for.
func (h *Hub) decideLater(s *session, c claim, r *conn.Request, replaces presence.UUID) *conn.Refusal {
	u := undecided{session: s, claim: c, opens: opens(r), replaces: replaces}
	if h.opts.Hook != nil {
		u.question = h.question(r)
	}
	if c.token != "" {
		return h.verifyLater(u)
	}
	return h.askHook(u)
}

// question is what the hook is asked, but for the user.
func (h *Hub) question(r *conn.Request) auth.Question {
	device, _ := r.Query.Get("device")
	token, _ := findToken(r, h.settings.Load().Cookie)
	return auth.Question{
		Token:  strings.Clone(token),
		IP:     r.Remote.String(),
		Origin: strings.Clone(r.Origin),
		Device: strings.Clone(device),
	}
}

// askHook has the hook asked about a handshake, if its client still waits by then.
func (h *Hub) askHook(u undecided) *conn.Refusal {
	u.question.User = u.claim.user
	waits := func() (yes bool) {
		u.session.conn.Decide(func() { yes = true })
		return yes
	}
	err := h.opts.Hook.Ask(u.question, waits, func(v auth.Verdict, err error) { h.hookAnswered(u, v, err) })
	if err != nil {
		return unavailable(err.Error())
	}
	return nil
}

// hookAnswered goes on with a handshake about which the hook was asked.
func (h *Hub) hookAnswered(u undecided, v auth.Verdict, err error) {
	var denied *auth.Denied
	switch {
	case errors.As(err, &denied):
		h.refuse(u.session, deniedBy(denied))
	case err != nil:
		h.refuse(u.session, unavailable(err.Error()))
	default:
		h.letIn(u, v)
	}
}

func deniedBy(d *auth.Denied) *conn.Refusal {
	if d.Status == http.StatusForbidden {
		return forbidden(d.Reason)
	}
	return unauthorized(d.Reason)
}

// letIn asks Redis about the session of a handshake, where all else has let it in. Its
// user is the one whom the hook names, if it does.
func (h *Hub) letIn(u undecided, v auth.Verdict) {
	var refusal *conn.Refusal
	// The connection may have ended: then it must not come into presence.
	u.session.conn.Decide(func() {
		s := u.session
		s.take(u.claim)
		if v.User != "" {
			s.user = v.User
		}
		h.verdicts.add(s, verdict{ends: v.Expires, asked: u.claim.user})
		refusal = h.ask(s, u.opens, u.replaces)
	})
	if refusal != nil {
		h.refuse(u.session, refusal)
	}
}

// refuse answers a handshake that is not let in.
func (h *Hub) refuse(s *session, r *conn.Refusal) {
	r.User = s.user
	h.server.Answer(conn.Answer{Conn: s.conn, Refusal: r})
}
