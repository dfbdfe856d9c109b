package e2e

import (
	"fmt"
	"testing"
)

func TestMissesAreCountedAndHealed(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	db := r.Client()
	p, other := startPod(t, r, quick()), startPod(t, r, quick())
	alice, elsewhere := dial(t, p, "alice"), dial(t, other, "alice")
	live := map[string]string{alice.uuid: p.channel, elsewhere.uuid: other.channel}
	want := books{}
	push := func(envelope string, misses, written int) {
		t.Helper()
		publish(t, db, p.channel, envelope)
		want.published++
		want.misses += misses
		want.written += written
		wantBooks(t, p, want)
	}
	plant := func(user, uuid, channel string) {
		t.Helper()
		if err := db.HSet(t.Context(), userKey(user), uuid, channel).Err(); err != nil {
			t.Fatal(err)
		}
	}

	// A UUID that nobody knows, and nothing said of whose it is.
	push(fmt.Sprintf(`{"to":%q,"data":1}`, newUUID()), 1, 0)
	push(fmt.Sprintf(`{"to":[%q,%q,%q],"data":1}`, newUUID(), newUUID(), newUUID()), 3, 0)

	// With `of`, the stale entry goes, and only that.
	stale := newUUID()
	plant("alice", stale, p.channel)
	push(fmt.Sprintf(`{"to":%q,"of":"alice","data":1}`, stale), 1, 0)
	wantEntries(t, db, "alice", settle, live)

	// One that names another pod is not this pod's to remove.
	foreign := newUUID()
	plant("zoe", foreign, other.channel)
	push(fmt.Sprintf(`{"to":%q,"of":"zoe","data":1}`, foreign), 1, 0)
	mine := newUUID()
	plant("zoe", mine, p.channel)
	push(fmt.Sprintf(`{"to":%q,"of":"zoe","data":1}`, mine), 1, 0)
	wantEntries(t, db, "zoe", settle, map[string]string{foreign: other.channel})

	// A user of whom the pod holds no connection is one miss.
	plant("ghost", newUUID(), p.channel)
	plant("ghost", newUUID(), p.channel)
	push(`{"user":"ghost","data":1}`, 1, 0)
	wantEntries(t, db, "ghost", settle, nil)
	push(`{"user":["ghost","phantom"],"data":1}`, 2, 0)

	// A user and a connection of whom it holds one are none.
	push(`{"user":"alice","data":"user"}`, 0, 1)
	alice.wantMessage("by user", `"user"`)
	push(fmt.Sprintf(`{"to":[%q,%q],"of":"alice","data":"both"}`, newUUID(), alice.uuid), 1, 1)
	alice.wantMessage("beside a miss", `"both"`)
	wantEntries(t, db, "alice", settle, live)

	// A connection that has gone is a miss, too.
	alice.leave()
	wantEntries(t, db, "alice", settle, map[string]string{elsewhere.uuid: other.channel})
	push(fmt.Sprintf(`{"to":%q,"of":"alice","data":1}`, alice.uuid), 1, 0)
	elsewhere.check("on the other pod")
	wantBooks(t, other, books{})
}
