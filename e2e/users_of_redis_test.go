package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// The users of configs/redis-acl.conf, and the tests' own.
const (
	podUser  = "pod"
	producer = "producer"
	backend  = "backend"
	operator = "operator"
	admin    = "admin"
)

func passwordOf(user string) string { return "the password of " + user }

// usersFile writes configs/redis-acl.conf with passwords, and an administrator.
func usersFile(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot(), "configs", "redis-acl.conf"))
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	with := regexp.MustCompile(`(?m)^user (\S+) on `).ReplaceAllStringFunc(string(text), func(line string) string {
		user := strings.Fields(line)[1]
		users = append(users, user)
		return line + `">` + passwordOf(user) + `" `
	})
	if want := []string{podUser, producer, backend, operator}; !slices.Equal(users, want) {
		t.Fatalf("configs/redis-acl.conf has the users %q, want %q", users, want)
	}
	with += "\nuser " + admin + ` on ">` + passwordOf(admin) + "\" ~* &* +@all\n"
	path := filepath.Join(t.TempDir(), "redis-acl.conf")
	if err := os.WriteFile(path, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// asProducer returns a producer's client.
func asProducer(r *redistest.Server) *redis.Client {
	return r.ClientAs(producer, passwordOf(producer))
}

// producerCLI runs redis-cli as a producer.
func producerCLI(t testing.TB, r *redistest.Server, args ...string) string {
	t.Helper()
	out, err := r.TryCLIAs(producer, passwordOf(producer), args...)
	if err != nil {
		t.Fatalf("redis-cli %q as a producer: %v", args, err)
	}
	return out
}
