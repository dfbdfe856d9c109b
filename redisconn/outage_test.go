package redisconn

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// reply is an error that Redis sends.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

var _ redis.Error = reply("")

func TestOutageTellsWhichFailureIsNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o Outage
		if away, failures := o.Over(); away != 0 || failures != 0 {
			t.Errorf("before any failure: %v, %d failures", away, failures)
		}
		for i, c := range []struct {
			err  error
			news bool
		}{
			{errors.New("read tcp 127.0.0.1:50001: i/o timeout"), true},
			{errors.New("read tcp 127.0.0.1:50002: i/o timeout"), false},
			{fmt.Errorf("write: %w", reply("LOADING Redis is loading")), true},
			{reply("OOM command not allowed"), true},
			{reply("OOM command not allowed now"), false},
			{errors.New("connection refused"), true},
			{errors.New("connection refused"), false},
		} {
			if news := o.Failed(c.err); news != c.news {
				t.Errorf("failure %d, %v: news is %v", i, c.err, news)
			}
			time.Sleep(time.Second)
		}
		if away, failures := o.Over(); away != 7*time.Second || failures != 7 {
			t.Errorf("over: away for %v, %d failures", away, failures)
		}
		if !o.Failed(errors.New("connection refused")) {
			t.Error("the next outage's first failure is no news")
		}
	})
}
