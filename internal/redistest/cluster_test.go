package redistest

import (
	"strings"
	"testing"
)

func TestClusterServesAllSlotsAndMovesThem(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 1)
	from := c.Of("a")
	from.CLI("SET", "a", "1")
	to := c.Masters[0]
	if to == from {
		to = c.Masters[1]
	}
	c.Move(c.Slot("a"), to)
	if got := to.CLI("GET", "a"); got != "1" {
		t.Errorf("GET a at the new node: %q", got)
	}
	if out, _ := from.TryCLI("GET", "a"); !strings.Contains(out, "MOVED") {
		t.Errorf("GET a at the old node: %q", out)
	}
	c.Masters[0].Kill()
	c.WaitMaster(c.Replicas[0])
	if c.At(0) != c.Replicas[0] {
		t.Error("the replica has no slots")
	}
}
