package scripts

import (
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
)

const (
	// LibraryName is the library's name in FUNCTION LIST.
	LibraryName = "pushpod"

	// LibraryVersion is the version of the library that this program brings.
	// It is raised with every change of push.lua or of the wrapping: pods of
	// two versions share a server, and only a newer library replaces another.
	LibraryVersion = 7
)

//go:embed push.lua
var pushSource string

//go:embed route.lua
var routeSource string

// Push returns the text of push.lua, for EVAL and EVALSHA.
func Push() string { return pushSource }

// Route returns the text of route.lua, for EVAL and EVALSHA.
func Route() string { return routeSource }

// Library returns the code for FUNCTION LOAD, and its version. It registers
// three functions: pushpod_push and pushpod_route take the key and the arguments of push.lua
// and route.lua, and pushpod_version takes none and returns the version.
//
// A library's own code may not use string or math while it is being loaded
// (Redis 7.0), so the script as a whole becomes a function's body.
func Library() (code string, version int) {
	// pushpod_push writes no key, so memory that has run out need not stop it.
	// It lacks the flag no-writes, under which Redis refuses PUBLISH.
	const form = `#!lua name=%s
-- Made from pushpod's push.lua. Load it with: pushpod functions load
local PUSHPOD_VERSION = %d

local function pushpod_push(KEYS, ARGV)
%s
end

local function pushpod_route(KEYS, ARGV)
%s
end

redis.register_function{
  function_name = 'pushpod_push',
  callback = pushpod_push,
  flags = { 'allow-oom' },
  description = 'push to every connection of a user',
}
redis.register_function{
  function_name = 'pushpod_route',
  callback = pushpod_route,
  flags = { 'no-writes', 'allow-oom' },
  description = 'what a push to every connection of a user publishes, and where',
}
redis.register_function{
  function_name = 'pushpod_version',
  callback = function() return PUSHPOD_VERSION end,
  flags = { 'no-writes', 'allow-oom', 'allow-stale' },
  description = 'the version of this library',
}
`
	return fmt.Sprintf(form, LibraryName, LibraryVersion, pushSource, routeSource), LibraryVersion
}

// versionOf reads the version out of a library's code; ok is false where the
// code is not one of ours.
func versionOf(code string) (version int, ok bool) {
	m := regexp.MustCompile(`(?m)^local PUSHPOD_VERSION = ([0-9]{1,9})$`).FindStringSubmatch(code)
	if m == nil {
		return 0, false
	}
	version, err := strconv.Atoi(m[1])
	return version, err == nil
}
