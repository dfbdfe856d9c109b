package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pushpod/internal/secret"
)

// leastToken is how many bytes admin.token has at least: as many as a random key of
// 128 bits.
const leastToken = 16

// secretText reads a secret of at least so many bytes, or nothing.
func secretText(least int) kind[secret.Text] {
	of := text(4096, "")
	k := kind[secret.Text]{name: of.name, allowed: of.allowed, schema: of.schema}
	if least > 0 {
		k.allowed = fmt.Sprintf("nothing, or %s, and at least %d", of.allowed, least)
		k.schema = node{"allOf": []any{of.schema, node{"anyOf": []any{wordSchema(""), node{"minLength": least}}}}}
	}
	k.parse = func(raw any) (secret.Text, error) {
		s, err := of.parse(raw)
		if err == nil && s != "" && len(s) < least {
			return "", errors.New("is too short: it could be guessed")
		}
		return secret.Text(s), err
	}
	return k
}

// refuseSecretFlags refuses secrets on the command line, which every user of the
// machine can read.
func (l *loader) refuseSecretFlags(given func(name string) bool) {
	for _, k := range l.keys {
		if k.secret && given(k.path) {
			l.add(Problem{
				Key: k.path, Value: secret.Hidden, Source: "--" + k.path,
				Message: "is a secret, and every user of this machine can read a command line",
				Allowed: "the variable " + k.variable() + ", or the key in a file (--config FILE)",
			})
		}
	}
}

// mayHoldSecret reports whether text from a file that is not understood may hold a
// secret: where a line is misread, its value is part of another's.
func mayHoldSecret(text string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc([]string{"pass", "pw", "psw", "secret", "token", "cred", "hook"}, func(word string) bool {
		return strings.Contains(text, word)
	})
}
