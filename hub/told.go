package hub

import (
	"context"
	"net/netip"

	"github.com/rs/zerolog"

	"pushpod/conn"
	"pushpod/internal/loglimit"
	"pushpod/presence"
)

// maxOrigin bounds what a client says about itself in the log, in bytes.
const maxOrigin = 256

// teller logs what is said with a loop locked. A log that is slow holds up no loop: where
// too much waits for it, lines are left out.
type teller chan *zerolog.Event

func newTeller() teller { return make(teller, 16) }

// tellWhatWaits logs until ctx ends.
func (h *Hub) tellWhatWaits(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.unnamed.seen:
			h.log.Warn().Msg(h.unnamed.warning())
		case e := <-h.told:
			e.Send()
		}
	}
}

// tell has a line logged soon, of which this is the event.
func (t teller) tell(line *loglimit.Line, e *zerolog.Event) {
	select {
	case t <- e:
	default:
		line.LeaveOut()
	}
}

// Refused has a refused handshake logged; see conn.Admitter.
func (h *Hub) Refused(remote netip.Addr, origin string, r *conn.Refusal) {
	line := h.lines.refused
	if r.Status == 0 {
		line = h.lines.unheard
	}
	e := line.Event()
	if e == nil {
		return
	}
	if r.User != "" {
		e.Str("user", r.User)
	}
	if r.Status != 0 {
		e.Int("status", r.Status).Str("reason", r.Reason).Str("origin", origin[:min(len(origin), maxOrigin)])
	} else {
		e.Str("reason", r.Reason)
	}
	h.told.tell(line, e.Stringer("address", remote))
}

// Slow has it logged that too much waits for the connection; see conn.Owner.
func (s *session) Slow(waiting int, p conn.Policy) {
	h := s.hub()
	if e := h.lines.slow.Event(); e != nil {
		h.told.tell(h.lines.slow, e.Str("user", s.user).Str("uuid", presence.FormatUUID(s.uuid)).
			Stringer("address", s.address()).Int("waiting_bytes", waiting).Stringer("policy", p))
	}
}
