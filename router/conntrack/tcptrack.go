package conntrack

import "github.com/natrouter/natrouter/router/packet"

// firstTCP starts a connection with a SYN, or picks one up in its middle where that is allowed.
func (t *Table) firstTCP(now Time, p *Packet, c *Conn, set *timeoutSet) packet.DropReason {
	var g tcpSegment
	g.read(packet.TCP(p.Bytes[p.H.L4:]), p.H.PayloadLen())
	if !packet.ValidTCPFlags(g.flags) {
		return packet.BadFlags
	}
	ts := &c.state.tcp
	if !ts.begin(&g, !t.cfg.NoTCPLoose) {
		return packet.NotTracked
	}
	v := view{now: now, start: now, dir: Original, set: set, liberal: t.cfg.TCPLiberal}
	r := ts.step(&g, &v)
	if r.outcome != accepted {
		return r.reason
	}
	c.state.timeout = r.timeout
	return packet.NotDropped
}

// begin sets up the state before the first segment; false: it can't start a connection.
func (ts *tcpState) begin(g *tcpSegment, loose bool) bool {
	*ts = tcpState{}
	s := &ts.side[Original]
	s.end, s.maxEnd, s.maxWin = g.end, g.end, max(uint32(g.win), 1)
	switch tcpNext[Original][g.event][tcpNone] {
	case tcpSynSent:
		s.flags, s.scale = synOptions(g.hdr)
		return true
	case tcpEstablished:
		s.maxEnd += s.maxWin
		ts.side[Original].flags = sideSACK | sideLiberal
		ts.side[Reply].flags = sideSACK | sideLiberal
		return loose
	}
	return false
}

// step judges one segment and moves the state.
func (ts *tcpState) step(g *tcpSegment, v *view) ruling {
	if !packet.ValidTCPFlags(g.flags) {
		return refuse(packet.BadFlags)
	}
	if v.shift != nil && g.has(packet.FlagACK) {
		g.ack = v.shift.original(g.ack)
	}
	old, next := ts.state, tcpNext[v.dir][g.event][ts.state]
	switch next {
	case tcpInvalid:
		return refuse(packet.TCPState)
	case tcpSynSent:
		if old >= tcpTimeWait && ts.reopens(v.dir) {
			return ruling{outcome: reopened}
		}
		if old >= tcpTimeWait {
			next = tcpIgnore
		}
	case tcpTimeWait:
		if old == tcpLastAck && g.event == evACK && ts.lastDir != v.dir && ts.lastEvent == evSYN &&
			ts.lastFlags&lastChallenge != 0 {
			// It answers the SYN that we let pass, not the FIN (RFC 5961, section 4).
			ts.lastFlags &^= lastChallenge
			return ruling{outcome: held}
		}
	case tcpSynSent2:
		ts.lastFlags |= lastSimOpen
	case tcpSynRecv:
		if v.dir == Reply && g.event == evACK && ts.lastFlags&lastSimOpen != 0 {
			next = tcpEstablished
		}
	}
	if next == tcpIgnore {
		switch {
		case ts.resyncs(g, v.dir):
			old, next = tcpSynSent, tcpSynRecv
		case old == tcpSynRecv && g.event == evSYNACK && ts.lastFlags&lastSimOpen != 0:
			next = tcpEstablished // the second SYN-ACK of a simultaneous open
		default:
			return ts.ignore(g, v.dir)
		}
	}
	if g.event == evRST {
		return ts.reset(g, v, old, next)
	}
	return ts.numbers(g, v, old, next)
}

// reopens reports whether a SYN may start a new connection in place of this one: an end has closed it, or the last
// segment was a RST of the same direction (RFC 9293, section 3.6.1; RFC 1122, section 4.2.2.13).
func (ts *tcpState) reopens(dir Direction) bool {
	return (ts.side[Original].flags|ts.side[Reply].flags)&sideCloseInit != 0 ||
		ts.lastDir == dir && ts.lastEvent == evRST
}

// resyncs takes a SYN-ACK that acknowledges a SYN which was ignored: the ends agree, so it was us who were wrong.
func (ts *tcpState) resyncs(g *tcpSegment, dir Direction) bool {
	if g.event != evSYNACK || ts.lastEvent != evSYN || ts.lastDir == dir || g.ack != ts.lastEnd {
		return false
	}
	ts.side[ts.lastDir] = tcpSide{
		end: ts.lastEnd, maxEnd: ts.lastEnd, maxWin: max(uint32(ts.lastWin), 1),
		scale: ts.lastScale, flags: ts.lastFlags & (sideScale | sideSACK),
	}
	ts.side[dir] = tcpSide{}
	ts.lastFlags = 0
	ts.state = tcpSynSent
	return true
}

// ignore lets a segment pass and remembers it, since the answer to it may tell that we were wrong.
func (ts *tcpState) ignore(g *tcpSegment, dir Direction) ruling {
	ts.lastEvent, ts.lastDir = g.event, dir
	ts.lastSeq, ts.lastEnd, ts.lastWin = g.seq, g.end, g.win
	if g.event == evSYN && dir == Original {
		ts.lastFlags, ts.lastScale = synOptions(g.hdr)
		if ts.state == tcpLastAck {
			ts.lastFlags |= lastChallenge
		}
	}
	if ts.state == tcpSynSent && g.event == evACK && dir == Reply {
		ts.lastAck = g.ack // a half-open peer: its challenge is answered with a RST of this number
	}
	return ruling{outcome: held}
}

