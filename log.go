package main

import (
	"context"
	"io"
	"time"

	"github.com/rs/zerolog"

	"pushpod/cli"
	"pushpod/config"
)

// newLogger makes the logger: JSON lines, or lines for people on a terminal.
// No line holds a token or the data of a message.
func newLogger(c config.Log, w io.Writer) zerolog.Logger {
	if c.Format == "console" || c.Format == "auto" && cli.IsTerminal(w) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !cli.IsTerminal(w)}
	}
	setLevel(levelOf(c))
	return zerolog.New(w).With().Timestamp().Logger()
}

// setLevel has loggers leave out what is below the level. The library has one such level
// for all its loggers, copies of which are everywhere.
func setLevel(l zerolog.Level) { zerolog.SetGlobalLevel(l) }

func levelOf(c config.Log) zerolog.Level {
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		return zerolog.InfoLevel // config has checked it
	}
	return level
}

// events logs what happens, at a level that says whether it is good.
func events(log zerolog.Logger) func(what string, err error) {
	return func(what string, err error) {
		level := zerolog.InfoLevel
		if err != nil {
			level = zerolog.WarnLevel
		}
		log.WithLevel(level).Err(err).Msg(what)
	}
}

// few logs a few lines a second at most.
func few(log zerolog.Logger) zerolog.Logger {
	return log.Sample(&zerolog.BurstSampler{Burst: 3, Period: time.Second})
}

// redisLog logs what the Redis library reports, at the level debug: mostly that a
// dial failed, which whoever needed the connection logs too, and better.
type redisLog struct{ log zerolog.Logger }

func (r redisLog) Printf(_ context.Context, format string, v ...any) {
	r.log.Debug().Str("from", "go-redis").Msgf(format, v...)
}
