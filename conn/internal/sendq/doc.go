// Package sendq holds what waits for one socket, in order, and what becomes of
// it. It knows no connection and no system call.
//
// # Memory
//
//  1. A [Queue] exists only while something waits; it is a list of blocks of
//     1 KiB, which come from its loop's [Pool].
//  2. A block holds the frames that are for this socket alone: their bytes from
//     the front, and a record of each one's length from the back.
//  3. A frame that several queues share, that is large, or that expires,
//     collapses or closes, is a counted [Frame]; the block has a record of it,
//     and its memory is used again once the last queue has released it.
//  4. Blocks are cut from slabs of 2 MiB outside of the heap; a slab that was
//     not used between two calls of [Pool.Trim] goes back to the system.
//  5. A frame that is begun leaves the queue: what is left of it goes first, and
//     can be neither dropped nor replaced.
//  6. [Queue.Memory] is what all of it takes, in bytes; a shared frame counts in
//     each of its queues.
//
// # Books
//
// Every message that enters a queue leaves it with exactly one [Fate], counted
// by [Books.Count].
package sendq
