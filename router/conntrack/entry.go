package conntrack

// counter counts one direction: whole IP packets as they would be on the wire, super-segments as their segments.
type counter struct{ packets, bytes uint64 }

// entry is a confirmed connection in a shard's slab: two cache lines, no pointers. What not every connection has
// stands elsewhere: IPv6 addresses, the state of TCP, SCTP and DCCP in slabs of their own, the rest in rare.
type entry struct {
	pair     [2]uint64 // by direction as in key; IPv6: pair[0] is the slot in shard.addrs
	ids      [2]uint32 // by direction: SrcID<<16 | DstID, both call IDs for enhanced GRE
	kind     uint32    // as in key
	status   Status
	deadline Time
	start    Time
	count    [2]counter
	mapping  [2]uint32
	route    [2]Route
	gen      uint32 // of the slot: counts its tenants
	l4       uint32 // slot in the slab of the protocol's state, 0: none
	next     uint32 // in the list of its wheel slot
	prev     uint32 // the same; headBit|n for the first of list n
	park     uint32 // wheel tick at which the wheel comes by: never after the deadline
	timeouts uint16 // which set
	helper   uint8
	flags    uint8 // internal, see below
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

// link is kept beside the entry: its neighbours in the queue of unreplied connections, in the list of ended
// ones, or (older) in the list of free slots. Slot 0 is no connection's: the ends of all lists.
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

type chunk struct {
	entries [chunkSize]entry
	links   [chunkSize]link
}

func makeHandle(shard int, slot, gen uint32) Handle {
	return Handle(gen)<<32 | Handle(shard)<<24 | Handle(slot)
}

func (h Handle) shard() int   { return int(h >> 24 & (maxShards - 1)) }
func (h Handle) slot() uint32 { return uint32(h) & maxSlot }
func (h Handle) gen() uint32  { return uint32(h >> 32) }

// slab is a pool of pointer-free values that never move, by slot from 1 on. It grows by a chunk at a time.
type slab[T any] struct {
	chunks []*slabChunk[T]
	free   uint32 // first of the free list
	used   uint32 // slots ever taken
}

type slabChunk[T any] struct {
	items [chunkSize]T
	next  [chunkSize]uint32 // free list
}

func (s *slab[T]) at(slot uint32) *T {
	return &s.chunks[slot>>chunkBits].items[slot&(chunkSize-1)]
}

// take returns the slot of a value that holds whatever its last tenant left.
func (s *slab[T]) take() uint32 {
	if slot := s.free; slot != 0 {
		s.free = s.chunks[slot>>chunkBits].next[slot&(chunkSize-1)]
		return slot
	}
	s.used++
	if int(s.used>>chunkBits) >= len(s.chunks) {
		s.chunks = append(s.chunks, new(slabChunk[T]))
	}
	return s.used
}

func (s *slab[T]) put(slot uint32) {
	s.chunks[slot>>chunkBits].next[slot&(chunkSize-1)] = s.free
	s.free = slot
}
