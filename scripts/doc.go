// Package scripts holds what runs inside Redis, so that pushing takes one
// atomic call from any client and no code of a producer's own: push.lua, and
// the function library that is made from the same text.
//
// push.lua is a script for EVAL and `redis-cli --eval`; its head says what it
// takes and answers. [Library] wraps it for FCALL, and [LoadFunctions] brings
// it to a server that has none or an older one. push.sh and echo-backend.sh,
// which stand beside it, need redis-cli only.
package scripts
