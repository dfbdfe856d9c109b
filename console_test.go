package main

import (
	"testing"

	"pushpod/config"
)

func TestLinesOfTheConsoleReachTheRedisOfThePod(t *testing.T) {
	for _, c := range []struct {
		redis     config.Redis
		addr      string
		inCluster bool
		want      string
	}{
		{addr: "127.0.0.1:6379", want: "redis-cli"},
		{addr: "localhost:6380", want: "redis-cli -p 6380"},
		{addr: "[::1]:6379", want: "redis-cli"},
		{addr: "redis.example:6379", want: "redis-cli -h redis.example"},
		{addr: "10.0.0.1:7000", inCluster: true, want: "redis-cli -c -h 10.0.0.1 -p 7000"},
		{addr: "unix:/run/a redis/it's.sock", want: `redis-cli -s '/run/a redis/it'\''s.sock'`},
		{addr: "s:26379", redis: config.Redis{SentinelMaster: "mymaster"}, want: "redis-cli -h MASTER -p PORT"},
		{addr: "127.0.0.1:6379", redis: config.Redis{DB: 3}, want: "redis-cli -n 3"},
		{
			// A certificate names a host, which redis-cli would else not be told.
			addr: "localhost:6379", redis: config.Redis{TLS: config.RedisTLS{On: true, CAFile: "/ca.pem", CertFile: "/c.pem", KeyFile: "/k.pem", ServerName: "redis.example"}},
			want: "redis-cli -h localhost --tls --cacert /ca.pem --cert /c.pem --key /k.pem --sni redis.example",
		},
	} {
		if got := redisCLI(c.redis, []string{c.addr}, c.inCluster); got != c.want {
			t.Errorf("%s: %s, want %s", c.addr, got, c.want)
		}
	}
}
