package redisconn

import (
	"slices"
)

// A Map says which node has which key. It does not change: another one takes its place.
type Map struct {
	Kind    Kind
	Masters []*Node // in a Cluster those that have slots; else one, of which everything is asked

	slots    *[Slots]uint16 // 1 + the index in Masters; 0: nobody has it. nil where there is one node for all
	replicas []string       // addresses
	replaced chan struct{}
}

// oneNode is the map of what is no Cluster, or may be one.
func oneNode(k Kind, n *Node) *Map {
	return &Map{Kind: k, Masters: []*Node{n}, replaced: make(chan struct{})}
}

// Replaced returns a channel that is closed once another map has taken this one's place.
func (m *Map) Replaced() <-chan struct{} { return m.replaced }

// Single returns the node that has all keys, or nil in a Cluster.
func (m *Map) Single() *Node {
	if m.slots == nil {
		return m.Masters[0]
	}
	return nil
}

// Slot returns the node that has a slot. Where nobody has it, some node: that says so.
func (m *Map) Slot(slot int) *Node {
	if m.slots == nil {
		return m.Masters[0]
	}
	i := m.slots[slot]
	if i == 0 {
		return m.Masters[slot%len(m.Masters)]
	}
	return m.Masters[i-1]
}

// Of returns the node that has a key.
func (m *Map) Of(key string) *Node {
	if m.slots == nil {
		return m.Masters[0]
	}
	return m.Slot(Slot(key))
}

// Has reports whether a node is one of the masters.
func (m *Map) Has(n *Node) bool { return slices.Contains(m.Masters, n) }

// Covered returns how many slots some node has: all where it is no Cluster.
func (m *Map) Covered() int {
	if m.slots == nil {
		return Slots
	}
	n := 0
	for _, i := range m.slots {
		if i != 0 {
			n++
		}
	}
	return n
}

// same reports whether two maps say the same of masters and slots.
func (m *Map) same(o *Map) bool {
	if m.Kind != o.Kind || !slices.Equal(m.Masters, o.Masters) || (m.slots == nil) != (o.slots == nil) {
		return false
	}
	return m.slots == nil || *m.slots == *o.slots
}
