package nat

import (
	"encoding/binary"
	"math/bits"
)

// index finds slots of a slab by hash: open addressing with linear probing. An entry keeps the whole hash, so
// that neither probing nor removal touches the slab. Several entries may have one hash. The zero index is not
// usable.
type index struct {
	entries []indexEntry // a power of two
	used    int
}

type indexEntry struct {
	hash uint32
	slot uint32 // slot + 1; 0: empty
}

// newIndex returns an index that holds n entries before it grows.
func newIndex(n int) index {
	size := 16
	for size*3/4 < n {
		size *= 2
	}
	return index{entries: make([]indexEntry, size)}
}

// home returns where the entries of a hash begin.
func (x *index) home(hash uint32) uint32 { return hash & uint32(len(x.entries)-1) }

// next returns the position behind i.
func (x *index) next(i uint32) uint32 { return (i + 1) & uint32(len(x.entries)-1) }

// add puts slot under hash. It does not look whether it is there.
func (x *index) add(hash, slot uint32) {
	if (x.used+1)*4 > len(x.entries)*3 {
		old := x.entries
		x.entries = make([]indexEntry, 2*len(old))
		for _, e := range old {
			if e.slot != 0 {
				x.put(e)
			}
		}
	}
	x.used++
	x.put(indexEntry{hash, slot + 1})
}

func (x *index) put(e indexEntry) {
	i := x.home(e.hash)
	for x.entries[i].slot != 0 {
		i = x.next(i)
	}
	x.entries[i] = e
}

// remove takes slot under hash out and closes the gap (Knuth, volume 3, section 6.4, algorithm R).
func (x *index) remove(hash, slot uint32) {
	i := x.home(hash)
	for x.entries[i] != (indexEntry{hash, slot + 1}) {
		if x.entries[i].slot == 0 {
			return
		}
		i = x.next(i)
	}
	x.used--
	mask := uint32(len(x.entries) - 1)
	for j := i; ; {
		j = x.next(j)
		e := x.entries[j]
		if e.slot == 0 {
			break
		}
		if (j-x.home(e.hash))&mask >= (j-i)&mask {
			x.entries[i] = e
			i = j
		}
	}
	x.entries[i] = indexEntry{}
}

// hashKey is the secret of the hashes, so that nobody outside can choose what collides.
type hashKey [4]uint64

// mix multiplies to 128 bits and folds.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// sum hashes an address and a word.
func (k *hashKey) sum(a *[16]byte, v uint64) uint64 {
	h := mix(binary.LittleEndian.Uint64(a[:])^k[0], binary.LittleEndian.Uint64(a[8:])^k[1])
	return mix(h^k[2], v^k[3]^h>>32)
}

// sum2 hashes two addresses and a word.
func (k *hashKey) sum2(a, b *[16]byte, v uint64) uint64 { return k.sum(a, k.sum(b, v)) }
