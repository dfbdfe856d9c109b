// Package producer is what backends and operators do with nothing but Redis: look up
// where a user is, push, close connections, block a user. The commands beside serve
// use it, and the console of a pod, which asks no other pod for anything either.
package producer
