package conntrack

import (
	"slices"

	"github.com/natrouter/natrouter/router/packet"
)

// Snapshot is a connection as commands show it.
type Snapshot struct {
	ID          Handle
	Tuples      [2]Tuple
	Status      Status
	State       string // protocol state in the field's words, "ESTABLISHED"; empty where there is none
	Helper      uint8
	Mark        uint32
	Mapping     [2]uint32
	Master      Handle
	Packets     [2]uint64
	Bytes       [2]uint64 // L3 length
	Start, Stop Time      // Stop: 0 while alive
	Deadline    Time
	Timeout     Time // remaining at the time of the snapshot
}

// Dead is what is left of an ended connection: what NAT must give back and events must tell.
type Dead struct {
	Snapshot
	Evicted bool // ended by early drop, not by its own time: see docs/spec/nat.md section 10
	Ext     *Ext // its rare state, nil if it had none
}

func (s *shard) snapshot(slot uint32, e *entry, now Time) Snapshot {
	snap := Snapshot{
		ID: s.handle(slot, e), Status: e.status, State: s.stateName(e), Helper: e.helper, Mapping: e.mapping,
		Start: e.start, Deadline: e.deadline,
	}
	for dir := range Direction(2) {
		s.fillTuple(e, dir, &snap.Tuples[dir])
		c := e.counted(dir)
		snap.Packets[dir], snap.Bytes[dir] = c.packets, c.bytes
	}
	if e.flags&flagRare != 0 {
		r := s.rare[slot]
		snap.Mark, snap.Master = r.mark, r.master
	}
	if e.flags&flagDying != 0 {
		snap.Stop = e.deadline
	} else {
		snap.Timeout = max(e.deadline-now, 0)
	}
	return snap
}

func (s *shard) stateName(e *entry) string {
	switch uint8(e.kind) {
	case packet.ProtoTCP:
		return s.tcp.at(e.l4).state.String()
	case packet.ProtoSCTP:
		return s.sctp.at(e.l4).state.String()
	case packet.ProtoDCCP:
		return s.dccp.at(e.l4).state.String()
	}
	return ""
}

// StateNames returns what Snapshot.State may be for a protocol, in the order of the protocol's table; nil for one without
// states.
func StateNames(proto uint8) []string {
	switch proto {
	case packet.ProtoTCP:
		return slices.Clone(tcpStateNames[:])
	case packet.ProtoSCTP:
		return slices.Clone(sctpStateNames[:])
	case packet.ProtoDCCP:
		return slices.Clone(dccpStateNames[:])
	}
	return nil
}

// walkBatch is how many entries are copied under one hold of a shard's lock.
const walkBatch = 128

// Walk calls f for each confirmed connection until it returns false. No lock is held during f. The snapshot is f's only while
// it runs: the next connections are written over it. It is no picture of one moment: connections that begin or end meanwhile may
// be shown or not, others are shown once.
func (t *Table) Walk(now Time, f func(*Snapshot) bool) {
	batch := make([]Snapshot, 0, walkBatch)
	for _, s := range t.shards {
		for next := uint32(1); next != 0; {
			batch, next = s.copyBatch(now, next, batch[:0])
			for i := range batch {
				if !f(&batch[i]) {
					return
				}
			}
		}
	}
}

// copyBatch copies live connections from slot next on and returns where to go on, 0 at the end.
func (s *shard) copyBatch(now Time, next uint32, batch []Snapshot) ([]Snapshot, uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for looked := 0; next <= s.used; next++ {
		if looked++; len(batch) == walkBatch || looked > 16*walkBatch {
			return batch, next
		}
		e := s.entry(next)
		if e.status&Confirmed != 0 && e.flags&flagDying == 0 && e.deadline > now {
			batch = append(batch, s.snapshot(next, e, now))
		}
	}
	return batch, 0
}

// Lookup returns the snapshot of one connection.
func (t *Table) Lookup(now Time, id Handle) (snap Snapshot, ok bool) {
	t.locked(id, func(s *shard, slot uint32, e *entry) {
		if e.deadline > now {
			snap, ok = s.snapshot(slot, e, now), true
		}
	})
	return snap, ok
}

// Find returns the snapshot of the connection that has a tuple, in either direction.
func (t *Table) Find(now Time, tuple *Tuple) (snap Snapshot, dir Direction, ok bool) {
	k := tuple.key()
	s, slot, dir, e := t.lookup(0, now, &k, k.hash(&t.secret))
	if s == nil {
		return Snapshot{}, 0, false
	}
	snap = s.snapshot(slot, e, now)
	s.unlock()
	return snap, dir, true
}

// Reap moves ended connections of a shard to the caller, who releases their mappings; at most len(dst) a call. Ended
// connections keep their memory until then: a table of which nobody reaps fills up and refuses new ones.
func (t *Table) Reap(shard int, dst []Dead) int {
	s := t.shards[shard]
	s.mu.Lock()
	n := 0
	for ; n < len(dst) && s.dead.newer != 0; n++ {
		slot := s.dead.newer
		e := s.entry(slot)
		dst[n] = Dead{Snapshot: s.snapshot(slot, e, e.deadline), Evicted: e.flags&flagEvicted != 0, Ext: s.ext[slot]}
		s.dead.newer = e.link.newer
		s.release(slot, e)
		s.numDead--
	}
	s.unlock()
	return n
}
