package pptp

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// answerTime is how long a call may wait for its reply, its connection or its clearing.
const answerTime = 60 * second

// call is one call of a control connection. Its ends are numbered by the direction that they send in.
type call struct {
	state    callState
	pns      conntrack.Direction // which end is the PNS
	serial   uint16
	ends     [2]end
	deadline conntrack.Time // of a state that waits; 0: none

	expects [2]conntrack.ExpectID // by direction of the awaited GRE; 0: none
	check   conntrack.Time        // when to look at its GRE again; 0: never
	pause   conntrack.Time        // between two looks, while no GRE has come

	shared shared
}

// end is the call ID of one end of a call. The zero value is not known yet.
type end struct {
	inner    uint16 // as the end itself has it
	outer    uint16 // as the other end has it: the same, unless the end is translated
	known    bool
	reserved bool
}

// past is what is remembered of an ended call for messages that still come.
type past struct {
	ends  [2]end
	until conntrack.Time
}

const (
	pastTime = 30 * second // that call IDs are remembered: as long as NAT lets them rest
	maxPast  = 64          // ended calls whose IDs are remembered
)

// outsideOf returns the address that the end which sends in a direction is known by to the other, and whether it is
// another than its own.
func outsideOf(m alg.Master, dir conntrack.Direction) (netip.Addr, bool) {
	in, out := m.Arriving(dir), m.Leaving(dir)
	return out.SrcAddr(), in.Src != out.Src
}

func translated(m alg.Master, dir conntrack.Direction) bool {
	_, yes := outsideOf(m, dir)
	return yes
}

// dial makes the call that a request asks for, or finds the one that it repeats. The same ID with another serial
// number is a redial: it supersedes the call before. Where a session is open it does so on all control connections of the two
// hosts; one that the peer may refuse yet, as RFC 2637, section 2.2 lets it where there is another, touches nothing.
func (s *stream) dial(m alg.Master, dir conntrack.Direction, k kind, id, serial uint16) {
	state, side := outWait, dir
	if k == incomingRequest {
		state, side = inWait, 1-dir
	}
	if c := s.inner[dir][id]; c != nil {
		same := c.pns == side && !s.helper.lost(c) && (c.state == state || c.serial == serial && c.state != clearing)
		if same {
			c.serial = serial
			if c.state == state {
				s.wait(m, c)
			}
			return
		}
		s.supersede(m, c, "superseded by a new request")
	}
	if s.live >= s.settings.maxCalls {
		m.Count("calls-full")
		return
	}
	c := &call{state: state, pns: side, serial: serial}
	if !s.learn(m, c, dir, id) {
		return
	}
	if len(s.calls) >= 2*s.settings.maxCalls {
		s.compact()
	}
	s.calls = append(s.calls, c)
	s.live++
	m.Count("calls")
	s.wait(m, c)
	if s.session == open {
		s.takeOver(m, c)
	}
}

// wait gives a call its time to get on.
func (s *stream) wait(m alg.Master, c *call) {
	c.deadline = m.Now() + answerTime
	s.due(c.deadline)
}

// learn notes an end's call ID, reserving what the other end will know it by. Another call that has it, or another ID
// of this call, is thereby over. false: no ID is free.
func (s *stream) learn(m alg.Master, c *call, dir conntrack.Direction, id uint16) bool {
	e := end{inner: id, outer: id, known: true}
	old := s.inner[dir][id]
	if old == c {
		return true
	}
	if addr, ok := outsideOf(m, dir); ok {
		inside := m.Arriving(dir)
		if e.outer, e.reserved = m.Reserve(packet.ProtoGRE, addr, netip.AddrPortFrom(inside.SrcAddr(), id)); !e.reserved {
			m.Count("no-call-id")
			m.Logf("no call ID is free at %s", addr)
			return false
		}
	}
	if old != nil {
		s.supersede(m, old, "its call ID is another call's")
	}
	if c.ends[dir].known {
		s.endGRE(m, c)
		s.retire(m, c, dir)
	}
	c.ends[dir] = e
	s.inner[dir][e.inner], s.outer[dir][e.outer] = c, c
	return true
}

