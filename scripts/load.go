package scripts

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrNoFunctions is returned by LoadFunctions where the server knows no
// functions at all. EVAL with Push does the same there.
var ErrNoFunctions = errors.New("scripts: the server has no functions; they need Redis 7 or later, or Valkey")

// ErrForeignLibrary is returned by LoadFunctions where the server has a
// library of this name that pushpod did not write. It stays untouched.
var ErrForeignLibrary = errors.New("scripts: the server has another library named " + LibraryName +
	"; delete it first (FUNCTION DELETE " + LibraryName + ")")

// A FunctionServer is what LoadFunctions asks of a Redis client;
// redis.UniversalClient has it.
type FunctionServer interface {
	FunctionList(ctx context.Context, q redis.FunctionListQuery) *redis.FunctionListCmd
	FunctionLoad(ctx context.Context, code string) *redis.StringCmd
	FunctionLoadReplace(ctx context.Context, code string) *redis.StringCmd
}

// LoadFunctions loads the library into each server (in a Cluster, each master: it keeps
// libraries of its own) that has none or an older one, and leaves an equal or newer one
// alone. It returns whether anything was loaded, and the lowest version found before:
// 0 where there was none. One that fails keeps it from no other.
//
// Two that load different versions in the same instant may leave the older
// one; Redis has no conditional replacement. The newer one is loaded again at
// the next call.
//
// Errors: ErrNoFunctions, ErrForeignLibrary, or what Redis answered (FUNCTION
// LIST, FUNCTION LOAD), such as NOPERM, wrapped.
func LoadFunctions(ctx context.Context, servers ...FunctionServer) (loaded bool, found int, err error) {
	for i, server := range servers {
		l, f, failed := loadInto(ctx, server)
		loaded = loaded || l
		if i == 0 || f < found {
			found = f
		}
		if failed != nil && err == nil {
			err = failed
		}
	}
	return loaded, found, err
}

// loadInto does it for one server.
func loadInto(ctx context.Context, server FunctionServer) (loaded bool, found int, err error) {
	code, version := Library()
	found, present, err := libraryVersion(ctx, server)
	if err != nil || found >= version {
		return false, found, err
	}
	if present {
		err = server.FunctionLoadReplace(ctx, code).Err()
	} else {
		err = server.FunctionLoad(ctx, code).Err()
	}
	if err == nil {
		return true, found, nil
	}
	// Where it was loaded by somebody else in the meantime, all is well.
	if now, _, again := libraryVersion(ctx, server); again == nil && now >= version {
		return false, now, nil
	}
	return false, found, fmt.Errorf("scripts: load the function library: %w", err)
}

// libraryVersion returns the version of the library in the server, and whether
// there is one.
func libraryVersion(ctx context.Context, server FunctionServer) (version int, present bool, err error) {
	query := redis.FunctionListQuery{LibraryNamePattern: LibraryName, WithCode: true}
	libraries, err := server.FunctionList(ctx, query).Result()
	switch {
	case err != nil && strings.Contains(strings.ToLower(err.Error()), "unknown command"):
		return 0, false, ErrNoFunctions
	case err != nil:
		return 0, false, fmt.Errorf("scripts: list the function libraries: %w", err)
	case len(libraries) == 0:
		return 0, false, nil
	}
	version, ok := versionOf(libraries[0].Code) // the name is no pattern: there is one at most
	if !ok {
		return 0, true, ErrForeignLibrary
	}
	return version, true, nil
}
