package conntrack

import "github.com/natrouter/natrouter/router/packet"

// warmBatch is how many packets Warm looks at in one go.
const warmBatch = 64

// Warm reads what [Table.Track] will read of the packets' connections in the worker's own shard, and does nothing
// else. With many connections each of them costs Track several waits for memory, one after the other; Warm makes
// those of a whole batch overlap. It is worth its while for batches of more than a few packets, in any table.
func (t *Table) Warm(shard int, batch []*Packet) {
	s := t.shards[shard]
	for len(batch) > 0 {
		n := min(len(batch), warmBatch)
		s.mu.Lock()
		s.warm(batch[:n])
		s.mu.Unlock()
		batch = batch[n:]
	}
}

// warm does each step for all packets before it goes on to the next, and nothing but loads in the steps that have to
// wait for memory, so that many of them are under way at once. s.mu is held.
func (s *shard) warm(batch []*Packet) {
	var hashes [warmBatch]uint64
	var slots [warmBatch]uint32
	n := 0
	for _, p := range batch {
		var k key
		h := p.H
		class, reason := k.keyOf(p.Bytes, p.Bytes[h.L4:h.Len], h.Family, h.Proto)
		if reason == packet.NotDropped && class == classFlow && h.FragOff == 0 {
			hashes[n] = k.hash(&s.table.secret)
			n++
		}
	}
	sum := uint32(0)
	for _, h := range hashes[:n] {
		p := s.index.place(h)
		sum += p.seg[p.a]
	}
	found := 0
	for _, h := range hashes[:n] {
		if slot := s.index.likely(h); slot != 0 {
			slots[found] = slot
			found++
		}
	}
	for _, slot := range slots[:found] {
		e := s.entry(slot)
		sum += e.kind + e.prev // one of each of its lines
	}
	for _, slot := range slots[:found] {
		sum += s.warmState(s.entry(slot))
	}
	s.warmed = sum
}

// warmState reads what an entry has elsewhere.
func (s *shard) warmState(e *entry) (sum uint32) {
	if e.l4 != 0 && uint8(e.kind) == packet.ProtoTCP {
		sum += s.tcp.at(e.l4).lastSeq
	}
	if e.kind&kindV6 != 0 {
		sum += uint32(s.addrs.at(uint32(e.pair[0]))[0][0][0])
	}
	return sum
}

// likely returns the slot of the first item with the tag of a hash: nearly always the one that is looked for.
func (ix *index) likely(h uint64) uint32 {
	p := ix.place(h)
	for _, at := range [2]uint32{p.a, p.b} {
		for _, v := range p.seg[at : at+bucketSlots] {
			if v&tagMask == p.tag && v != 0 {
				return v &^ tagMask >> 1
			}
		}
	}
	return 0
}
