package conntrack

import "unsafe"

// blockSize is how much an arena asks for at a time, bytes: a huge page of most systems.
const blockSize = 2 << 20

// lineSize is what the parts of a block are aligned to, bytes: two cache lines, which processors like to fetch
// together.
const lineSize = 128

// arena cuts a shard's slabs and its index out of large blocks. What is cut stays the shard's for good: ended
// connections leave their slots to later ones. The zero value takes from the Go heap. It is guarded by its shard's
// lock.
type arena struct {
	memory func(bytes int) []byte // Config.Memory
	rest   []byte                 // of the last block
}

// take returns zeroed bytes, nil when there is no memory but the Go heap's.
func (a *arena) take(bytes int) []byte {
	bytes = (bytes + lineSize - 1) &^ (lineSize - 1)
	if bytes > len(a.rest) {
		if a.memory == nil {
			return nil
		}
		block := a.memory((bytes + blockSize - 1) &^ (blockSize - 1))
		if len(block) < bytes || uintptr(unsafe.Pointer(unsafe.SliceData(block)))%lineSize != 0 {
			return nil
		}
		if bytes >= blockSize && len(block)-bytes < len(a.rest) {
			return block[:bytes:bytes] // the rest of the last one is more
		}
		a.rest = block
	}
	part := a.rest[:bytes:bytes]
	a.rest = a.rest[bytes:]
	return part
}

// carve returns n zeroed values from an arena. T has no pointers: the collector does not look into the arena's memory.
func carve[T any](a *arena, n int) []T {
	var zero T
	b := a.take(n * int(unsafe.Sizeof(zero)))
	if b == nil {
		return make([]T, n)
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// slab is a pool of pointer-free values that never move, by slot from 1 on. It grows by a chunk at a time.
type slab[T any] struct {
	chunks []*[chunkSize]T
	free   uint32 // first of the free list
	used   uint32 // slots ever taken
}

// at returns the value of a slot, which was taken.
func (s *slab[T]) at(slot uint32) *T {
	return &s.chunks[slot>>chunkBits][slot&(chunkSize-1)]
}

// take returns the slot of a value that holds whatever its last tenant left.
func (s *slab[T]) take(a *arena) uint32 {
	if slot := s.free; slot != 0 {
		s.free = *s.next(slot)
		return slot
	}
	s.used++
	if int(s.used>>chunkBits) >= len(s.chunks) {
		s.chunks = append(s.chunks, (*[chunkSize]T)(carve[T](a, chunkSize)))
	}
	return s.used
}

func (s *slab[T]) put(slot uint32) {
	*s.next(slot) = s.free
	s.free = slot
}

// next is the link of the free list: the first word of a value that nobody uses.
func (s *slab[T]) next(slot uint32) *uint32 { return (*uint32)(unsafe.Pointer(s.at(slot))) }
