package loglimit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// lines reads what was logged.
func lines(t *testing.T, text string) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		fields := map[string]any{}
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, fields)
	}
	return all
}

func TestLinesBeyondThreeASecondAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := zerolog.New(zerolog.SyncWriter(&out))
		var limited Lines
		refused := limited.New(log, zerolog.InfoLevel, "handshake refused")
		quiet := limited.New(log, zerolog.WarnLevel, "bad envelope dropped")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var running sync.WaitGroup
		running.Go(func() { limited.Run(ctx) })
		synctest.Wait()
		for n := range 10 {
			refused.Event().Int("status", 400+n).Err(errors.New("why")).Send()
		}
		refused.LeaveOut()
		quiet.Event().Send()
		time.Sleep(1500 * time.Millisecond)
		refused.Event().Int("status", 500).Send()
		time.Sleep(time.Second)
		cancel()
		running.Wait()

		got := lines(t, out.String())
		want := []struct {
			level, text string
			status      float64
			left        float64
		}{
			{"info", "handshake refused", 400, 0},
			{"info", "handshake refused", 401, 0},
			{"info", "handshake refused", 402, 0},
			{"warn", "bad envelope dropped", 0, 0},
			{"info", "lines left out", 0, 8},
			{"info", "handshake refused", 500, 0},
		}
		if len(got) != len(want) {
			t.Fatalf("got %d lines, want %d:\n%s", len(got), len(want), out.String())
		}
		for i, w := range want {
			g := got[i]
			if g["level"] != w.level || g["message"] != w.text || w.status != 0 && g["status"] != w.status || w.left != 0 && (g["left_out"] != w.left || g["of"] != "handshake refused") {
				t.Errorf("line %d is %v, want %+v", i, g, w)
			}
		}
	})
}

func TestLinesBelowTheLevelAreNeitherWrittenNorCounted(t *testing.T) {
	var out bytes.Buffer
	var limited Lines
	line := limited.New(zerolog.New(&out).Level(zerolog.WarnLevel), zerolog.InfoLevel, "handshake refused")
	for range 10 {
		line.Event().Send()
		line.LeaveOut()
	}
	limited.tell()
	if out.Len() > 0 {
		t.Errorf("logged: %s", out.String())
	}
}

func TestLineThatIsLeftOutCostsNoMemory(t *testing.T) {
	var limited Lines
	line := limited.New(zerolog.New(&bytes.Buffer{}), zerolog.InfoLevel, "slow consumer")
	for range most {
		line.Event().Send()
	}
	if n := testing.AllocsPerRun(100, func() { line.Event().Int("waiting_bytes", 1).Send() }); n > 0 && time.Since(line.since) < every {
		t.Errorf("%v allocations", n)
	}
}
