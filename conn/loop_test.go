package conn

import "testing"

func TestASlotIsUsedAgainByOneConnectionOnly(t *testing.T) {
	s := newFakeServer(t, Options{})
	a, b, c := s.open("a"), s.open("b"), s.open("c")
	l := s.loops[0]
	b.end()
	if l.slots[1] != nil {
		t.Error("a connection that has ended is kept")
	}
	d, e := s.open("d"), s.open("e")
	if len(l.slots) != 4 || len(l.free) != 0 {
		t.Errorf("%d slots for four connections, %d of them free", len(l.slots), len(l.free))
	}
	for name, x := range map[string]*fakeSocket{"a": a, "c": c, "d": d, "e": e} {
		x.push("for " + name)
		x.arrive(string(text("from " + name)))
		x.want("its own", textOf("for "+name))
		if got := s.hub.told(name).received; len(got) != 1 || got[0] != "from "+name {
			t.Errorf("%s's owner is told %q", name, got)
		}
	}
	if st := s.Stats(); st.Open != 4 {
		t.Errorf("%d are open", st.Open)
	}
}
