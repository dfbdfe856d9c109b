package auth

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// maxKeyBytes bounds a file of keys, and what a JWKS endpoint answers.
const maxKeyBytes = 1 << 20

// file is a source of keys that is read again when it changes.
type file struct {
	path string
	poll time.Duration
	log  func(string, error)
	keys atomic.Pointer[[]key]

	// Owned by run.
	applied []byte // what keys was made of
	seen    []byte // what was there when it was read last
}

// newFile reads the file, which must hold keys.
func newFile(path string, log func(string, error)) (*file, error) {
	f := &file{path: path, poll: time.Second, log: log}
	b, err := readBounded(path)
	if err == nil {
		err = f.apply(b)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the keys in %s: %w", path, err)
	}
	f.applied, f.seen = b, b
	return f, nil
}

// run reads the file again until ctx ends. It compares what is in it: that also sees
// a change within the clock's tick, and a link that leads elsewhere.
func (f *file) run(ctx context.Context) {
	t := time.NewTicker(f.poll)
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

// look takes what is in the file once it has stood still from one look to the next:
// before, it may be half written. Where it can't be used, that is said once and the
// keys stay.
func (f *file) look() {
	b, err := readBounded(f.path)
	if err != nil {
		b = []byte(err.Error()) // stands for what can't be read, so that it is said once
	}
	still := bytes.Equal(b, f.seen)
	f.seen = b
	if !still || bytes.Equal(b, f.applied) {
		return
	}
	f.applied = b
	if err == nil {
		err = f.apply(b)
	}
	if err != nil {
		f.log("keys not read again, those known stay", err)
		return
	}
	f.log("keys read again", nil)
}

func (f *file) apply(b []byte) error {
	keys, err := parseKeys(b)
	if err == nil {
		f.keys.Store(&keys)
	}
	return err
}

// parseKeys reads a JSON Web Key Set or PEM.
func parseKeys(b []byte) ([]key, error) {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		return parseJWKS(b, true, false)
	}
	return parsePEM(b)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f)
}

// readAll reads up to maxKeyBytes. It returns an error where there is more.
func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxKeyBytes+1))
	if err == nil && len(b) > maxKeyBytes {
		err = fmt.Errorf("there is more than %d bytes", maxKeyBytes)
	}
	return b, err
}
