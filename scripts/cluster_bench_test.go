package scripts

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// BenchmarkClusterPublish measures what a message to one pod costs each of three masters,
// in microseconds of the server's processor (INFO cpu), by PUBLISH and by SPUBLISH, with so
// many pods subscribed:
//
//	go test ./scripts -run '^$' -bench ClusterPublish -benchtime 200000x
//
// node1 is the one that is published to, or the one that has most of the channels' slots is
// among them: the figures of all three are given, and their sum.
func BenchmarkClusterPublish(b *testing.B) {
	cluster := redistest.StartCluster(b, 0)
	payload := `{"to":"018f4c7e-0000-7abc-8def-000000000001","of":"alice","at":1700000000000,"data":"` + strings.Repeat("x", 100) + `"}`
	for _, pods := range []int{3, 30, 100} {
		for _, command := range []string{"publish", "spublish"} {
			b.Run(fmt.Sprintf("%s/pods=%d", command, pods), func(b *testing.B) {
				var channels []string
				owner := map[string]*redis.Client{}
				clients := map[*redistest.Server]*redis.Client{}
				for _, m := range cluster.Masters {
					clients[m] = m.Client()
				}
				for i := range pods {
					channel := fmt.Sprintf("push:pod:10.0.%d.%d:8080", i/250, i%250)
					channels = append(channels, channel)
					at := cluster.Of(channel)
					owner[channel] = clients[at]
					// A pod is subscribed at any node, and a sharded one also at the slot's.
					defer listen(b, cluster.Masters[i%3].Addr(), "SUBSCRIBE", channel, "push:all")()
					if command == "spublish" {
						defer listen(b, at.Addr(), "SSUBSCRIBE", channel)()
					}
				}
				time.Sleep(500 * time.Millisecond)
				before := cpuOf(cluster)
				b.ResetTimer()
				const atOnce = 100
				for done := 0; done < b.N; {
					groups := map[*redis.Client][]string{}
					for range min(atOnce, b.N-done) {
						channel := channels[done%pods]
						c := clients[cluster.Masters[0]]
						if command == "spublish" {
							c = owner[channel]
						}
						groups[c] = append(groups[c], channel)
						done++
					}
					for c, list := range groups {
						pipe := c.Pipeline()
						for _, channel := range list {
							pipe.Do(context.Background(), command, channel, payload)
						}
						if _, err := pipe.Exec(context.Background()); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.StopTimer()
				time.Sleep(300 * time.Millisecond) // the bus
				total := 0.0
				for i, after := range cpuOf(cluster) {
					us := (after - before[i]).Seconds() * 1e6 / float64(b.N)
					total += us
					b.ReportMetric(us, fmt.Sprintf("µs-node%d/msg", i+1))
				}
				b.ReportMetric(total, "µs-all/msg")
			})
		}
	}
}

// listen subscribes, and reads until the returned function is called.
func listen(b *testing.B, addr string, command ...string) (stop func()) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.WriteString(c, strings.Join(command, " ")+"\r\n"); err != nil {
		b.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
	return func() { c.Close() }
}

// cpuOf returns the processor time that each master has used.
func cpuOf(cluster *redistest.Cluster) (list []time.Duration) {
	for _, m := range cluster.Masters {
		list = append(list, m.CPU())
	}
	return list
}
