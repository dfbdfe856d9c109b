//go:build !race

package hub

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pushpod/conn"
	"pushpod/presence"
)

// BenchmarkMillion holds a million connections of as many users in one process, and
// delivers 10,000 messages a second to them for 10 seconds (with -benchtime 90x for
// 90), while their pings and renewals fall due. It reports:
//
//	heap-B/conn     live heap, after two collections
//	gc-%            the collector's share of the processor time that was used. Only a
//	                collection updates it: where fewer than two came by themselves,
//	                one more is made at the end, which then counts for more than it is
//	gc-needed-%     the same without what the collector did on idle processors
//	gc-cycles       collections that came by themselves
//	pause-ms        the longest time for which the collector stopped everything: the
//	                upper bound of the runtime's bucket
//	batch-p50-ms    the time that 100 messages take from Redis's bytes to the transport,
//	batch-p99-ms    while loops are locked by whatever else there is to do
//	batch-max-ms
//	busy-%          of one processor, without the collector's idle work
//	messages/s, pings/s, renewals/s, allocs-B/s
//
// No system calls are made: a real pod is busier, and the collector's share smaller.
func BenchmarkMillion(b *testing.B) {
	if testing.Short() {
		b.Skip("a million connections take their time")
	}
	const (
		conns = 1_000_000
		batch = 100
		pace  = 10 * time.Millisecond
		// The first pings come from 12.5 s on, the first renewals from 15 s on: for
		// those who came at once both then last for a while at twice the rate.
		calm = 15 * time.Second
	)
	batches := int(time.Duration(max(10, b.N)) * time.Second / pace)
	before := liveHeap()
	start := time.Now()
	p := newVoidPod(b, conns, conn.Options{Settings: conn.Settings{Renew: 30 * time.Second}})
	p.conns = nil
	b.ReportMetric((float64(liveHeap())-float64(before))/conns, "heap-B/conn")
	if err := p.ConsistencyCheck(); err != nil || p.Len() != conns {
		b.Fatal(p.Len(), err)
	}
	b.Logf("%d connections after %v, %d loops", conns, time.Since(start).Round(time.Millisecond), runtime.GOMAXPROCS(0))

	r := rand.New(rand.NewPCG(1, 1))
	all := p.registry.all()
	some := make([]*session, 100_000)
	for i := range some {
		some[i] = all[r.IntN(conns)]
	}
	all = nil
	feed := newFeed(p)
	var stream []byte
	read := func() {
		stream = stream[:0]
		for range batch {
			stream = feed.append(stream, some[r.IntN(len(some))], time.Now().UnixMilli())
		}
	}
	for range 100 { // what is kept is made
		read()
		if err := p.bring(stream); err != nil {
			b.Fatal(err)
		}
	}
	time.Sleep(calm - time.Since(start))

	took := make([]time.Duration, 0, batches)
	written, pings, renewals := p.server.Stats().Written, p.server.Stats().PingsSent, p.presence.renewals.Load()
	runtime.GC()
	was := readRuntime()
	start = time.Now()
	ticks := time.NewTicker(pace)
	defer ticks.Stop()
	for range batches {
		read()
		<-ticks.C
		at := time.Now()
		if err := p.bring(stream); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(at))
	}
	seconds := time.Since(start).Seconds()
	now := readRuntime()
	pings, renewals = p.server.Stats().PingsSent-pings, p.presence.renewals.Load()-renewals
	allocated, cycles := now.allocated-was.allocated, now.cycles-was.cycles
	if cycles < 2 {
		runtime.GC()
		now = readRuntime()
	}

	for end := time.Now().Add(patience); p.server.Stats().Written-written != uint64(batches*batch); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%d deliveries, want %d", p.server.Stats().Written-written, batches*batch)
		}
	}
	if st := p.server.Stats(); st.Open != conns || pings == 0 || renewals == 0 {
		b.Fatalf("%d pings, %d renewals, %+v", pings, renewals, st)
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
	gc, idly := now.gc-was.gc, now.idly-was.idly
	total, idle := now.total-was.total, now.idle-was.idle
	b.ReportMetric(0, "ns/op") // is of no interest: it is left out
	b.ReportMetric(100*gc/(total-idle), "gc-%")
	b.ReportMetric(100*(gc-idly)/(total-idle-idly), "gc-needed-%")
	b.ReportMetric(100*(total-idle-idly)/total*float64(runtime.GOMAXPROCS(0)), "busy-%")
	b.ReportMetric(float64(cycles), "gc-cycles")
	b.ReportMetric(1000*longest(was.pauses, now.pauses), "pause-ms")
	b.ReportMetric(ms(took[batches/2]), "batch-p50-ms")
	b.ReportMetric(ms(took[batches*99/100]), "batch-p99-ms")
	b.ReportMetric(ms(took[batches-1]), "batch-max-ms")
	b.ReportMetric(float64(batches*batch)/seconds, "messages/s")
	b.ReportMetric(float64(pings)/seconds, "pings/s")
	b.ReportMetric(float64(renewals)/seconds, "renewals/s")
	b.ReportMetric(float64(allocated)/seconds, "allocs-B/s")
}

// feed makes messages for one connection each without making garbage, by turns to a
// user and, with the time of publishing, to a UUID.
type feed struct {
	head, data []byte
	body       []byte
	byUUID     bool
}

func newFeed(p *voidPod) *feed {
	own := p.channels()[0].name
	return &feed{
		head: fmt.Appendf(nil, "*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$", len(own), own),
		data: fmt.Appendf(nil, `,"data":{"text":"%s"}}`, strings.Repeat("x", 117)),
	}
}

func (f *feed) append(b []byte, c *session, now int64) []byte {
	if f.byUUID = !f.byUUID; f.byUUID {
		f.body = presence.AppendUUID(append(f.body[:0], `{"to":"`...), c.uuid)
		f.body = strconv.AppendInt(append(f.body, `","at":`...), now, 10)
	} else {
		f.body = append(append(append(f.body[:0], `{"user":"`...), c.user...), '"')
	}
	f.body = append(f.body, f.data...)
	b = strconv.AppendInt(append(b, f.head...), int64(len(f.body)), 10)
	b = append(append(b, "\r\n"...), f.body...)
	return append(b, "\r\n"...)
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// runtimeState is what the runtime says of itself. Processor time is in seconds, as
// of the last collection.
type runtimeState struct {
	gc, idly    float64 // the collector's; of it, on processors that were idle
	total, idle float64
	cycles      uint64
	allocated   uint64
	pauses      *metrics.Float64Histogram
}

func readRuntime() runtimeState {
	s := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
		{Name: "/cpu/classes/total:cpu-seconds"},
		{Name: "/cpu/classes/idle:cpu-seconds"},
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/sched/pauses/total/gc:seconds"},
	}
	metrics.Read(s)
	return runtimeState{
		gc: s[0].Value.Float64(), idly: s[1].Value.Float64(), total: s[2].Value.Float64(), idle: s[3].Value.Float64(),
		cycles: s[4].Value.Uint64(), allocated: s[5].Value.Uint64(), pauses: s[6].Value.Float64Histogram(),
	}
}

// longest is the upper bound of the last bucket in which something was added.
func longest(was, now *metrics.Float64Histogram) (most float64) {
	for i, n := range now.Counts {
		if n > was.Counts[i] {
			if most = now.Buckets[i+1]; math.IsInf(most, 1) {
				most = now.Buckets[i]
			}
		}
	}
	return most
}
