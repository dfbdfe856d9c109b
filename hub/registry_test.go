package hub

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pushpod/presence"
)

func TestRegistryAgreesWithAModel(t *testing.T) {
	r := newRegistry()
	model := map[string]map[*session]bool{}
	var in []*session
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 20_000 {
		if rnd.IntN(2) == 0 || len(in) == 0 {
			user := fmt.Sprint("u", rnd.IntN(50))
			c := &session{user: user, uuid: presence.UUID{byte(i), byte(i >> 8), byte(i >> 16), 1}}
			r.add(c)
			if model[user] == nil {
				model[user] = map[*session]bool{}
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
		delete(model[c.user], c)
		if r.holds(c.uuid) || r.count(c.user) != len(model[c.user]) {
			t.Fatalf("%s: %d connections, want %d", c.user, r.count(c.user), len(model[c.user]))
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
	if err := r.ConsistencyCheck(); err != nil || r.len() != 0 || r.byUser.n != 0 {
		t.Fatalf("left: %d by UUID, %d by user, %v", r.len(), r.byUser.n, err)
	}
}

func TestEveryOrderOfGoingLeavesTheOthersFound(t *testing.T) {
	r := newRegistry()
	var in []*session
	for i := range 6 {
		c := &session{user: "alice", uuid: presence.UUID{byte(i)}}
		r.add(c)
		in = append(in, c)
	}
	for _, i := range []int{5, 0, 2, 4, 1} { // the newest, the oldest, one between
		gone := in[i]
		r.remove(gone)
		if gone.next != nil {
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
	newOne := func(user string, n byte) *session { return &session{user: user, uuid: presence.UUID{n}} }
	for name, spoil := range map[string]func(*registry){
		"a stranger among a user's":  func(r *registry) { r.user([]byte("alice")).next.user = "bob" },
		"not by UUID":                func(r *registry) { r.byUUID.remove(r.uuid(presence.UUID{1})) },
		"not by user":                func(r *registry) { r.byUser.remove(r.user([]byte("alice"))) },
		"another one under its UUID": func(r *registry) { r.byUUID.replace(r.uuid(presence.UUID{1}), newOne("alice", 1)) },
		"under another's name": func(r *registry) {
			for s := r.user([]byte("alice")); s != nil; s = s.next {
				s.user = "bob"
			}
		},
		"in a slot of another hash": func(r *registry) { r.uuid(presence.UUID{2}).uuid = presence.UUID{3} },
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

func TestATableGrowsAndShrinksWithWhatIsInIt(t *testing.T) {
	r := newRegistry()
	slots := func() (n int) {
		for _, s := range r.byUUID.shards {
			n += len(s.slots)
		}
		return n
	}
	const most = 50_000
	for i := range most {
		r.add(&session{user: fmt.Sprint("u", i), uuid: presence.UUID{byte(i), byte(i >> 8), byte(i >> 16)}})
	}
	if n := slots(); n < most || n > 3*most {
		t.Errorf("%d slots for %d connections", n, most)
	}
	for _, c := range r.all() {
		if r.len() > most/100 {
			r.remove(c)
		}
	}
	if n := slots(); n > 16*most/100 {
		t.Errorf("%d slots are left for %d connections", n, r.len())
	}
	if err := r.ConsistencyCheck(); err != nil {
		t.Error(err)
	}
}