// reset judges a RST (RFC 5961, section 3: only an exact number may end a connection at once).
func (ts *tcpState) reset(g *tcpSegment, v *view, old, next tcpStateID) ruling {
	peer := &ts.side[1-v.dir]
	switch {
	case old == tcpSynSent && v.dir == Reply && !g.has(packet.FlagACK):
		return ruling{outcome: held, notes: noteDoubted} // nobody in SYN-SENT believes it: RFC 9293, section 3.10.7.3
	case old.closing():
		return ts.settle(g, v, old, next) // the ports may be in use again: our numbers are out of date
	case peer.flags&sideMaxAck != 0 && ts.lastEvent != evSYN:
		switch {
		case g.seq == 0 && old != tcpEstablished:
			return ts.numbers(g, v, old, next) // may answer a SYN
		case before(g.seq, peer.maxAck):
			return refuse(packet.TCPReset)
		case old != tcpEstablished || g.seq == peer.maxAck:
		case ts.lastEvent == evACK && ts.lastDir == v.dir && g.seq == ts.lastEnd:
			// follows the data that it was sent behind
		default:
			next = old // room for the challenge ACK
		}
	}
	if g.ack == ts.lastEnd && g.has(packet.FlagACK) &&
		(v.status&SeenReply != 0 && ts.lastEvent == evSYN || v.status&Assured == 0 && ts.lastEvent == evACK) {
		return ts.settle(g, v, old, next) // answers a segment that was let through without being believed
	}
	if old == tcpSynSent && ts.lastEvent == evACK && ts.lastDir == Reply && v.dir == Original && g.seq == ts.lastAck {
		return ts.settle(g, v, old, next) // answers the challenge of a half-open peer
	}
	return ts.numbers(g, v, old, next)
}

// numbers checks the window before the state may move.
func (ts *tcpState) numbers(g *tcpSegment, v *view, old, next tcpStateID) ruling {
	g.sack = g.ack
	if g.has(packet.FlagACK) && ts.side[1-v.dir].flags&sideSACK != 0 {
		g.sack = highestSACK(g.hdr, g.hdr.Ack())
		if v.shift != nil {
			g.sack = v.shift.original(g.sack)
		}
		if before(g.sack, g.ack) {
			g.sack = g.ack
		}
	}
	switch ts.window(v.dir, g, v.liberal) {
	case outOfDate:
		return ruling{outcome: held}
	case outOfWindow:
		return ts.outside(g, v)
	}
	return ts.settle(g, v, old, next)
}

// outside refuses a segment outside the window. When both ends tear an established connection down with numbers
// that we don't believe, we have lost track: it then lives no longer than unacknowledged data would let it.
func (ts *tcpState) outside(g *tcpSegment, v *view) ruling {
	r := refuse(packet.TCPWindow)
	if g.event != evFIN && g.event != evRST || v.status&Assured == 0 {
		return r
	}
	if ts.lastDir != v.dir && (ts.lastEvent == evFIN || ts.lastEvent == evRST) {
		r.timeout = v.set.unacked
		return r
	}
	ts.lastEvent, ts.lastDir = g.event, v.dir
	return r
}

// settle moves the state by a segment that is believed, and chooses the timeout.
func (ts *tcpState) settle(g *tcpSegment, v *view, old, next tcpStateID) ruling {
	ts.lastEvent, ts.lastDir = g.event, v.dir
	ts.state = next
	if next == tcpFinWait && old != tcpFinWait {
		ts.side[v.dir].flags |= sideCloseInit
	}
	r := ruling{outcome: accepted, notes: noteChanged.when(next != old), timeout: ts.timeout(g, v.set)}
	if v.status&SeenReply == 0 {
		switch {
		case g.event == evRST:
			r.outcome = ended // refused at the first segment: nothing to keep
		case g.event == evSYN && old == tcpSynSent && v.dir == Original:
			r.outcome = held // sent again: a host could hold ports for ever without an answer
		case next == tcpEstablished:
			r.timeout = min(r.timeout, v.set.unacked) // picked up, one side only
		}
		return r
	}
	r.notes |= noteLower.when(g.event == evRST && v.status&NoInboundRefresh != 0) // RFC 7857, section 8
	r.notes |= noteAssured.when(next == tcpEstablished && (old == tcpSynRecv || old == tcpEstablished))
	return r
}

func (ts *tcpState) timeout(g *tcpSegment, set *timeoutSet) Time {
	d := set.tcp[ts.state]
	if g.event == evRST {
		d = set.tcp[tcpClose]
	}
	switch {
	case ts.retrans >= maxRetransmissions:
		return min(d, set.maxRetrans)
	case g.event == evRST:
		return d
	case (ts.side[0].flags|ts.side[1].flags)&sideUnacked != 0:
		return min(d, set.unacked)
	case ts.lastWin == 0:
		return min(d, set.maxRetrans)
	}
	return d
}
