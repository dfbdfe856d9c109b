package hub

import (
	"strings"
	"sync"
)

// outdated is what Redis is too old for, although the configuration asks for it.
type outdated struct {
	mu  sync.Mutex // protects following
	why string     // "": nothing
}

// Outdated is told what Redis is too old for, though it is asked for; "": nothing any
// more. It reports whether that is news. It may be called from anywhere.
func (h *Hub) Outdated(why string) (news bool) {
	h.outdated.mu.Lock()
	defer h.outdated.mu.Unlock()
	news = h.outdated.why != why
	h.outdated.why = why
	return news
}

// Warnings lists what does not make the pod unready, and may cost messages later.
func (h *Hub) Warnings() (list []Problem) {
	if why := h.eviction.warning(); why != "" {
		list = append(list, Problem{"eviction", why})
	}
	if h.coverage.full.Load() {
		list = append(list, Problem{"coverage", wantsCoverage})
	}
	if err := h.presence.Failing(); err != nil {
		list = append(list, Problem{"presence", "new connections of some users get 503, since a master of the Cluster does not take their entries: " + strings.ReplaceAll(err.Error(), "\n", "; ")})
	}
	list = append(list, h.foreseen()...)
	if why := h.unnamed.warning(); why != "" {
		list = append(list, Problem{"proxy", why})
	}
	h.outdated.mu.Lock()
	defer h.outdated.mu.Unlock()
	if h.outdated.why != "" {
		list = append(list, Problem{"outdated", h.outdated.why})
	}
	return list
}
