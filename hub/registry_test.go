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
	if err := r.ConsistencyCheck(); err != nil || r.len() != 0 || len(r.byUser) != 0 {
		t.Fatalf("left: %d by UUID, %d by user, %v", r.len(), len(r.byUser), err)
	}
}
