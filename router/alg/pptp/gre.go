package pptp

import (
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

const (
	// The GRE of a call is looked for after a second, then twice as long, up to this: nobody tells that it came, that
	// its connection was deleted, or that another call has claimed it. None of these is urgent: what is expected beside
	// a connection never applies, and PPP tries again for longer (RFC 1661, section 4.6: every 3 s, ten times).
	maxPause = 4 * second
	// early is how long before its GRE connection may end a call awaits its GRE again: there is no gap.
	early = 2 * second
	// renewal is what an expectation must have left not to be renewed.
	renewal = 60 * second
)

// tuple returns what the GRE packets of a call in a direction arrive with. A packet names its receiver only, by the
// ID that the sender knows.
func (c *call) tuple(m alg.Master, dir conntrack.Direction) conntrack.Tuple {
	t := m.Arriving(dir)
	t.Proto, t.Family = packet.ProtoGRE, t.IP()|conntrack.GREv1
	t.SrcID, t.DstID = c.ends[dir].inner, c.ends[1-dir].outer
	return t
}

// tuples returns both.
func (c *call) tuples(m alg.Master) [2]conntrack.Tuple {
	return [2]conntrack.Tuple{c.tuple(m, conntrack.Original), c.tuple(m, conntrack.Reply)}
}

// expectation returns what is awaited of a call in a direction. It names the two ends of the control connection and
// nobody else, and decides NAT whole: no rule is asked.
func (s *stream) expectation(m alg.Master, c *call, dir conntrack.Direction) conntrack.Expectation {
	if s.timeouts == 0 {
		s.timeouts = m.Timeouts(conntrack.Timeouts{GRE: s.settings.timeout, GREStream: s.settings.stream})
	}
	out := m.Leaving(dir)
	manip := func(addr [16]byte, id uint16) conntrack.Manip {
		return conntrack.Manip{Addr: addr, Key: id, HasAddr: true, HasKey: true}
	}
	return conntrack.Expectation{
		Tuple: c.tuple(m, dir), Mask: conntrack.MaskAnyPort, Timeouts: s.timeouts, Limit: 2 * s.settings.maxCalls,
		NAT: conntrack.ExpectNAT{Src: manip(out.Src, c.ends[dir].outer), Dst: manip(out.Dst, c.ends[1-dir].inner)},
	}
}

// survey is the list of the connection's expectations, asked for at most once.
type survey struct {
	asked bool
	until map[conntrack.ExpectID]conntrack.Time
}

// fresh reports whether an expectation waits and will for a while.
func (l *survey) fresh(m alg.Master, id conntrack.ExpectID) bool {
	if id == 0 {
		return false
	}
	if !l.asked {
		l.asked, l.until = true, make(map[conntrack.ExpectID]conntrack.Time)
		for _, e := range m.Expectations() {
			l.until[e.ID] = e.Deadline
		}
	}
	until, ok := l.until[id]
	return ok && (until == 0 || until-m.Now() > renewal)
}

// maintain sees to it that the GRE of an open call has its connection, or is awaited from either end; one connection
// serves both directions, so what is awaited beside it is withdrawn. A call whose GRE another one has claimed ends.
func (s *stream) maintain(m alg.Master, c *call, look *survey) {
	now, tuples := m.Now(), c.tuples(m)
	if !s.helper.claimed(c, tuples) {
		s.supersede(m, c, "its ID or its GRE is another control connection's")
		return
	}
	if child, ok := s.child(m, tuples); ok && child.Deadline-now > early {
		s.withdraw(m, c)
		c.pause = 0
		s.again(c, now+min(maxPause, child.Deadline-now-early))
		return
	}
	for dir := range conntrack.Direction(2) {
		if !look.fresh(m, c.expects[dir]) {
			s.expect(m, c, dir)
		}
	}
	c.pause = min(max(2*c.pause, second), maxPause)
	s.again(c, now+c.pause)
}

func (s *stream) again(c *call, at conntrack.Time) {
	c.check = at
	s.due(at)
}

// child returns the connection of a call's tuples, if it is there. Those that are in its way are ended: made before
// the call was known, or left by an earlier one.
func (s *stream) child(m alg.Master, tuples [2]conntrack.Tuple) (own conntrack.Snapshot, ok bool) {
	for dir := range tuples {
		snap, found := m.Find(&tuples[dir])
		switch {
		case !found:
		case snap.Master == m.ID() && (snap.Tuples == tuples || snap.Tuples == [2]conntrack.Tuple{tuples[1], tuples[0]}):
			return snap, true
		case !m.Kill(snap.ID):
			m.Count("blocked")
		}
	}
	return own, false
}

// claim takes the GRE of a call over from a call of another control connection that had it: a client that was switched
// off dials again while the old connection is still known (RFC 2637 knows of no way to tell).
func (s *stream) claim(m alg.Master, c *call) {
	for _, id := range s.helper.claim(c, c.tuples(m)) {
		if id != 0 {
			m.Unexpect(id)
		}
	}
}

// expect makes one expectation. Where another call expects the tuple, for the two were claimed at once, a later look
// tries again.
func (s *stream) expect(m alg.Master, c *call, dir conntrack.Direction) {
	e := s.expectation(m, c, dir)
	id, err := m.Expect(e)
	if err != nil {
		m.Logf("expecting %s: %v", e.Tuple, err)
		return
	}
	if !s.helper.expecting(c, e.Tuple, id) {
		m.Unexpect(id)
		return
	}
	c.expects[dir] = id
	m.Logf("expecting %s", e.Tuple)
}

// withdraw takes back what is awaited of a call.
func (s *stream) withdraw(m alg.Master, c *call) {
	for dir, id := range c.expects {
		if id != 0 {
			m.Unexpect(id)
			c.expects[dir] = 0
		}
	}
}

// endGRE ends the GRE of a call: what is awaited, and its connection.
func (s *stream) endGRE(m alg.Master, c *call) {
	s.withdraw(m, c)
	if !c.ends[0].known || !c.ends[1].known {
		return
	}
	tuples := c.tuples(m)
	s.helper.unclaim(c, tuples)
	for dir := range tuples {
		if snap, ok := m.Find(&tuples[dir]); ok && snap.Master == m.ID() {
			m.Kill(snap.ID)
		}
	}
}
