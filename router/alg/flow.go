package alg

import (
	"bytes"

	"github.com/natrouter/natrouter/router/conntrack"
)

// Limits of one direction of a stream.
const (
	maxCarry    = 8 << 10 // bytes that a helper may leave unconsumed
	maxOverflow = 1024    // edits that wait for room in the edit list
)

// flow is one direction of a connection's stream. All numbers are its sender's own. What was read by the helper lies
// before next, what may leave before released; the bytes that the helper has not consumed are [base, next). They need
// not be kept as packets: what is not sent on is not acknowledged, so its sender sends it again.
type flow struct {
	next     uint32
	base     uint32
	released uint32
	floor    uint32 // edits before it are acknowledged and forgotten: what lies before it never leaves again
	synced   bool   // the numbers are known
	began    bool   // the helper has got bytes
	adopted  bool   // the stream was joined in the middle
	floored  bool   // floor is set
	hold     bool   // the helper wants more before what it has not consumed leaves
	done     bool   // no more bytes are read: FIN, RST, or the helper is off; all may leave

	carry    []byte           // [base, next)
	overflow []conntrack.Edit // behind those of the list; they bound released
	held     []held           // in order of their numbers
	since    conntrack.Time   // from when on the helper holds what begins at base; 0: it doesn't
	full     conntrack.Time   // from when on edits have waited in overflow; 0: there are none

	// What the receiver told last.
	offered bool
	acked   uint32
	window  uint16 // unscaled
}

func before(a, b uint32) bool { return int32(a-b) < 0 }
func after(a, b uint32) bool  { return int32(a-b) > 0 }

// least and most return the earlier and the later number.
func least(a, b uint32) uint32 {
	if before(a, b) {
		return a
	}
	return b
}

func most(a, b uint32) uint32 { return a + b - least(a, b) }

// sync sets where the stream begins.
func (f *flow) sync(seq uint32) {
	f.synced, f.next, f.base, f.released = true, seq, seq, seq
}

// adopt begins in the middle.
func (f *flow) adopt(st *state, dir conntrack.Direction, seq uint32) {
	f.sync(seq)
	f.adopted = true
	if a, ok := st.stream.(Adopter); ok && !st.detached {
		st.guard(func() { a.Adopt(st, dir) })
	}
}

// feed gives the helper the bytes from next on, as often as it consumes some of them.
func (f *flow) feed(st *state, dir conntrack.Direction, data []byte) {
	if st.detached || st.stream == nil || len(data) == 0 {
		return
	}
	f.began = true
	b := data
	if len(f.carry) > 0 {
		s := st.kit.scratch.Get().(*scratch)
		defer st.kit.scratch.Put(s)
		s.parse = append(append(s.parse[:0], f.carry...), data...)
		b = s.parse
	}
	f.next += uint32(len(data))
	f.hold = false
	began := f.base
	for len(b) > 0 {
		var r Result
		st.guard(func() { r = st.stream.Stream(st, dir, b) })
		if st.detached || !f.take(st, dir, b, &r) {
			return
		}
		b, f.hold = b[r.Consumed:], r.Hold
		if r.Detach {
			st.desync("by the helper")
			return
		}
		if r.Consumed == 0 {
			break
		}
	}
	if len(b) > maxCarry {
		st.desync("a message too long")
		return
	}
	f.carry = append(f.carry[:0], b...)
	f.hold = f.hold && len(b) > 0
	if !f.hold {
		f.since = 0
	} else if f.since == 0 || f.base != began {
		f.since = max(st.now, 1)
	}
	if f.release(st); f.blocked(st, dir) {
		f.letGo(st, dir)
	}
}

// take checks what the helper made of b, which begins at base, and notes it. A result that contradicts itself, or
// wants to edit what has left, takes the helper off, and nothing of it counts.
func (f *flow) take(st *state, dir conntrack.Direction, b []byte, r *Result) bool {
	if why := f.checked(st, b, r); why != "" {
		st.desync(why)
		return false
	}
	for _, e := range st.edits {
		if !f.edit(st, dir, conntrack.Edit{Start: f.base + uint32(e.Off), Len: uint32(e.Len), New: e.New}) {
			return false
		}
	}
	f.base += uint32(r.Consumed)
	return true
}

