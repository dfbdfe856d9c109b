package config

import "strings"

const (
	envPrefix    = "PUSHPOD_"
	podIP        = "POD_IP"
	scriptPrefix = "PUSHPOD_PREFIX" // of scripts/push.sh; no key's
)

// An environment is what a process was given as NAME=VALUE. Of a name that
// stands there twice the first one counts, as for os.Getenv; one without a
// value counts as absent, as in a shell's ${NAME:-default}.
type environment map[string]string

func newEnvironment(environ []string) environment {
	env := environment{}
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if _, twice := env[name]; ok && !twice {
			env[name] = value
		}
	}
	return env
}

// isServiceLink says whether Kubernetes made the variable for a service called
// pushpod or pushpod-something: PUSHPOD_SERVICE_HOST=10.0.0.11,
// PUSHPOD_ADMIN_PORT_9090_TCP_ADDR=10.0.0.12. They stand in every container of
// the namespace and must not stop a pod. Their PORT holds a URL, which tells
// it from a misspelt key.
// Source: Kubernetes, "Service: Environment variables".
func isServiceLink(name, value string) bool {
	rest := "_" + strings.TrimPrefix(name, envPrefix)
	switch {
	case strings.HasSuffix(rest, "_SERVICE_HOST"), strings.HasSuffix(rest, "_SERVICE_PORT"), strings.Contains(rest, "_SERVICE_PORT_"):
		return true
	case strings.HasSuffix(rest, "_PORT") && strings.Contains(value, "://"):
		return true
	}
	for _, protocol := range []string{"_TCP", "_UDP", "_SCTP"} {
		before, after, found := strings.Cut(rest, protocol)
		if !found || after != "" && after != "_PROTO" && after != "_PORT" && after != "_ADDR" {
			continue
		}
		port := before[strings.LastIndexByte(before, '_')+1:]
		if port != "" && strings.Trim(port, "0123456789") == "" && strings.HasSuffix(before, "_PORT_"+port) {
			return true
		}
	}
	return false
}
