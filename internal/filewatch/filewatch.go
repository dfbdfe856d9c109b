// Package filewatch reads files that belong together, such as a certificate and its
// key, and reads them again when they change.
package filewatch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// MaxBytes bounds each file.
const MaxBytes = 1 << 20

// Options configures [Files].
type Options struct {
	Paths []string
	// Apply is given what is in the files, in the order of Paths. Where it returns an
	// error, nothing must have changed.
	Apply func(contents [][]byte) error
	// Log is told what became of a change: nil, or why what is in the files now can't
	// be used. It is told once.
	Log func(error)
}

// Files are files that are read again when they change.
type Files struct {
	opts Options

	// Every is how often Run looks; a second, unless it is set before.
	Every time.Duration

	asked chan struct{} // capacity 1: Again was called

	// Owned by Run.
	applied [][]byte  // what was given to Apply last
	seen    [][]byte  // what was there when it was read last
	since   time.Time // when it was first seen to be as it is
	again   bool      // it is to be given to Apply also if it is the same
}

// New reads the files, which Apply must take.
func New(o Options) (*Files, error) {
	contents, err := read(o.Paths)
	if err == nil {
		err = o.Apply(contents)
	}
	if err != nil {
		return nil, err
	}
	return From(o, contents), nil
}

// From makes Files of which the caller has read and applied the contents.
func From(o Options, contents [][]byte) *Files {
	return &Files{opts: o, Every: time.Second, asked: make(chan struct{}, 1), applied: contents, seen: contents}
}

// Again has Run give to Apply what is in the files also if it is the same as before, as
// soon as it stands still. It does not wait, and may be called from any goroutine.
func (f *Files) Again() {
	select {
	case f.asked <- struct{}{}:
	default: // it will be
	}
}

// Run reads the files again and again until ctx ends. It compares what is in
// them: that also sees a change within the clock's tick, and a link that leads
// elsewhere.
func (f *Files) Run(ctx context.Context) {
	t := time.NewTicker(f.Every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.asked:
			f.again = true
			f.look(time.Now())
		case <-t.C:
			f.look(time.Now())
		}
	}
}

// look takes what is in the files once it has stood still for about Every: before, one of
// them may be half written. Looks may follow each other sooner, where somebody asks or the
// machine was late. Where it can't be used, that is said once.
func (f *Files) look(now time.Time) {
	contents, err := read(f.opts.Paths)
	if err != nil {
		contents = [][]byte{[]byte(err.Error())} // stands for what can't be read
	}
	if !same(contents, f.seen) {
		f.seen, f.since = contents, now
		return
	}
	if now.Sub(f.since) < f.Every*9/10 || same(contents, f.applied) && !f.again {
		return
	}
	f.applied, f.again = contents, false
	if err == nil {
		err = f.opts.Apply(contents)
	}
	f.opts.Log(err)
}

func read(paths []string) (contents [][]byte, err error) {
	for _, path := range paths {
		b, err := Read(path)
		if err != nil {
			return nil, err
		}
		contents = append(contents, b)
	}
	return contents, nil
}

// Read reads one file.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err == nil && len(b) > MaxBytes {
		err = fmt.Errorf("%s: there is more than %d bytes", path, MaxBytes)
	}
	return b, err
}

func same(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }
