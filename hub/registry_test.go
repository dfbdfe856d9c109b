package hub

import (
	"fmt"
	"math/rand/v2"
	"testing"

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
	if err := r.ConsistencyCheck(); err != nil || r.len() != 0 || r.byUser.n != 0 {
		t.Fatalf("left: %d by UUID, %d by user, %v", r.len(), r.byUser.n, err)
	}
}

func TestEveryOrderOfGoingLeavesTheOthersFound(t *testing.T) {
	r := newRegistry()
	var in []*conn.Conn
	for i := range 6 {
		c := &conn.Conn{}
		c.Identify(conn.UUID{byte(i)}, "alice")
		r.add(c)
		in = append(in, c)
	}
	for _, i := range []int{5, 0, 2, 4, 1} { // the newest, the oldest, one between
		gone := in[i]
		r.remove(gone)
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
		"a stranger among a user's":  func(r *registry) { r.user([]byte("alice")).Link.Identify(conn.UUID{1}, "bob") },
		"not by UUID":                func(r *registry) { r.byUUID.remove(r.uuid(conn.UUID{1})) },
		"not by user":                func(r *registry) { r.byUser.remove(r.user([]byte("alice"))) },
		"another one under its UUID": func(r *registry) { r.byUUID.replace(r.uuid(conn.UUID{1}), newOne("alice", 1)) },
		"in a slot of another hash":  func(r *registry) { r.uuid(conn.UUID{2}).Identify(conn.UUID{3}, "alice") },
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
		c := &conn.Conn{}
		c.Identify(conn.UUID{byte(i), byte(i >> 8), byte(i >> 16)}, fmt.Sprint("u", i))
		r.add(c)
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
