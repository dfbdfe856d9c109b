package hub

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"pushpod/conn"
)

func TestRegistryAgreesWithAModel(t *testing.T) {
	r := newRegistry()
	model := map[string]map[*conn.Conn]bool{}
	var in []*conn.Conn
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 20_000 {
		if rnd.IntN(2) == 0 || len(in) == 0 {
			c := &conn.Conn{}
			user := fmt.Sprint("u", rnd.IntN(50))
			c.Identify(conn.UUID{byte(i), byte(i >> 8), byte(i >> 16), 1}, user)
			r.add(c)
			if model[user] == nil {
				model[user] = map[*conn.Conn]bool{}
			}
			model[user][c] = true
			in = append(in, c)
			continue
		}
		k := rnd.IntN(len(in))
		c := in[k]
		in[k] = in[len(in)-1]
		in = in[:len(in)-1]
		if !r.remove(c) || r.remove(c) {
			t.Fatal("what is in can be removed once")
		}
		delete(model[c.User()], c)
		if r.holds(c.UUID()) || r.count(c.User()) != len(model[c.User()]) {
			t.Fatalf("%s: %d connections, want %d", c.User(), r.count(c.User()), len(model[c.User()]))
		}
		if i%500 == 0 {
			if err := r.ConsistencyCheck(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r.len() != len(in) || len(r.all()) != len(in) {
		t.Fatalf("%d connections, want %d", r.len(), len(in))
	}
	for _, c := range in {
		r.remove(c)
	}
	if err := r.ConsistencyCheck(); err != nil || r.len() != 0 || len(r.byUser) != 0 {
		t.Fatalf("left: %d by UUID, %d by user, %v", r.len(), len(r.byUser), err)
	}
}

// TestTheRegistryKeepsNoMemoryOfConnectionsThatHaveGone: a map's key is the
// string of one of the user's connections, and must be that of one still there.
func TestTheRegistryKeepsNoMemoryOfConnectionsThatHaveGone(t *testing.T) {
	r := newRegistry()
	var in []*conn.Conn
	for i := range 6 {
		c := &conn.Conn{}
		c.Identify(conn.UUID{byte(i)}, strings.Clone("alice"))
		r.add(c)
		in = append(in, c)
	}
	for _, i := range []int{5, 0, 2, 4, 1} { // the newest, the oldest, one between
		gone := in[i]
		r.remove(gone)
		for key := range r.byUser {
			held := false
			for c := r.byUser[key]; c != nil; c = c.Link {
				held = held || unsafe.StringData(key) == unsafe.StringData(c.User())
			}
			if !held {
				t.Errorf("without connection %d the key is that of one that has gone", i)
			}
		}
		if gone.Link != nil {
			t.Error("a connection that has gone keeps another's memory")
		}
		if err := r.ConsistencyCheck(); err != nil {
			t.Error(err)
		}
	}
	if r.count("alice") != 1 {
		t.Errorf("%d are left", r.count("alice"))
	}
}

func TestTheConsistencyCheckSeesWhatIsWrong(t *testing.T) {
	newOne := func(user string, n byte) *conn.Conn {
		c := &conn.Conn{}
		c.Identify(conn.UUID{n}, user)
		return c
	}
	for name, spoil := range map[string]func(*registry){
		"listed under another user":  func(r *registry) { r.byUser["bob"] = newOne("alice", 9) },
		"not by UUID":                func(r *registry) { delete(r.byUUID, conn.UUID{1}) },
		"not by user":                func(r *registry) { delete(r.byUser, "alice") },
		"another one under its UUID": func(r *registry) { r.byUUID[conn.UUID{1}] = newOne("alice", 1) },
	} {
		r := newRegistry()
		r.add(newOne("alice", 1))
		r.add(newOne("alice", 2))
		if err := r.ConsistencyCheck(); err != nil {
			t.Fatal(err)
		}
		spoil(r)
		if r.ConsistencyCheck() == nil {
			t.Errorf("%s: not seen", name)
		}
	}
}
