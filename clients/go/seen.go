package client

import "container/list"

// seenIDs is a set of at most limit ids; beyond that the one not met for longest is forgotten. Owned by Run.
type seenIDs struct {
	limit int // negative: nothing is remembered
	order list.List
	byID  map[string]*list.Element
}

// add reports whether id was there already. An empty id never is.
func (s *seenIDs) add(id string) bool {
	if id == "" || s.limit < 0 {
		return false
	}
	if e, ok := s.byID[id]; ok {
		s.order.MoveToFront(e)
		return true
	}
	if s.byID == nil {
		s.byID = make(map[string]*list.Element)
	}
	s.byID[id] = s.order.PushFront(id)
	if s.order.Len() > s.limit {
		delete(s.byID, s.order.Remove(s.order.Back()).(string))
	}
	return false
}
