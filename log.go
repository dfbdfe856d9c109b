package main

import (
	"context"
	"io"
	"net"
	"os"
	"time"

	"github.com/rs/zerolog"

	"pushpod/config"
)

// newLogger makes the logger: JSON lines, or lines for people on a terminal.
// No line carries a token or a message's data.
func newLogger(c config.Log, w io.Writer) zerolog.Logger {
	if c.Format == "console" || c.Format == "auto" && isTerminal(w) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !isTerminal(w)}
	}
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		level = zerolog.InfoLevel // config has checked it
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// redisLog takes what the Redis library wants to say, which is mostly that a
// dial failed: whoever needed the connection says so too, and better.
type redisLog struct{ log zerolog.Logger }

func (r redisLog) Printf(_ context.Context, format string, v ...any) {
	r.log.Debug().Str("from", "go-redis").Msgf(format, v...)
}