// step takes a message that moves a call: the one of the sender's own ID, or of its peer's in replies to requests.
func (s *stream) step(m alg.Master, dir conntrack.Direction, k kind, b []byte) {
	d := &messages[k]
	ev, own := d.good, binary.BigEndian.Uint16(b[offID:])
	if d.result != 0 && b[d.result] != 1 {
		ev = d.bad
	}
	var c *call
	if d.peer != 0 {
		c = s.outer[1-dir][binary.BigEndian.Uint16(b[d.peer:])]
	} else if c = s.inner[dir][own]; c == nil && ev == disconnected {
		c = s.onlyWaiting(1 - dir)
	}
	if c == nil || (c.pns == dir) != (d.sender == pns) {
		return
	}
	next := callNext[c.state][ev]
	if (ev == answered || ev == accepted) && next != xx && !s.learn(m, c, dir, own) {
		return
	}
	if next.up() && s.session != open {
		m.Count("not-open")
		return
	}
	s.move(m, c, ev)
}

// onlyWaiting returns the call that a PAC disconnects by an ID which it never told: the only one that waits for it.
func (s *stream) onlyWaiting(side conntrack.Direction) (only *call) {
	for _, c := range s.calls {
		if c.state == outWait && c.pns == side {
			if only != nil {
				return nil
			}
			only = c
		}
	}
	return only
}

// move steps a call and does what its new state asks for.
func (s *stream) move(m alg.Master, c *call, ev event) {
	next := callNext[c.state][ev]
	switch {
	case next == xx:
	case next == ended:
		s.end(m, c, "it is over")
	case next.up():
		c.state, c.deadline, c.pause = next, 0, 0
		s.takeOver(m, c)
		s.claim(m, c)
		s.maintain(m, c, new(survey))
	default:
		if next != c.state {
			s.wait(m, c)
		}
		if c.state = next; next == clearing {
			s.withdraw(m, c)
			c.check = 0
		}
	}
}

// end ends a call: its GRE, what was awaited of it, and its IDs but for what is remembered.
func (s *stream) end(m alg.Master, c *call, why string) {
	m.Count("calls-ended")
	m.Logf("call %d/%d ends: %s", c.ends[0].inner, c.ends[1].inner, why)
	s.endGRE(m, c)
	s.retire(m, c, conntrack.Original, conntrack.Reply)
	c.state = ended
	s.live--
}

// supersede ends a call that gives way to another. A lost one was counted by who took its ID.
func (s *stream) supersede(m alg.Master, c *call, why string) {
	if !s.helper.lost(c) {
		m.Count("superseded")
	}
	s.end(m, c, why)
}

// endAll ends the calls of a control connection that is over.
func (s *stream) endAll(m alg.Master) {
	for _, c := range s.calls {
		if c.state != ended {
			s.end(m, c, "the control connection is closed")
		}
	}
	s.compact()
}

// compact forgets ended calls. Nobody is walking over the calls.
func (s *stream) compact() {
	s.calls = slices.DeleteFunc(s.calls, func(c *call) bool { return c.state == ended })
}

// retire takes call IDs out of use: nobody gets them for a while, which NAT sees to, and they are still translated.
func (s *stream) retire(m alg.Master, c *call, dirs ...conntrack.Direction) {
	p := past{until: m.Now() + pastTime}
	for _, dir := range dirs {
		e := &c.ends[dir]
		if !e.known {
			continue
		}
		forget(s.inner[dir], e.inner, c)
		forget(s.outer[dir], e.outer, c)
		s.helper.unname(c, c.nameOf(m, dir))
		if e.reserved {
			addr, _ := outsideOf(m, dir)
			m.Unreserve(packet.ProtoGRE, addr, e.outer)
		}
		p.ends[dir] = *e
	}
	if len(s.past) >= maxPast {
		s.past = append(s.past[:0], s.past[1:]...)
	}
	s.past = append(s.past, p)
}

// forget removes a call from an index, where it is still the one.
func forget(index map[uint16]*call, id uint16, c *call) {
	if index[id] == c {
		delete(index, id)
	}
}

// outside returns what the other end knows a call ID by.
func (s *stream) outside(now conntrack.Time, dir conntrack.Direction, inner uint16) (uint16, bool) {
	if c := s.inner[dir][inner]; c != nil {
		return c.ends[dir].outer, true
	}
	for i := len(s.past) - 1; i >= 0; i-- {
		if e := &s.past[i].ends[dir]; s.past[i].until > now && e.known && e.inner == inner {
			return e.outer, true
		}
	}
	return 0, false
}

// inside returns the call ID of an end that the other knows by outer.
func (s *stream) inside(now conntrack.Time, dir conntrack.Direction, outer uint16) (uint16, bool) {
	if c := s.outer[dir][outer]; c != nil {
		return c.ends[dir].inner, true
	}
	for i := len(s.past) - 1; i >= 0; i-- {
		if e := &s.past[i].ends[dir]; s.past[i].until > now && e.known && e.outer == outer {
			return e.inner, true
		}
	}
	return 0, false
}
