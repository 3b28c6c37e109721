package conntrack

// counter counts one direction: whole IP packets as they would be on the wire, super-segments as their segments.
type counter struct{ packets, bytes uint64 }

// Where an entry's counters end; they stay there. The bytes are 2.3 years of 1 Gbit/s.
const (
	bytesBits  = 53
	maxBytes   = 1<<bytesBits - 1
	maxPackets = 1<<(32+64-bytesBits) - 1
)

// entry is a confirmed connection in a shard's slab: two cache lines, no pointers, the first of which suffices to find
// it and to judge a UDP packet. What not every connection has stands elsewhere: IPv6 addresses, the state of TCP, SCTP
// and DCCP in slabs of their own, the rest in rare.
type entry struct {
	pair     [2]uint64 // by direction as in key; IPv6: pair[0] is the slot in shard.addrs
	ids      [2]uint32 // by direction: SrcID<<16 | DstID, both call IDs for enhanced GRE
	kind     uint32    // as in key
	status   Status
	deadline Time
	start    Time
	park     uint32 // wheel tick at which the wheel comes by: never after the deadline
	l4       uint32 // slot in the slab of the protocol's state, 0: none
	gen      uint32 // of the slot: counts its tenants
	timeouts uint16 // which set
	helper   uint8
	flags    uint8 // internal, see below

	bytes   [2]uint64 // by direction; above bytesBits: the upper bits of packets
	packets [2]uint32 // by direction, the lower bits
	mapping [2]uint32
	route   [2]Route
	next    uint32 // in the list of its wheel slot
	prev    uint32 // the same; headBit|n for the first of list n
	link    link
}

// counted returns what one direction has carried.
func (e *entry) counted(dir Direction) counter {
	return counter{
		packets: e.bytes[dir]>>bytesBits<<32 | uint64(e.packets[dir]),
		bytes:   e.bytes[dir] & maxBytes,
	}
}

// count adds to what one direction has carried.
func (e *entry) count(dir Direction, more counter) {
	c := e.counted(dir)
	packets := min(c.packets+more.packets, maxPackets)
	e.packets[dir] = uint32(packets)
	e.bytes[dir] = min(c.bytes+more.bytes, maxBytes) | packets>>32<<bytesBits
}

// Bits of entry.flags.
const (
	flagDying     = 1 << iota // ended, waits to be reaped
	flagUnreplied             // in the queue of unreplied connections
	flagReplyOnly             // NATClash: only the reply tuple is in the index
	flagRare                  // has a record in shard.rare
	flagCounted               // counts for its source's limit
	flagEvicted               // ended by early drop
	flagMaster                // has or had expectations
	flagExt                   // has an Ext
)

// link names an entry's neighbours in the queue of unreplied connections, in the list of ended ones (newer), or in the
// list of free slots (older). Slot 0 is no connection's: the ends of all lists.
type link struct{ older, newer uint32 }

// rare is what few connections have, by slot.
type rare struct {
	mark   uint32
	master Handle
}

// Sizes of the slab.
const (
	chunkBits = 10
	chunkSize = 1 << chunkBits
	maxSlot   = 1<<24 - 1 // slots have 24 bits in the index and in a Handle
	maxShards = 256
)

func makeHandle(shard int, slot, gen uint32) Handle {
	return Handle(gen)<<32 | Handle(shard)<<24 | Handle(slot)
}

func (h Handle) shard() int   { return int(h >> 24 & (maxShards - 1)) }
func (h Handle) slot() uint32 { return uint32(h) & maxSlot }
func (h Handle) gen() uint32  { return uint32(h >> 32) }
