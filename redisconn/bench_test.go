package redisconn

import (
	"context"
	"syscall"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

// What a look costs at where an address leads: one connection of each pod every 8 s.
func BenchmarkFresh(b *testing.B) {
	for name, start := range map[string]func() (*redistest.Server, *TLS){
		"plain": func() (*redistest.Server, *TLS) { return redistest.Start(b), nil },
		"tls": func() (*redistest.Server, *TLS) {
			certs := redistest.NewCerts(b, "redis.test")
			return redistest.StartTLS(b, certs), &TLS{CAFile: certs.CA}
		},
	} {
		b.Run(name, func(b *testing.B) {
			s, t := start()
			e := NewEndpoint(Options{Addresses: []string{s.Addr()}, TLS: t})
			defer e.Close()
			server, own := s.CPU(), ownCPU()
			for b.Loop() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				f, err := e.Fresh(ctx)
				if err != nil {
					b.Fatal(err)
				}
				f.Close()
				cancel()
			}
			b.ReportMetric(float64((s.CPU()-server).Microseconds())/float64(b.N), "redis-µs/op")
			b.ReportMetric(float64((ownCPU()-own).Microseconds())/float64(b.N), "own-µs/op")
		})
	}
}

// What a pod asks each Sentinel, some 2.5 times a second.
func BenchmarkSentinelPoll(b *testing.B) {
	set := redistest.StartSentinels(b, redistest.SentinelOptions{Sentinels: 1})
	e := NewEndpoint(Options{Addresses: set.Addrs(), SentinelMaster: redistest.MasterName})
	defer e.Close()
	ctx := context.Background()
	if _, _, err := e.locate(ctx); err != nil {
		b.Fatal(err)
	}
	server, own := set.Sentinels[0].CPU(), ownCPU()
	for b.Loop() {
		if _, err := e.sentinels.poll(ctx, e.sentinels.known()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((set.Sentinels[0].CPU()-server).Microseconds())/float64(b.N), "sentinel-µs/op")
	b.ReportMetric(float64((ownCPU()-own).Microseconds())/float64(b.N), "own-µs/op")
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
