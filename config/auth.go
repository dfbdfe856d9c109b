package config

import (
	"net/url"
	"regexp"
	"strings"

	"pushpod/internal/secret"
)

// leastSecret is how many bytes a secret for HMAC has at least (RFC 7518 section 3.2).
const leastSecret = 32

// jwksURL reads where keys are published, or nothing. Nobody between may change them.
func jwksURL() kind[string] {
	return kind[string]{name: "url", allowed: "nothing, or an https URL; http on loopback only", parse: func(raw any) (string, error) {
		s, ok := raw.(string)
		u, err := url.Parse(s)
		if !ok || err != nil {
			return "", errNotAllowed
		}
		_, local := loopback(u.Hostname())
		if s == "" || u.Hostname() != "" && (u.Scheme == "https" || u.Scheme == "http" && local) {
			return s, nil
		}
		return "", errNotAllowed
	}}.as(patternSchema("^(https?://[^/].*)?$"))
}

// hookURL reads where a service is asked, or nothing. It may be within the operator's own
// network, so http is allowed.
func hookURL() kind[secret.Text] {
	return kind[secret.Text]{name: "url", allowed: "nothing, or an http or https URL", parse: func(raw any) (secret.Text, error) {
		s, ok := raw.(string)
		u, err := url.Parse(s)
		if ok && (s == "" || err == nil && u.Hostname() != "" && (u.Scheme == "https" || u.Scheme == "http")) {
			return secret.Text(s), nil
		}
		return "", errNotAllowed
	}}.as(patternSchema("^(https?://[^/].*)?$"))
}

// tokenChar is one character of a token (RFC 9110 section 5.6.2).
const tokenChar = "[a-zA-Z0-9!#$%&'*+.^_`|~-]"

// cookieName reads a token (RFC 6265 section 4.1.1), or nothing.
func cookieName() kind[string] {
	form := regexp.MustCompile("^" + tokenChar + "{0,256}$")
	return kind[string]{name: "text", allowed: "nothing, or the name of a cookie", parse: func(raw any) (string, error) {
		if s, ok := raw.(string); ok && form.MatchString(s) {
			return s, nil
		}
		return "", errNotAllowed
	}}.as(patternSchema(form.String()))
}

// textList reads a list of words without control characters.
func textList() kind[[]string] {
	one := text(1024, "")
	return kind[[]string]{name: "texts", allowed: "a list of text, separated by commas", parse: func(raw any) ([]string, error) {
		all, ok := words(raw)
		for _, s := range all {
			if _, err := one.parse(s); err != nil {
				return nil, err
			}
		}
		if !ok {
			return nil, errNotAllowed
		}
		return all, nil
	}}.as(listSchema(one.schema))
}

// origins reads a list of origins (RFC 6454 section 6.1).
func origins() kind[[]string] {
	form := regexp.MustCompile(`^(null|[a-z][a-z0-9+.-]*://([a-z0-9*_-][a-z0-9*._-]*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?)$`)
	const allowed = "a list of scheme://host or scheme://host:port, such as https://app.example.com or https://*.example.com, and null"
	return kind[[]string]{name: "origins", allowed: allowed, parse: func(raw any) ([]string, error) {
		all, ok := words(raw)
		for _, s := range all {
			ok = ok && form.MatchString(strings.ToLower(s))
		}
		if !ok {
			return nil, errNotAllowed
		}
		return all, nil
	}}.as(listSchema(patternSchema("^(null|[A-Za-z][A-Za-z0-9+.-]*://[^/@ ]+)$")))
}
