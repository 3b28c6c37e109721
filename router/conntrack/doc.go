// Package conntrack tracks connections: it says of each packet to which connection it belongs and in which
// direction, steps the connection's state machine, counts, and keeps the tuples that NAT edits.
//
// A caller gives each packet to [Table.Track], lets NAT edit Tuples[Reply] of a connection that is still
// unconfirmed, and gives it to [Table.Confirm] when nothing has dropped the packet. [Table.Step] does the expiry
// work, bounded, and [Table.Reap] hands ended connections back. Nothing here starts a goroutine, reads a clock or
// keeps a function of its caller.
//
// # Form
//
// A [Table] has one shard a worker, each under one mutex. A shard is a slab of pointer-free entries that never
// move, an index of 32-bit words over it, and a timing wheel that links the entries by number. The collector has
// nothing to walk in them, and they may lie in memory that the caller gives ([Config].Memory). A packet of an
// established connection reads one line of the index and the two of its entry, which are neighbours; TCP one more. Rare state (a helper's own, labels, user data, edit lists) is an [Ext] beside the slab.
//
// # Locks
//
// [Ext] (one a connection) → expectation table → shards, in index order → event subscriptions. Code that holds a
// shard's lock takes none of those before it.
//
// # Standards
//
// RFC 792, 793/9293, 768, 1122, 2018, 2637, 2784, 2890, 3828, 4340, 4443, 4787, 5382, 5508, 5927, 5961, 6888, 7323,
// 7857, 9260. Where we leave one, the place says so.
//
// # Limits
//
// A shard holds at most 2^24-1 connections and there are at most 256 shards. Zones are a field that is always 0.
// Transport checksums are the caller's: Track believes the bytes it gets. Fragments must be reassembled first.
package conntrack
