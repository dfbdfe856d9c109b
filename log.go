package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"pushpod/cli"
	"pushpod/config"
)

// newLogger makes the logger: JSON lines, each with the pod's address, or lines for people
// on a terminal, without it. No line holds a token or the data of a message.
func newLogger(c config.Log, pod string, w io.Writer) zerolog.Logger {
	if !logsJSON(c.Format, w) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !cli.IsTerminal(w), FieldsExclude: []string{"pod"}}
	}
	setLevel(levelOf(c))
	return zerolog.New(w).With().Timestamp().Str("pod", pod).Logger()
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

// logsJSON reports whether a log of this format (log.format) is JSON lines.
func logsJSON(format string, w io.Writer) bool {
	return format == "json" || format != "console" && !cli.IsTerminal(w)
}

// fatal says why the pod ends, as the log would: in one line of JSON for each reason, or in
// plain text.
func fatal(err error, asJSON bool, w io.Writer) {
	if !asJSON {
		fmt.Fprintln(w, err)
		return
	}
	log := zerolog.New(w).With().Timestamp().Logger()
	for reason := range strings.SplitSeq(err.Error(), "\n") {
		log.WithLevel(zerolog.FatalLevel).Msg(reason)
	}
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

// redisLog logs what the Redis library reports, at the level debug: mostly that a
// dial failed, which whoever needed the connection logs too, and better.
type redisLog struct{ log zerolog.Logger }

func (r redisLog) Printf(_ context.Context, format string, v ...any) {
	r.log.Debug().Str("from", "go-redis").Msgf(format, v...)
}
