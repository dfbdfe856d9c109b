package scripts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"pushpod/internal/redistest"
)

// TestLibraryVersionGrowsWithItsCode fails where the library's text changed
// and its version did not: pods would leave the old one in the server. Raise
// LibraryVersion, then write the new sum here.
func TestLibraryVersionGrowsWithItsCode(t *testing.T) {
	const sums = "7 526b94ce3ab8e2f3654d6c5b5a72997ed9f4689fd6ae4b4ee22406fed9cddfda"
	code, version := Library()
	sum := fmt.Sprintf("%d %x", version, sha256.Sum256([]byte(code)))
	if sum != sums {
		t.Errorf("the library is %s, was %s", sum, sums)
	}
	if got, ok := versionOf(code); got != version || !ok {
		t.Errorf("the version in the code is %d, want %d", got, version)
	}
}

// libraryOf returns a library that says it is of this version.
func libraryOf(version int) string {
	code, own := Library()
	return strings.Replace(code, fmt.Sprintf("local PUSHPOD_VERSION = %d\n", own), fmt.Sprintf("local PUSHPOD_VERSION = %d\n", version), 1)
}

func TestFunctionsAreLoadedOnlyWhereTheyAreNewer(t *testing.T) {
	client := redistest.Start(t).Client()
	const other = "#!lua name=other\nredis.register_function('other', function() return 'other' end)"
	cases := []struct {
		name, present     string
		loaded            bool
		found, afterwards int
	}{
		{"none there", "", true, 0, LibraryVersion},
		{"another library there", other, true, 0, LibraryVersion},
		{"an older one there", libraryOf(LibraryVersion - 1), true, LibraryVersion - 1, LibraryVersion},
		{"the same there", libraryOf(LibraryVersion), false, LibraryVersion, LibraryVersion},
		{"a newer one there", libraryOf(LibraryVersion + 1), false, LibraryVersion + 1, LibraryVersion + 1},
		{"a much newer one there", libraryOf(999999999), false, 999999999, 999999999},
	}
	for _, c := range cases {
		if err := client.FunctionFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if c.present != "" {
			if err := client.FunctionLoad(t.Context(), c.present).Err(); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		loaded, found, err := LoadFunctions(t.Context(), client)
		if err != nil || loaded != c.loaded || found != c.found {
			t.Errorf("%s: loaded %t, found %d: %v; want %t, %d", c.name, loaded, found, err, c.loaded, c.found)
		}
		if now, err := client.FCall(t.Context(), "pushpod_version", nil).Int(); err != nil || now != c.afterwards {
			t.Errorf("%s: pushpod_version is %d, want %d: %v", c.name, now, c.afterwards, err)
		}
		if c.present == other && client.FCall(t.Context(), "other", nil).Val() != "other" {
			t.Errorf("%s: it is gone", c.name)
		}
	}
}

func TestFunctionsOfStrangersStay(t *testing.T) {
	client := redistest.Start(t).Client()
	foreign := "#!lua name=pushpod\nredis.register_function('f', function() return 'foreign' end)"
	if err := client.FunctionLoad(t.Context(), foreign).Err(); err != nil {
		t.Fatal(err)
	}
	if loaded, _, err := LoadFunctions(t.Context(), client); loaded || !errors.Is(err, ErrForeignLibrary) {
		t.Errorf("loaded %t: %v", loaded, err)
	}
	if got := client.FCall(t.Context(), "f", nil).Val(); got != "foreign" {
		t.Errorf("f is %v", got)
	}

	taken := "#!lua name=other\nredis.register_function('pushpod_push', function() return 'other' end)"
	if err := client.FunctionFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.FunctionLoad(t.Context(), taken).Err(); err != nil {
		t.Fatal(err)
	}
	loaded, _, err := LoadFunctions(t.Context(), client)
	if loaded || err == nil || !strings.Contains(err.Error(), "pushpod_push already exists") {
		t.Errorf("a taken function name: loaded %t: %v", loaded, err)
	}
}

func TestFunctionsNeedAServerThatKnowsThem(t *testing.T) {
	mini := servers(t)[1]
	loaded, found, err := LoadFunctions(t.Context(), mini.client)
	if loaded || found != 0 || !errors.Is(err, ErrNoFunctions) {
		t.Errorf("loaded %t, found %d: %v", loaded, found, err)
	}
}

func TestLoadFunctionsSaysWhatRedisAnswered(t *testing.T) {
	real := redistest.Start(t)
	real.CLI("ACL", "SETUSER", "weak", "on", "nopass", "~*", "+@all", "-function|load")
	client := redis.NewClient(&redis.Options{Addr: real.Addr(), Username: "weak", Password: "x", Protocol: 2, MaxRetries: -1, DisableIdentity: true})
	defer client.Close()
	_, _, err := LoadFunctions(t.Context(), client)
	if err == nil || !strings.HasPrefix(err.Error(), "scripts: load the function library: NOPERM") {
		t.Errorf("without the right to load: %v", err)
	}
	real.CLI("ACL", "SETUSER", "weak", "-function|list")
	_, _, err = LoadFunctions(t.Context(), client)
	if err == nil || !strings.HasPrefix(err.Error(), "scripts: list the function libraries: NOPERM") {
		t.Errorf("without the right to list: %v", err)
	}
	real.Kill()
	if _, _, err = LoadFunctions(t.Context(), client); err == nil {
		t.Error("without a server: no error")
	}
}

// A racingServer has its library loaded by somebody else between the look and
// the loading.
type racingServer struct {
	*redis.Client
	code string
}

func (s *racingServer) FunctionLoad(ctx context.Context, code string) *redis.StringCmd {
	s.Client.FunctionLoad(ctx, s.code)
	return s.Client.FunctionLoad(ctx, code)
}

func TestLoadFunctionsMeetsAnother(t *testing.T) {
	for _, version := range []int{LibraryVersion, LibraryVersion + 1} {
		server := &racingServer{Client: redistest.Start(t).Client(), code: libraryOf(version)}
		loaded, found, err := LoadFunctions(t.Context(), server)
		if loaded || found != version || err != nil {
			t.Errorf("version %d came first: loaded %t, found %d: %v", version, loaded, found, err)
		}
	}
}

func TestFunctionsAreLoadedIntoEachMaster(t *testing.T) {
	first, second := redistest.Start(t, "--cluster-enabled", "yes"), redistest.Start(t, "--cluster-enabled", "yes")
	first.CLI("CLUSTER", "ADDSLOTSRANGE", "0", "8191")
	second.CLI("CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
	second.CLI("CLUSTER", "SET-CONFIG-EPOCH", "2")
	second.Client().FunctionLoad(t.Context(), libraryOf(LibraryVersion+1))
	if loaded, found, err := LoadFunctions(t.Context(), first.Client(), second.Client()); err != nil || !loaded || found != 0 {
		t.Errorf("loaded %t, found %d: %v", loaded, found, err)
	}
	for node, want := range map[*redistest.Server]int{first: LibraryVersion, second: LibraryVersion + 1} {
		code := node.CLI("FUNCTION", "LIST", "WITHCODE")
		if !strings.Contains(code, fmt.Sprintf("local PUSHPOD_VERSION = %d\n", want)) {
			t.Errorf("not version %d: %.300s", want, code)
		}
	}
	if loaded, found, err := LoadFunctions(t.Context(), first.Client(), second.Client()); err != nil || loaded || found != LibraryVersion {
		t.Errorf("again: loaded %t, found %d: %v", loaded, found, err)
	}
}
