package conntrack

import (
	"math/rand/v2"
	"testing"
)

// TestIndex compares the index with a map, over growth and removals, with a hash that is poor on purpose in its low
// bits.
func TestIndex(t *testing.T) {
	for name, hash := range map[string]func(item uint32) uint64{
		"good hash":      func(item uint32) uint64 { return uint64(item)*0x9e3779b97f4a7c15 ^ uint64(item)<<40 },
		"few low bits":   func(item uint32) uint64 { return uint64(item) * 0x9e3779b97f4a7c15 &^ 0x3f },
		"equal low bits": func(item uint32) uint64 { return uint64(item) * 0x9e3779b97f4a7c15 &^ 0xffff },
	} {
		t.Run(name, func(t *testing.T) {
			ix := newIndex(&arena{}, 0)
			r := rand.New(rand.NewPCG(1, 2))
			in := map[uint32]bool{}
			for range 60000 {
				item := uint32(2 + r.IntN(40000))
				if in[item] {
					ix.remove(hash(item), item)
					delete(in, item)
				} else {
					if !ix.insert(&arena{}, hash(item), item, hash) {
						t.Fatal("no room")
					}
					in[item] = true
				}
			}
			if ix.items != len(in) {
				t.Fatalf("%d items, want %d", ix.items, len(in))
			}
			for item := uint32(2); item < 40002; item++ {
				if found := ix.has(hash(item), item); found != in[item] {
					t.Fatalf("item %d found: %v", item, found)
				}
			}
		})
	}
}

func (ix *index) has(h uint64, item uint32) bool {
	p := ix.place(h)
	for i, v := range p.seg {
		at := uint32(i) &^ (bucketSlots - 1)
		if v == p.tag|item {
			return at == p.a || at == p.b
		}
	}
	return false
}

// TestIndexFails: items whose hashes agree in all that the directory looks at end in a refusal, not in memory for
// ever.
func TestIndexFails(t *testing.T) {
	ix := newIndex(&arena{}, 0)
	same := func(item uint32) uint64 { return 0xabcdef }
	for item := uint32(2); ; item++ {
		if !ix.insert(&arena{}, same(item), item, same) {
			if item != 2+2*bucketSlots {
				t.Errorf("refused at %d", item)
			}
			break
		}
	}
	if len(ix.directory) > 1<<spareDepth {
		t.Errorf("directory of %d", len(ix.directory))
	}
}

func TestIndexStartsAtBuckets(t *testing.T) {
	for slots, segments := range map[int]int{0: 1, 1: 1, segmentSlots: 1, segmentSlots + 1: 2, 100_000: 196} {
		if ix := newIndex(&arena{}, slots); ix.depth != 0 || len(ix.directory) != segments {
			t.Errorf("%d slots: depth %d, %d segments, want %d", slots, ix.depth, len(ix.directory), segments)
		}
	}
}

// TestWheel moves deadlines and the clock at random: nothing ends before its time, and what is due ends within a tick
// when the budget lets it.
func TestWheel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t, nil)
		s := w.t.shards[0]
		var ids []Handle
		for i := range 300 {
			ids = append(ids, w.pass(udp(hostA, uint16(i), hostB, 2)).ID)
		}
		spans := []Time{sec / 10, 10 * sec, 100 * sec, 3600 * sec, 6 * 3600 * sec, 20 * 24 * 3600 * sec}
		for range 300 {
			for range 5 {
				id := ids[r.IntN(len(ids))]
				w.t.SetTimeout(w.now, id, Time(r.Int64N(int64(spans[r.IntN(len(spans))]))))
			}
			w.now += Time(r.Int64N(int64(spans[r.IntN(len(spans)-1)])))
			budget := 1000
			if r.IntN(3) == 0 {
				budget = r.IntN(20) // lags behind
			}
			w.t.Step(0, w.now, budget)
			dead := make([]Dead, 1000)
			for _, d := range dead[:w.t.Reap(0, dead)] {
				if d.Deadline > w.now {
					t.Fatalf("seed %d: ended %v before its time", seed, d.Deadline-w.now)
				}
			}
			if budget < 1000 {
				continue
			}
			for w.t.Step(0, w.now, 1000) > 0 {
			}
			w.t.Reap(0, dead)
			for slot := uint32(1); slot <= s.used; slot++ {
				e := s.entry(slot)
				if e.status&Confirmed != 0 && e.flags&flagDying == 0 && e.deadline>>tickShift < w.now>>tickShift-1 {
					t.Fatalf("seed %d: slot %d is %v late", seed, slot, w.now-e.deadline)
				}
			}
		}
		w.recount()
	}
}

// TestWheelOnTime: what is due at the moment at which its list is emptied ends at that moment, not a tick later.
func TestWheelOnTime(t *testing.T) {
	w := newWorld(t, nil)
	id := w.pass(udp(hostA, 1, hostB, 2)).ID
	due := Time(int64(w.now)>>levelShift[1]+3) << levelShift[1]
	w.t.SetTimeout(w.now, id, due-w.now)
	w.now = due - 1
	if n := w.t.Step(0, w.now, 1000); n != 0 {
		t.Fatalf("%d ended before their time", n)
	}
	w.now = due
	if n := w.t.Step(0, w.now, 1000); n != 1 {
		t.Fatalf("%d ended at their time, want 1", n)
	}
}

// TestStepIsBounded: a million flows whose time comes at once cost no call more than its budget.
func TestStepIsBounded(t *testing.T) {
	n := 100_000
	table := benchTable(t, n)
	fill(t, table, benchUDP, n, 0, false)
	now, ended, calls := 400*sec, 0, 0
	for ended < n {
		m := table.Step(0, now, 64)
		if m > 64 {
			t.Fatalf("%d ended in one call", m)
		}
		ended += m
		if calls++; calls > n/16 {
			t.Fatalf("%d ended in %d calls", ended, calls)
		}
	}
	dead := make([]Dead, 1000)
	for table.Reap(0, dead) > 0 {
	}
	if table.Len() != 0 || table.shards[0].index.items != 0 {
		t.Fatalf("%d left", table.Len())
	}
	// The memory is used again.
	used := table.shards[0].used
	fill(t, table, benchUDP, n, now, false)
	if table.shards[0].used != used {
		t.Errorf("%d slots, then %d", used, table.shards[0].used)
	}
}
