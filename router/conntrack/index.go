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
	directory []*segment // by the hash as a fraction of 2^64; base<<depth of them
	depths    []uint8    // how often the segment there was split
	depth     uint8      // the most of depths
	items     int
	base      int // segments at the start
}

// newIndex makes an index of at least so many slots.
func newIndex(a *arena, slots int) index {
	n := max((slots+segmentSlots-1)/segmentSlots, 1)
	ix := index{directory: make([]*segment, n), depths: make([]uint8, n), base: n}
	all := carve[segment](a, n)
	for i := range all {
		ix.directory[i] = &all[i]
	}
	return ix
}

// at returns where the directory names the segment of h at a depth.
func (ix *index) at(h uint64, depth uint8) uint64 {
	hi, _ := bits.Mul64(h, uint64(ix.base)<<depth)
	return hi
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
	return place{ix.directory[ix.at(h, ix.depth)], a * bucketSlots, b * bucketSlots, uint32(h>>12) << 25}
}

// insert adds item (slot<<1 | direction) under h. rehash returns the hash of an item that is in the index. It
// fails only when the hash does: too many items share its top bits.
func (ix *index) insert(mem *arena, h uint64, item uint32, rehash func(item uint32) uint64) bool {
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
		if !ix.split(mem, h, rehash) {
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
func (ix *index) split(mem *arena, h uint64, rehash func(item uint32) uint64) bool {
	at := ix.at(h, ix.depth)
	old, d := ix.directory[at], ix.depths[at]
	if int(d) >= bits.Len(uint(ix.items/segmentSlots/ix.base))+spareDepth {
		return false
	}
	if d == ix.depth {
		ix.double()
		at = ix.at(h, ix.depth)
	}
	upper := &carve[segment](mem, 1)[0]
	for i, v := range old {
		if v != 0 && ix.at(rehash(v&^tagMask), d+1)&1 == 1 {
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
	directory, depths := make([]*segment, 2*len(ix.directory)), make([]uint8, 2*len(ix.directory))
	for i := range directory {
		directory[i], depths[i] = ix.directory[i/2], ix.depths[i/2]
	}
	ix.directory, ix.depths, ix.depth = directory, depths, ix.depth+1
}
