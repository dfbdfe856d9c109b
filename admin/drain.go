package admin

import (
	"encoding/json"
	"net/http"
)

// leaving is a line of the answer to whoever asks the pod to leave.
type leaving struct {
	Status string `json:"status"`              // draining, and at last left
	Within int64  `json:"within_ms,omitempty"` // so long leaving takes at most
}

// drain has the pod leave, and says so at once. With ?wait=1 it says once more when the
// pod has left, in order; who hears nothing more of a pod that has gone knows that it
// ended otherwise.
func (o *Options) drain(w http.ResponseWriter, r *http.Request) {
	within, left := o.Drain()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusAccepted)
	lines := json.NewEncoder(w)
	_ = lines.Encode(leaving{Status: "draining", Within: within.Milliseconds()}) // the peer has gone: nobody to tell
	if r.URL.Query().Get("wait") != "1" {
		return
	}
	_ = http.NewResponseController(w).Flush()
	select {
	case <-left:
	case <-r.Context().Done():
	}
	select {
	case <-left:
		_ = lines.Encode(leaving{Status: "left"})
	default:
	}
}
