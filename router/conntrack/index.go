package conntrack

import "math/bits"

// Shape of the index: extendible hashing over segments of buckets. A full segment splits in two, so growing costs
// a bounded piece of work at a time, never a rehash of the whole.
const (
	bucketSlots    = 8
	segmentBuckets = 64
	segmentSlots   = bucketSlots * segmentBuckets
	spareDepth     = 8 // of the directory beyond what evenly filled segments need; more, and the hash is at fault
)

// A slot of the index holds tag<<25 | slot<<1 | direction; 0 is free, since slot 0 is no connection's.
const tagMask = 0x7f << 25

type segment [segmentSlots]uint32

// index finds slots by the hash of a key. An item stands in one of two buckets of one segment; so nothing moves
// when one is removed. It is guarded by its shard's lock.
type index struct {
	directory []*segment // by the top bits of the hash
	depths    []uint8    // how many of them all items of that segment share
	depth     uint8      // len(directory) == 1<<depth
	items     int
	initial   uint8 // depth at the start
}

// newIndex makes an index of at least so many slots.
func newIndex(slots int) index {
	depth := uint8(0)
	for segmentSlots<<depth < slots {
		depth++
	}
	ix := index{directory: make([]*segment, 1<<depth), depths: make([]uint8, 1<<depth), depth: depth, initial: depth}
	all := make([]segment, 1<<depth)
	for i := range all {
		ix.directory[i], ix.depths[i] = &all[i], depth
	}
	return ix
}

// place is where a hash may stand.
type place struct {
	seg  *segment
	a, b uint32 // first slots of the two buckets, always different
	tag  uint32
}

func (ix *index) place(h uint64) place {
	a := uint32(h) & (segmentBuckets - 1)
	b := a ^ (uint32(h>>6)&(segmentBuckets-1) | 1)
	return place{ix.directory[h>>(64-ix.depth)], a * bucketSlots, b * bucketSlots, uint32(h>>12) << 25}
}

// insert adds item (slot<<1 | direction) under h. rehash returns the hash of an item that is in the index. It
// fails only when the hash does: too many items share its top bits.
func (ix *index) insert(h uint64, item uint32, rehash func(item uint32) uint64) bool {
	for {
		p := ix.place(h)
		for _, at := range [2]uint32{p.a, p.b} {
			for i := at; i < at+bucketSlots; i++ {
				if p.seg[i] == 0 {
					p.seg[i] = p.tag | item
					ix.items++
					return true
				}
			}
		}
		if !ix.split(h, rehash) {
			return false
		}
	}
}

// remove takes item out, if it is there.
func (ix *index) remove(h uint64, item uint32) {
	p := ix.place(h)
	for _, at := range [2]uint32{p.a, p.b} {
		for i := at; i < at+bucketSlots; i++ {
			if p.seg[i] == p.tag|item {
				p.seg[i] = 0
				ix.items--
				return
			}
		}
	}
}

// split gives half of the segment of h to a new one. Items keep their place within the segment.
func (ix *index) split(h uint64, rehash func(item uint32) uint64) bool {
	at := h >> (64 - ix.depth)
	old, d := ix.directory[at], ix.depths[at]
	if int(d) >= max(bits.Len(uint(ix.items/segmentSlots)), int(ix.initial))+spareDepth {
		return false
	}
	if d == ix.depth {
		ix.double()
		at = h >> (64 - ix.depth)
	}
	upper := new(segment)
	for i, v := range old {
		if v != 0 && rehash(v&^tagMask)>>(63-d)&1 == 1 {
			upper[i], old[i] = v, 0
		}
	}
	width := uint64(1) << (ix.depth - d) // places of the directory that named old
	first := at &^ (width - 1)
	for i := first; i < first+width; i++ {
		ix.depths[i] = d + 1
		if i >= first+width/2 {
			ix.directory[i] = upper
		}
	}
	return true
}

func (ix *index) double() {
	directory, depths := make([]*segment, 2<<ix.depth), make([]uint8, 2<<ix.depth)
	for i := range directory {
		directory[i], depths[i] = ix.directory[i/2], ix.depths[i/2]
	}
	ix.directory, ix.depths, ix.depth = directory, depths, ix.depth+1
}
