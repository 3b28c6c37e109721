package pptp

import (
	"encoding/binary"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
)

// stream is the helper's state for one control connection. Its caller holds the connection's lock.
type stream struct {
	helper   *helper
	settings settings
	timeouts uint16 // of the GRE connections; 0: not asked for yet

	in      [2]reader
	edits   []alg.Edit // of the present call of Stream
	session session
	grace   conntrack.Time // when a stopping session is closed
	fins    [2]bool
	wake    conntrack.Time // as asked for; 0: not

	calls []*call             // in the order of their requests; ended ones until compact
	live  int                 // those that are not ended
	inner [2]map[uint16]*call // by the call ID of the end that sends in a direction, as that end has it
	outer [2]map[uint16]*call // the same, as the other end has it
	past  []past              // ended calls, oldest first
}

// reader is how far a direction was read.
type reader struct {
	head [maxNeed]byte // of the present message
	n    int           // bytes in head
	skip int           // bytes of the message before that are still to come
	late bool          // a part of the message was let go: it is not acted on
}

func newStream(h *helper, cfg settings) *stream {
	s := &stream{helper: h, settings: cfg}
	for dir := range 2 {
		s.inner[dir], s.outer[dir] = make(map[uint16]*call), make(map[uint16]*call)
	}
	return s
}

// Stream implements [alg.Stream]. It reads a message as far as a decision needs and lets the rest pass. The twelve
// bytes before the call IDs are never changed, so they pass at once; only a cut within the IDs of a message that is
// translated makes bytes wait.
func (s *stream) Stream(m alg.Master, dir conntrack.Direction, b []byte) alg.Result {
	s.edits = s.edits[:0]
	r := &s.in[dir]
	off := 0
	for off < len(b) {
		if r.skip > 0 {
			n := min(r.skip, len(b)-off)
			r.skip, off = r.skip-n, off+n
			continue
		}
		if off += r.fill(b[off:], headerSize); r.n < headerSize {
			break
		}
		k, length, ok := headerOf(r.head[:])
		if !ok {
			m.Logf("no PPTP message, or one of %d bytes: not understood from here on", length)
			s.settle(m)
			return alg.Result{Consumed: off, Edits: s.edits, Detach: true}
		}
		need := messages[k].need()
		if r.n+len(b)-off < need && s.rewrites(m, dir, k) && !r.late {
			s.settle(m)
			return alg.Result{Consumed: off, Edits: s.edits, Hold: off < len(b)}
		}
		start := off - r.n
		if off += r.fill(b[off:], need); r.n < need {
			break
		}
		if !r.late {
			s.message(m, dir, k, start)
		}
		r.n, r.skip, r.late = 0, length-need, false
	}
	s.settle(m)
	return alg.Result{Consumed: off, Edits: s.edits}
}

// LetGo implements [alg.Yielder]: the call IDs of the present message can't be translated any more, so nothing comes of it.
func (s *stream) LetGo(m alg.Master, dir conntrack.Direction) {
	m.Count("not-held")
	s.in[dir].late = true
}

// fill takes bytes until there are n of the message, and returns how many it took.
func (r *reader) fill(b []byte, n int) int {
	if r.n >= n {
		return 0
	}
	took := copy(r.head[r.n:n], b)
	r.n += took
	return took
}

// rewrites reports whether a kind of message may need a change in a direction.
func (s *stream) rewrites(m alg.Master, dir conntrack.Direction, k kind) bool {
	return messages[k].own != 0 && translated(m, dir) || messages[k].peer != 0 && translated(m, 1-dir)
}

