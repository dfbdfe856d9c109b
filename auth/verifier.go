package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"
)

// Options configures a [Verifier]. At least one source of keys must be given.
type Options struct {
	Rules           // see Verifier.With
	KeysFile string // JSON Web Key Set or PEM; "": none
	JWKSURL  string // https, or http on loopback; "": none

	ValidID func(id string) bool // says whether sub may be a user id, and jti an id. Required
	Now     func() time.Time     // default time.Now

	// Log is told of what happens to the sources of keys, for operators; err is nil
	// where that is good. It may be called from any goroutine of Run. Default: nobody.
	Log func(what string, err error)
}

// Rules are what may change without the sources of keys being read anew.
type Rules struct {
	Secret    Secret // for HMAC, at least LeastSecret bytes; "": none
	SecretOld Secret // accepted beside Secret, while that is replaced

	Issuer     string        // what iss must be; "": anything
	Audience   []string      // of which aud must name one; nil: anything
	Leeway     time.Duration // by which the issuer's clock may differ from ours
	RequireExp bool          // refuse tokens without exp
}

// Verifier says whose a token is. Its methods may be called from any goroutine.
type Verifier struct {
	opts    Options
	secrets []key
	file    *file         // nil: none
	remote  *remote       // nil: none
	slots   chan struct{} // one for each asymmetric signature that may be checked at once
}

// New makes a Verifier and reads the file of keys. The endpoint is not asked before
// Run is called.
func New(o Options) (*Verifier, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = func(string, error) {}
	}
	// Half of the processors at most: the others serve connections.
	v := &Verifier{opts: o, slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
	if err := errors.Join(v.addSecrets(), v.addSources()); err != nil {
		return nil, err
	}
	return v, nil
}

// With returns a Verifier by other rules, which shares the sources of keys with v: the keys
// that are known stay known, and Run is called for one of the two only.
func (v *Verifier) With(r Rules) (*Verifier, error) {
	other := &Verifier{opts: v.opts, file: v.file, remote: v.remote, slots: v.slots}
	other.opts.Rules = r
	if err := other.addSecrets(); err != nil {
		return nil, err
	}
	return other, nil
}

func (v *Verifier) addSecrets() error {
	if v.opts.Secret == "" && v.opts.KeysFile == "" && v.opts.JWKSURL == "" {
		return errors.New("tokens need a secret, a file of keys or a JWKS endpoint")
	}
	for _, s := range []Secret{v.opts.Secret, v.opts.SecretOld} {
		if s == "" {
			continue
		}
		k, err := newKey([]byte(s))
		if err != nil {
			return fmt.Errorf("the secret for HMAC: %w", err)
		}
		v.secrets = append(v.secrets, k)
	}
	return nil
}

func (v *Verifier) addSources() (err error) {
	if v.opts.KeysFile != "" {
		if v.file, err = newFile(v.opts.KeysFile, v.opts.Log); err != nil {
			return err
		}
	}
	if v.opts.JWKSURL != "" {
		v.remote, err = newRemote(v.opts.JWKSURL, v.opts.Log)
	}
	return err
}

// Run keeps the keys up to date until ctx ends. Its caller waits for it.
func (v *Verifier) Run(ctx context.Context) {
	var all sync.WaitGroup
	if v.file != nil {
		all.Go(func() { v.file.Run(ctx) })
	}
	if v.remote != nil {
		all.Go(func() { v.remote.run(ctx) })
	}
	all.Wait()
}

// Verify says whose a token is. The error is a [Refused], or ErrUnavailable where the
// token's key can't be looked up. It may wait for some seconds, and for ctx at most,
// but where the token is cheap.
func (v *Verifier) Verify(ctx context.Context, text string) (Identity, error) {
	t, err := parse(text)
	if err == nil {
		err = v.checkSignature(ctx, &t)
	}
	if err != nil {
		return Identity{}, err
	}
	return v.readClaims(&t)
}

// Cheap reports whether Verify takes a few microseconds for a token, and never waits:
// it is signed with a secret, or can't be read.
func (v *Verifier) Cheap(text string) bool {
	t, err := parse(text)
	return err != nil || t.algorithm.kind == kindSecret
}

// Format writes no more than the type: there are secrets within; see fmt.Formatter.
func (Verifier) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "auth.Verifier") }
