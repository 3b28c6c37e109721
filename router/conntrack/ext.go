package conntrack

import (
	"sync"

	"github.com/natrouter/natrouter/router/packet"
)

// Ext is the state of a connection that few have. It lives as long as the connection and is handed out with [Dead].
// Mu is the connection's own lock, the first in the lock order: hold it while using the fields, and take no other
// connection's under it.
type Ext struct {
	Mu     sync.Mutex
	ID     Handle
	Helper any       // the helper's private state
	User   any       // of an embedding program
	Labels [2]uint64 // 128 bits; set with Table.SetLabels
	Edits  [2]Edits  // by direction; add with Table.AddEdit
}

// Ext returns the rare state of a connection, making it if there is none yet; nil: there is no such connection.
func (t *Table) Ext(id Handle) (x *Ext) {
	t.locked(id, func(s *shard, slot uint32, e *entry) {
		if e.flags&flagExt == 0 {
			if s.ext == nil {
				s.ext = make(map[uint32]*Ext)
			}
			s.ext[slot] = &Ext{ID: id}
			e.flags |= flagExt
		}
		x = s.ext[slot]
	})
	return x
}

// SetLabels sets the labels of a connection. x.Mu is held.
func (t *Table) SetLabels(x *Ext, labels [2]uint64) {
	x.Labels = labels
	t.locked(x.ID, func(s *shard, slot uint32, e *entry) { s.update(slot, e, UpdateLabel) })
}

// AddEdit adds an edit to a direction of a connection and lets the tracker know, whose window is in the senders' own
// numbers. x.Mu is held.
func (t *Table) AddEdit(x *Ext, dir Direction, e Edit) error {
	if err := x.Edits[dir&1].Add(e); err != nil {
		return err
	}
	t.publishEdits(x)
	return nil
}

// AckEdits drops the edits of a direction that its receiver has acknowledged, see [Edits.Acked]. x.Mu is held.
func (t *Table) AckEdits(x *Ext, dir Direction, ack uint32) {
	d := &x.Edits[dir&1]
	n := d.Pending()
	if d.Acked(ack); d.Pending() != n {
		t.publishEdits(x)
	}
}

// publishEdits gives the tracker a copy of the numbers.
func (t *Table) publishEdits(x *Ext) {
	shifts := new([2]seqShift)
	for dir := range x.Edits {
		shifts[dir] = seqShift{
			base: x.Edits[dir].shift.base, edits: append([]seqEdit(nil), x.Edits[dir].shift.edits...),
		}
	}
	t.locked(x.ID, func(s *shard, slot uint32, e *entry) {
		if s.shifts == nil {
			s.shifts = make(map[uint32]*[2]seqShift)
		}
		first := e.status&SeqAdjust == 0
		s.shifts[slot] = shifts
		e.status |= SeqAdjust
		if first {
			s.update(slot, e, UpdateSeqAdj)
		}
	})
}

// shift returns the edits of a direction as numbers, nil if there are none.
func (s *shard) shift(slot uint32, dir Direction) *seqShift {
	if both := s.shifts[slot]; both != nil {
		return &both[dir]
	}
	return nil
}

// WindowScales returns by how many bits the windows that the ends of a TCP connection offer are scaled, by the direction
// in which the end sends (RFC 7323, section 2); not in its SYN. false: there is no such connection, or it was joined in
// its middle, so that nobody knows.
func (t *Table) WindowScales(id Handle) (scales [2]uint8, known bool) {
	t.locked(id, func(s *shard, _ uint32, e *entry) {
		if uint8(e.kind) != packet.ProtoTCP {
			return
		}
		sides := &s.tcp.at(e.l4).side
		scales, known = [2]uint8{sides[0].scale, sides[1].scale}, (sides[0].flags|sides[1].flags)&sideLiberal == 0
	})
	return scales, known
}
