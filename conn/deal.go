package conn

// dealer deals connections out to loops: one by one while they are few, and in
// runs when they are many. What the kernel keeps of connections that come one after
// the other lies together, and two cores that write to it in turn disturb each
// other: in runs, two loops bring out a tenth to a quarter more (BenchmarkCores).
type dealer struct {
	loop int
	left int // of the run
}

const (
	dealtSingly = 1024 // connections for which each loop matters
	dealtAtOnce = 256
)

// next returns the index of the loop for the next connection, where conns are open.
func (d *dealer) next(loops, conns int) int {
	if d.left == 0 {
		d.loop, d.left = (d.loop+1)%loops, 1
		if conns > dealtSingly {
			d.left = dealtAtOnce
		}
	}
	d.left--
	return d.loop
}
