package auth

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"

	"pushpod/internal/filewatch"
)

// maxKeyBytes bounds a file of keys, and what a JWKS endpoint answers.
const maxKeyBytes = filewatch.MaxBytes

// file is a source of keys that is read again when it changes.
type file struct {
	*filewatch.Files
	keys atomic.Pointer[[]key]
}

// newFile reads the file, which must hold keys.
func newFile(path string, log func(string, error)) (*file, error) {
	f := new(file)
	files, err := filewatch.New(filewatch.Options{
		Paths: []string{path},
		Apply: func(contents [][]byte) error { return f.apply(contents[0]) },
		Log: func(err error) {
			if err != nil {
				log("keys not read again, those known stay", err)
				return
			}
			log("keys read again", nil)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("reading the keys in %s: %w", path, err)
	}
	f.Files = files
	return f, nil
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

// readAll reads up to maxKeyBytes. It returns an error where there is more.
func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxKeyBytes+1))
	if err == nil && len(b) > maxKeyBytes {
		err = fmt.Errorf("there is more than %d bytes", maxKeyBytes)
	}
	return b, err
}
