// Package loglimit keeps what may happen often from filling the log: a few lines a second
// are written, and the others counted.
package loglimit

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	most  = 3 // lines of one kind in a period
	every = time.Second
)

// Lines are all limited lines of a part of the program. The zero value is ready; Run tells
// what they have left out.
type Lines struct {
	mu  sync.Mutex // protects following
	all []*Line
}

// Line is one line of a log, which is written three times a second at most. It may be
// used by several goroutines.
type Line struct {
	log   zerolog.Logger // which adds the text
	plain zerolog.Logger
	level zerolog.Level
	text  string

	mu      sync.Mutex // protects following
	since   time.Time  // when the period began
	written int        // in it
	left    uint64     // out, since that was told
}

// message is a text that ends each line of a logger.
type message string

func (m message) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.MessageFieldName, string(m))
}

// New makes a line with a text, of a log, at a level.
func (l *Lines) New(log zerolog.Logger, level zerolog.Level, text string) *Line {
	line := &Line{log: log.Hook(message(text)), plain: log, level: level, text: text}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
	return line
}

// Run says once a second how many lines were left out, and of which, until ctx ends.
func (l *Lines) Run(ctx context.Context) {
	t := time.NewTicker(every)
	defer t.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		l.tell()
	}
}

func (l *Lines) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.all {
		if left := line.takeLeft(); left > 0 {
			line.plain.WithLevel(line.level).Str("of", line.text).Uint64("left_out", left).Msg("lines left out")
		}
	}
}

// Event begins the line, for fields and Send, which ends it with its text; nil, which takes
// both and does nothing: it is left out.
func (l *Line) Event() *zerolog.Event {
	if !l.enabled() || !l.allow() {
		return nil
	}
	return l.log.WithLevel(l.level)
}

// enabled reports whether the level is logged, for the price of two loads.
func (l *Line) enabled() bool {
	return l.level >= l.log.GetLevel() && l.level >= zerolog.GlobalLevel()
}

// LeaveOut counts a line that its caller has left out.
func (l *Line) LeaveOut() {
	if l.enabled() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.left++
	}
}

func (l *Line) allow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.since) >= every {
		l.since, l.written = now, 0
	}
	if l.written >= most {
		l.left++
		return false
	}
	l.written++
	return true
}

func (l *Line) takeLeft() (left uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left, l.left = l.left, 0
	return left
}
