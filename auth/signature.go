package auth

import (
	"context"
	"iter"
)

// checkSignature looks for a key that has signed a token. Where the token's key is not
// known and an endpoint may know it, it asks that, and waits for a bounded time.
func (v *Verifier) checkSignature(ctx context.Context, t *token) error {
	signature, err := decode(t.signature)
	if err != nil {
		return err
	}
	known, err := v.tryKeys(ctx, t, signature)
	if err == nil || known || v.remote == nil || t.algorithm.kind == kindSecret {
		return err
	}
	if err := v.remote.again(ctx); err != nil {
		return err
	}
	_, err = v.tryKeys(ctx, t, signature)
	return err
}

// tryKeys tries the keys that may have signed a token. known says that asking for more
// keys would change nothing.
func (v *Verifier) tryKeys(ctx context.Context, t *token, signature []byte) (known bool, _ error) {
	if t.algorithm.kind != kindSecret {
		select {
		case v.slots <- struct{}{}:
			defer func() { <-v.slots }()
		case <-ctx.Done():
			return true, ErrUnavailable
		}
	}
	refused := ErrKey
	if t.algorithm.kind == kindSecret {
		refused = ErrAlgorithm
	}
	for k := range v.keys() {
		known = known || t.kid != "" && k.id == t.kid
		if !k.serves(t.algorithm, t.kid) {
			continue
		}
		if t.algorithm.method.Verify(t.signed, signature, k.material) == nil {
			return true, nil
		}
		refused = ErrSignature
	}
	if t.kid == "" { // no other key would be the one that it names
		known = v.remote == nil || v.remote.keys.Load() != nil
	}
	return known, refused
}

// keys are all that are known now.
func (v *Verifier) keys() iter.Seq[key] {
	return func(yield func(key) bool) {
		for _, k := range v.secrets {
			if !yield(k) {
				return
			}
		}
		for _, set := range v.read() {
			for _, k := range set {
				if !yield(k) {
					return
				}
			}
		}
	}
}

// read are the keys that were read, from the file and from the endpoint.
func (v *Verifier) read() (sets [2][]key) {
	if v.file != nil {
		sets[0] = *v.file.keys.Load()
	}
	if v.remote != nil {
		if keys := v.remote.keys.Load(); keys != nil {
			sets[1] = *keys
		}
	}
	return sets
}