// checked puts the edits of a result that change anything into st.edits, and says what is wrong with it.
func (f *flow) checked(st *state, b []byte, r *Result) (why string) {
	st.edits = st.edits[:0]
	if r.Consumed < 0 || r.Consumed > len(b) {
		return "the helper consumed what is not there"
	}
	for i, end := 0, 0; i < len(r.Edits); i++ {
		e := &r.Edits[i]
		if e.Off < end || e.Len < 0 || e.Len > r.Consumed-e.Off {
			return "the helper's edits overlap or lie outside"
		}
		a, ok := anchor(r.Edits, i, end, b[:r.Consumed])
		if !ok {
			return "the helper inserts where there is no byte"
		}
		if end = a.Off + a.Len; bytes.Equal(b[a.Off:end], a.New) {
			continue
		}
		if before(f.base+uint32(a.Off), f.released) {
			return "the helper edits what has left"
		}
		st.edits = append(st.edits, a)
	}
	return ""
}

// anchor returns edit i of a result. One that replaces nothing is widened by a byte beside it, so that some segment
// carries it: the one behind, or else the one before. end is where the edit before ends.
func anchor(edits []Edit, i, end int, b []byte) (Edit, bool) {
	e := edits[i]
	if e.Len > 0 || len(e.New) == 0 {
		return e, true
	}
	switch {
	case e.Off < len(b) && (i+1 == len(edits) || edits[i+1].Off > e.Off):
		e.New = append(e.New[:len(e.New):len(e.New)], b[e.Off])
	case e.Off > end:
		e.Off--
		e.New = append([]byte{b[e.Off]}, e.New...)
	default:
		return e, false
	}
	e.Len = 1
	return e, true
}

// edit adds to the edit list, or to those that wait for room in it.
func (f *flow) edit(st *state, dir conntrack.Direction, e conntrack.Edit) bool {
	st.helper.counters.add(CountEdits)
	if len(f.overflow) == 0 && st.kit.table.AddEdit(st.ext, dir, e) == nil {
		return true
	}
	if len(f.overflow) == maxOverflow {
		st.desync("too many edits at once")
		return false
	}
	f.overflow = append(f.overflow, e)
	return true
}

// release moves released as far as it goes: to what is consumed where the helper holds, and not into edits that have
// no room yet.
func (f *flow) release(st *state) {
	to := f.next
	if f.hold {
		to = f.base
	}
	if len(f.overflow) > 0 {
		to = least(to, f.overflow[0].Start)
	}
	f.released = most(f.released, to)
	switch {
	case len(f.overflow) == 0:
		f.full = 0
	case f.full == 0:
		f.full = max(st.now, 1)
	}
}

// admit moves waiting edits into the edit list when acknowledgements have made room there.
func (f *flow) admit(st *state, dir conntrack.Direction) {
	n := 0
	for n < len(f.overflow) && st.kit.table.AddEdit(st.ext, dir, f.overflow[n]) == nil {
		n++
	}
	if n == 0 {
		return
	}
	if f.overflow = f.overflow[n:]; len(f.overflow) == 0 {
		f.overflow = nil
	}
	f.release(st)
}

// open lets all leave that there is or comes.
func (f *flow) open(st *state) {
	f.done, f.since, f.full = true, 0, 0
	f.carry, f.overflow = nil, nil
}

// finish is the end of a direction.
func (f *flow) finish(st *state, dir conntrack.Direction) {
	f.hold, f.since = false, 0
	f.release(st)
	if len(f.overflow) > 0 {
		return // the FIN waits with them, and is sent again
	}
	f.open(st)
	if st.stream != nil && !st.detached {
		st.guard(func() { st.stream.End(st, dir, false) })
	}
}