// message acts on a message of which all that is needed stands in head. start is where it begins in the bytes of
// this call, negative if before them.
func (s *stream) message(m alg.Master, dir conntrack.Direction, k kind, start int) {
	b := s.in[dir].head[:]
	m.Count("messages")
	switch k {
	case 0:
		m.Count("unknown-type")
		return
	case startRequest:
		s.signal(m, sigStart)
	case startReply:
		if b[messages[k].result] == 1 {
			s.signal(m, sigStarted)
		} else {
			s.signal(m, sigRefused)
		}
	case stopRequest:
		s.signal(m, sigStop)
	case stopReply:
		s.signal(m, sigStopped)
	case outgoingRequest, incomingRequest:
		if s.session == idle {
			m.Count("adopted")
		}
		s.signal(m, sigCall)
		s.dial(m, dir, k, binary.BigEndian.Uint16(b[offID:]), binary.BigEndian.Uint16(b[offSerial:]))
	default:
		if messages[k].good != noEvent {
			s.step(m, dir, k, b)
		}
	}
	s.translate(m, dir, k, start)
}

// translate puts the call IDs into a message that its receiver must find there. What is unknown passes as it is.
func (s *stream) translate(m alg.Master, dir conntrack.Direction, k kind, start int) {
	d, b := &messages[k], s.in[dir].head[:]
	if d.own != 0 {
		id := binary.BigEndian.Uint16(b[d.own:])
		outside, ok := s.outside(m.Now(), dir, id)
		if d.peer == 0 || ok { // a reply that refuses a call names no ID of its own
			s.replace(m, start+d.own, id, outside, ok)
		}
	}
	if d.peer != 0 {
		id := binary.BigEndian.Uint16(b[d.peer:])
		inside, ok := s.inside(m.Now(), 1-dir, id)
		s.replace(m, start+d.peer, id, inside, ok)
	}
}

// replace makes the edit of one call ID.
func (s *stream) replace(m alg.Master, at int, old, id uint16, known bool) {
	switch {
	case !known:
		m.Count("unknown-id")
	case old != id:
		s.edits = append(s.edits, alg.Edit{Off: at, Len: 2, New: binary.BigEndian.AppendUint16(nil, id)})
	}
}

// stopGrace is how long calls outlive the wish to stop a session: its Call-Disconnect-Notify messages may follow.
const stopGrace = 2 * second

// signal moves the session.
func (s *stream) signal(m alg.Master, sig signal) {
	next := sessionNext[s.session][sig]
	if next == ss {
		return
	}
	s.session = next
	switch next {
	case stopping:
		s.grace = m.Now() + stopGrace
		s.due(s.grace)
	case closed:
		s.endAll(m)
	}
}

// End implements [alg.Stream].
func (s *stream) End(m alg.Master, dir conntrack.Direction, reset bool) {
	s.fins[dir] = true
	if reset || s.fins[1-dir] {
		s.signal(m, sigEnd)
	}
	s.settle(m)
}

// Destroy implements [alg.Stream].
func (s *stream) Destroy(m alg.Master) {
	s.signal(m, sigEnd)
	s.endAll(m) // those that were made after a stop
	m.Wake(0)
}

// Tick implements [alg.Stream].
func (s *stream) Tick(m alg.Master) {
	now := m.Now()
	if s.session == stopping && s.grace <= now {
		s.signal(m, sigStopped)
	}
	s.wake = 0
	if s.session == stopping {
		s.due(s.grace)
	}
	var look survey
	for _, c := range s.calls {
		if c.state != ended && c.deadline != 0 && c.deadline <= now {
			s.move(m, c, timedOut)
		}
		if c.state.up() && c.check <= now {
			s.maintain(m, c, &look)
		}
		if c.state != ended {
			s.due(c.deadline)
			s.due(c.check)
		}
	}
	s.compact()
	s.settle(m)
}

// due asks for a Tick not later than at a time; 0: none is asked for.
func (s *stream) due(at conntrack.Time) {
	if at != 0 && (s.wake == 0 || at < s.wake) {
		s.wake = at
	}
}

// settle ends each call from the kit: it asks for the next Tick.
func (s *stream) settle(m alg.Master) { m.Wake(s.wake) }
