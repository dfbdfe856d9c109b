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

	// Owned by Run.
	applied [][]byte // what was given to Apply last
	seen    [][]byte // what was there when it was read last
}

// New reads the files, which Apply must take.
func New(o Options) (*Files, error) {
	f := &Files{opts: o, Every: time.Second}
	contents, err := f.read()
	if err == nil {
		err = o.Apply(contents)
	}
	if err != nil {
		return nil, err
	}
	f.applied, f.seen = contents, contents
	return f, nil
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
		case <-t.C:
			f.look()
		}
	}
}

// look takes what is in the files once it has stood still from one look to the next:
// before, one of them may be half written. Where it can't be used, that is said once.
func (f *Files) look() {
	contents, err := f.read()
	if err != nil {
		contents = [][]byte{[]byte(err.Error())} // stands for what can't be read
	}
	still := same(contents, f.seen)
	f.seen = contents
	if !still || same(contents, f.applied) {
		return
	}
	f.applied = contents
	if err == nil {
		err = f.opts.Apply(contents)
	}
	f.opts.Log(err)
}

func (f *Files) read() (contents [][]byte, err error) {
	for _, path := range f.opts.Paths {
		b, err := readFile(path)
		if err != nil {
			return nil, err
		}
		contents = append(contents, b)
	}
	return contents, nil
}

func readFile(path string) ([]byte, error) {
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
