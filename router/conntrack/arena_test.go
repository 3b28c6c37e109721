package conntrack

import (
	"reflect"
	"testing"
	"unsafe"
)

// TestNoPointers: what lies in an arena holds nothing alive.
func TestNoPointers(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[entry](), reflect.TypeFor[tcpState](), reflect.TypeFor[sctpState](), reflect.TypeFor[dccpState](),
		reflect.TypeFor[segment](), reflect.TypeFor[[2][2][16]byte](),
	} {
		if hasPointers(typ) {
			t.Errorf("%s has pointers", typ)
		}
		if typ.Size() < unsafe.Sizeof(uint32(0)) {
			t.Errorf("%s is too small for the link of the free list", typ)
		}
	}
}

func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return hasPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if hasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	}
	return t.Kind() < reflect.Bool || t.Kind() > reflect.Float64 || t.Kind() == reflect.Uintptr
}

// TestLines: an entry is two cache lines of one pair, and TCP's state does not straddle two.
func TestLines(t *testing.T) {
	if got := unsafe.Sizeof(entry{}); got != lineSize {
		t.Errorf("an entry has %d bytes", got)
	}
	if got := unsafe.Offsetof(entry{}.bytes); got != 64 {
		t.Errorf("the second line begins at %d", got)
	}
	if got := unsafe.Sizeof(tcpState{}); got != 64 {
		t.Errorf("the state of TCP has %d bytes", got)
	}
	a := arena{memory: func(bytes int) []byte {
		return unsafe.Slice((*byte)(unsafe.Pointer(&make([]entry, bytes/128+1)[0])), bytes)
	}}
	for range 3 {
		for _, p := range []unsafe.Pointer{
			unsafe.Pointer(&carve[entry](&a, chunkSize)[0]), unsafe.Pointer(&carve[tcpState](&a, chunkSize)[0]),
			unsafe.Pointer(&carve[segment](&a, 1)[0]), unsafe.Pointer(&carve[[3]byte](&a, 1)[0]),
		} {
			if uintptr(p)%lineSize != 0 {
				t.Errorf("a part at %p", p)
			}
		}
	}
}

// TestArena: parts don't overlap, hold what is written, and come from the heap where memory is short or askew.
func TestArena(t *testing.T) {
	asked, give := 0, true
	a := arena{memory: func(bytes int) []byte {
		if asked++; !give {
			return nil
		}
		if bytes%blockSize != 0 {
			t.Errorf("asked for %d bytes", bytes)
		}
		return hugeOrHeap(t, bytes)
	}}
	var parts [][]uint64
	for i := range 60 {
		n := 1 + i*i*100 // up to 2.8 MB
		part := carve[uint64](&a, n)
		if len(part) != n {
			t.Fatalf("%d of %d values", len(part), n)
		}
		for j, v := range part {
			if v != 0 {
				t.Fatalf("part %d is not zero at %d", i, j)
			}
			part[j] = uint64(i)
		}
		parts = append(parts, part)
		give = i != 30
	}
	for i, part := range parts {
		for j, v := range part {
			if v != uint64(i) {
				t.Fatalf("part %d has %d at %d", i, v, j)
			}
		}
	}
	if asked == 0 {
		t.Error("no block was asked for")
	}
	for name, cut := range map[string]func([]byte) []byte{
		"too short": func(b []byte) []byte { return b[:lineSize-1] },
		"askew":     func(b []byte) []byte { return b[64:] },
	} {
		bad := arena{memory: func(bytes int) []byte { return cut(hugeOrHeap(t, bytes)) }}
		if bad.take(1) != nil {
			t.Errorf("memory that is %s was taken", name)
		}
	}
}

func hugeOrHeap(t *testing.T, bytes int) []byte {
	if memory := hugeMemory(t); memory != nil {
		if b := memory(bytes); b != nil {
			return b
		}
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&make([]entry, bytes/128)[0])), bytes)
}

// TestRefill: a table that is filled, expires and is filled again takes no more memory, for any protocol.
func TestRefill(t *testing.T) {
	for name, pkt := range map[string][]byte{"udp": benchUDP, "tcp": benchTCP} {
		const n = 20_000
		cfg := DefaultConfig()
		cfg.Max, cfg.MaxUnreplied = n, n
		taken := 0
		cfg.Memory = func(bytes int) []byte { taken += bytes; return hugeOrHeap(t, bytes) }
		table := New(cfg)
		now := Time(0)
		first := 0
		dead := make([]Dead, 1000)
		for round := range 3 {
			fill(t, table, pkt, n, now, true)
			if round == 0 {
				first = taken
			} else if taken != first {
				t.Errorf("%s: %d bytes, then %d", name, first, taken)
			}
			now += Time(cfg.Timeouts.TCPEstablished) + sec
			for table.Len() > 0 {
				table.Step(0, now, 1000)
				for table.Reap(0, dead) > 0 {
				}
			}
		}
		if first == 0 {
			t.Errorf("%s: no memory was asked for", name)
		}
	}
}

// TestCounterBounds: counters keep what they are given, carry from one word into the other, and stop at their end.
func TestCounterBounds(t *testing.T) {
	var e entry
	e.count(Reply, counter{1<<32 - 1, 1<<40 - 1})
	e.count(Reply, counter{2, 1})
	if got := e.counted(Reply); got != (counter{1<<32 + 1, 1 << 40}) {
		t.Errorf("carry: %+v", got)
	}
	if got := e.counted(Original); got != (counter{}) {
		t.Errorf("the other direction: %+v", got)
	}
	e.count(Reply, counter{maxPackets, maxBytes - 1<<40 - 1})
	if got := e.counted(Reply); got != (counter{maxPackets, maxBytes - 1}) {
		t.Errorf("near the end: %+v", got)
	}
	e.count(Reply, counter{1, 2})
	if got := e.counted(Reply); got != (counter{maxPackets, maxBytes}) {
		t.Errorf("at the end: %+v", got)
	}
}

// TestIndexSizes: any number of segments works, not only powers of two, and they fill evenly.
func TestIndexSizes(t *testing.T) {
	for _, segments := range []int{1, 2, 3, 7, 100} {
		var a arena
		ix := newIndex(&a, segments*segmentSlots)
		hash := func(item uint32) uint64 { return fold(uint64(item)*0x9e3779b97f4a7c15, 0xd6e8feb86659fd93) }
		n := uint32(segments * segmentSlots * 5 / 10)
		for item := uint32(2); item < n+2; item++ {
			if !ix.insert(&a, hash(item), item, hash) {
				t.Fatalf("%d segments: no room for item %d", segments, item)
			}
		}
		if ix.depth > 2 {
			t.Errorf("%d segments: split %d times", segments, ix.depth)
		}
		for item := uint32(2); item < n+2; item++ {
			if !ix.has(hash(item), item) {
				t.Fatalf("%d segments: item %d is lost", segments, item)
			}
		}
	}
}
