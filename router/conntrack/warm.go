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

// warm does each step for all packets before it goes on to the next, so that no load waits for another packet's. s.mu
// is held.
func (s *shard) warm(batch []*Packet) {
	var places [warmBatch]place
	var slots [warmBatch]uint32
	sum := uint32(0)
	for i, p := range batch {
		var k key
		h := p.H
		class, reason := k.keyOf(p.Bytes, p.Bytes[h.L4:h.Len], h.Family, h.Proto)
		if reason != packet.NotDropped || class != classFlow || h.FragOff != 0 {
			continue
		}
		places[i] = s.index.place(k.hash(&s.table.secret))
		sum += places[i].seg[places[i].a]
	}
	for i := range batch {
		if places[i].seg == nil {
			continue
		}
		if slots[i] = places[i].likely(); slots[i] != 0 {
			sum += s.entry(slots[i]).kind
		}
	}
	for i := range batch {
		if slots[i] == 0 {
			continue
		}
		e := s.entry(slots[i])
		sum += e.gen // the other line
		if e.l4 != 0 && uint8(e.kind) == packet.ProtoTCP {
			sum += s.tcp.at(e.l4).lastSeq
		}
		if e.kind&kindV6 != 0 {
			sum += uint32(s.addrs.at(uint32(e.pair[0]))[0][0][0])
		}
	}
	s.warmed = sum
}

// likely returns the slot of the first item with the tag of p: nearly always the one that is looked for.
func (p *place) likely() uint32 {
	for _, at := range [2]uint32{p.a, p.b} {
		for _, v := range p.seg[at : at+bucketSlots] {
			if v&tagMask == p.tag && v != 0 {
				return v &^ tagMask >> 1
			}
		}
	}
	return 0
}
