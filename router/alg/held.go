package alg

import (
	"encoding/binary"
	"slices"

	"github.com/natrouter/natrouter/router/conntrack"
)

// Limits of segments that wait: those that came before their turn, and those whose bytes the helper holds. What is
// above them, or waits too long, is dropped: it is not acknowledged, so its sender sends it again.
const (
	maxHeldSegments = 4                    // of a direction
	maxHeldBytes    = 8 << 10              // of a direction, headers not counted
	maxHeldTotal    = 16 << 20             // bytes, of all connections
	maxHeldTime     = conntrack.Time(2e9)  // ns; a sender tries again in about a second (RFC 6298, section 2)
	maxHold         = conntrack.Time(2e9)  // ns that a helper may hold bytes before it gets more of them
	maxStall        = conntrack.Time(60e9) // ns that edits may wait for room; then the helper is taken off
)

// held is the part of a segment that waits, in memory of its own. It leaves with the headers of the segment that lets
// it: their acknowledgement and timestamp are the newest (an older one could be refused: RFC 7323, section 5).
type held struct {
	seq, end uint32
	fin      bool
	at       conntrack.Time
	data     []byte
	first    uint32 // of the whole segment
	flags    uint8
	urgent   uint16
}

// keep stores the part of a segment from seq on; false: there is no room. What is there already is not stored again.
func (f *flow) keep(st *state, p *part, from uint32) bool {
	for i := range f.held {
		q := &f.held[i]
		if !before(from, q.seq) && !after(p.end, q.end) && (q.fin || !p.fin) {
			return true
		}
	}
	data := p.payload[from-p.seq:]
	size := len(data)
	for i := range f.held {
		size += len(f.held[i].data)
	}
	if len(f.held) == maxHeldSegments || size > maxHeldBytes || st.kit.held.Load()+int64(len(data)) > maxHeldTotal {
		return false
	}
	st.kit.held.Add(int64(len(data)))
	st.helper.counters.add(CountHeld)
	q := held{
		seq: from, end: p.end, fin: p.fin, at: st.now, data: slices.Clone(data),
		first: p.seq, flags: p.hdr.Flags(), urgent: binary.BigEndian.Uint16(p.hdr[18:]),
	}
	at := slices.IndexFunc(f.held, func(o held) bool { return after(o.seq, from) })
	if at < 0 {
		at = len(f.held)
	}
	f.held = slices.Insert(f.held, at, q)
	return true
}

// read gives the helper what has waited and is next now.
func (f *flow) read(st *state, dir conntrack.Direction) {
	for i := 0; i < len(f.held) && !f.done && !after(f.held[i].seq, f.next); i++ {
		q := &f.held[i]
		if after(q.end, f.next) {
			f.feed(st, dir, q.data[f.next-q.seq:])
		}
		if q.fin && q.end == f.next && !f.done {
			f.finish(st, dir)
		}
	}
}

// ready reports whether something waits that may leave.
func (f *flow) ready() bool {
	return len(f.held) > 0 && (f.done || before(f.held[0].seq, f.released))
}

// send sends what waits and may leave, in order, of segments that begin before limit or (all) of any.
func (f *flow) send(p *part, limit uint32, all bool) {
	kept := f.held[:0]
	for i := range f.held {
		q := &f.held[i]
		if !(f.done || before(q.seq, f.released)) || !(all || before(q.seq, limit)) {
			kept = append(kept, *q)
			continue
		}
		to := q.end
		if !f.done {
			to = least(q.end, f.released)
		}
		p.sendHeld(f, q, to)
		p.st.kit.held.Add(-int64(to - q.seq))
		if q.data, q.seq = q.data[to-q.seq:], to; to != q.end || q.fin && !f.done { // a part stays
			kept = append(kept, *q)
		}
	}
	clear(f.held[len(kept):])
	f.held = kept
	slices.SortStableFunc(f.held, func(a, b held) int { return int(int32(a.seq - b.seq)) })
}

// discard drops the first segments that wait, or (0) all.
func (f *flow) discard(st *state, n int) {
	if n == 0 {
		n = len(f.held)
	}
	for i := range f.held[:n] {
		st.kit.held.Add(-int64(len(f.held[i].data)))
	}
	if f.held = slices.Delete(f.held, 0, n); len(f.held) == 0 {
		f.held = nil
	}
}

// expire drops what has waited too long.
func (f *flow) expire(st *state) {
	for i := 0; i < len(f.held); {
		if f.held[i].at+maxHeldTime > st.now {
			i++
			continue
		}
		st.kit.held.Add(-int64(len(f.held[i].data)))
		f.held = slices.Delete(f.held, i, i+1)
	}
}

// stalled reports whether edits have waited for room for too long.
func (f *flow) stalled(now conntrack.Time) bool { return f.full != 0 && f.full+maxStall <= now }

// overdue reports whether the helper has held bytes for too long.
func (f *flow) overdue(now conntrack.Time) bool { return f.since != 0 && f.since+maxHold <= now }

// blocked reports whether no more can come before what the helper holds has left: its receiver has all that is before it,
// and the sender may not send beyond the window that it offers (RFC 9293, section 3.8.6). A closed window may open again,
// and says nothing.
func (f *flow) blocked(st *state, dir conntrack.Direction) bool {
	if !f.hold || !f.offered || f.window == 0 || f.acked != f.base {
		return false
	}
	scales, known := st.kit.table.WindowScales(st.id)
	return known && !before(f.next, f.acked+uint32(f.window)<<scales[1-dir])
}

// letGo lets leave what the helper holds.
func (f *flow) letGo(st *state, dir conntrack.Direction) {
	st.helper.counters.add(CountLetGo)
	y, ok := st.stream.(Yielder)
	if !ok {
		st.desync("held for too long")
		return
	}
	f.hold, f.since = false, 0
	st.guard(func() { y.LetGo(st, dir) })
	if !st.detached {
		f.release(st)
	}
}

// deadline returns when expire, stalled or overdue has something to say, 0 for never.
func (f *flow) deadline() (at conntrack.Time) {
	if f.full != 0 {
		at = f.full + maxStall
	}
	if t := f.since + maxHold; f.since != 0 && (at == 0 || t < at) {
		at = t
	}
	for i := range f.held {
		if t := f.held[i].at + maxHeldTime; at == 0 || t < at {
			at = t
		}
	}
	return at
}
