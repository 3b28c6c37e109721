package conntrack

import "github.com/natrouter/natrouter/router/packet"

// outcome is what a protocol's tracker decides about a packet of a connection.
type outcome uint8

const (
	refused  outcome = iota // the zero value: drop the packet
	accepted                // pass; the deadline moves to timeout from now
	held                    // pass; the deadline stays
	ended                   // pass; the connection ends with it
	reopened                // the connection ends, the packet is looked up again
)

// ruling is a tracker's answer. It has four fields, the most that the compiler keeps in registers from call to call.
type ruling struct {
	outcome outcome
	notes   notes
	reason  packet.DropReason // of refused
	timeout Time              // of accepted; refused: the deadline is cut to it, 0: it stays
}

// notes are what a ruling says besides.
type notes uint8

const (
	noteAssured notes = 1 << iota // the connection is exempt from early drop
	noteLower                     // of accepted: the deadline may only move nearer
	noteDoubted                   // passes, but is no sign of life of the end that it claims to come from
	noteChanged                   // the protocol's state did, or another thing that observers are told
)

// when returns n where it holds, else none.
func (n notes) when(holds bool) notes {
	if holds {
		return n
	}
	return 0
}

func refuse(reason packet.DropReason) ruling { return ruling{outcome: refused, reason: reason} }

// view is what a tracker may see of a connection besides its own state.
type view struct {
	now     Time
	start   Time
	dir     Direction
	status  Status
	set     *timeoutSet
	liberal bool      // TCP numbers are not checked
	shift   *seqShift // edits of the direction opposite to this packet, nil: none
}

// weight returns the packets and bytes that p stands for on the wire: a super-segment counts as its segments
// (each with headers of its own).
func (p *Packet) weight() counter {
	bytes := uint64(p.H.Len)
	if p.Meta == nil || p.Meta.GSO == packet.GSONone || p.Meta.SegSize == 0 {
		return counter{1, bytes}
	}
	payload := uint64(p.H.PayloadLen())
	packets := max((payload+uint64(p.Meta.SegSize)-1)/uint64(p.Meta.SegSize), 1)
	return counter{packets, bytes + (packets-1)*uint64(p.H.Payload)}
}

// first starts the tracker of a packet without a connection; it fills c.state.
func (t *Table) first(now Time, p *Packet, c *Conn, set *timeoutSet) packet.DropReason {
	l4 := p.Bytes[p.H.L4:]
	st := &c.state
	switch p.H.Proto {
	case packet.ProtoTCP:
		return t.firstTCP(now, p, c, set)
	case packet.ProtoUDP, packet.ProtoUDPLite:
		st.timeout = set.udp
	case packet.ProtoICMP:
		if !startsICMP(p.H.Proto, l4[0]) {
			return packet.NotTracked
		}
		st.timeout = set.icmp
	case packet.ProtoICMPv6:
		if !startsICMP(p.H.Proto, l4[0]) {
			return packet.NotTracked
		}
		st.timeout = set.icmpv6
	case packet.ProtoGRE:
		st.timeout = set.gre
	case packet.ProtoSCTP:
		return firstSCTP(p, st, set)
	case packet.ProtoDCCP:
		return firstDCCP(p, st, set)
	default:
		st.timeout = set.generic
	}
	return packet.NotDropped
}

// advance lets the protocol's tracker judge a packet of a confirmed connection.
func (s *shard) advance(p *Packet, e *entry, v *view) ruling {
	switch p.H.Proto {
	case packet.ProtoTCP:
		var g tcpSegment
		g.read(packet.TCP(p.Bytes[p.H.L4:]), p.H.PayloadLen())
		return s.tcp.at(e.l4).step(&g, v)
	case packet.ProtoUDP, packet.ProtoUDPLite:
		return stepUDP(v)
	case packet.ProtoICMP:
		return ruling{outcome: accepted, timeout: v.set.icmp}
	case packet.ProtoICMPv6:
		return ruling{outcome: accepted, timeout: v.set.icmpv6}
	case packet.ProtoGRE:
		return stepGRE(v)
	case packet.ProtoSCTP:
		return s.sctp.at(e.l4).step(p, v)
	case packet.ProtoDCCP:
		return s.dccp.at(e.l4).step(p, v)
	}
	return ruling{outcome: accepted, timeout: v.set.generic}
}

// streamAge is how old a UDP connection must be, and still in use both ways, to count as a stream: a single
// question and its answer are over by then.
const streamAge = 2e9 // ns

// stepUDP serves UDP and UDP-Lite.
func stepUDP(v *view) ruling {
	r := ruling{outcome: accepted, timeout: v.set.udp}
	if v.status&SeenReply != 0 && v.now-v.start > streamAge {
		r.timeout, r.notes = v.set.udpStream, noteAssured.when(v.status&NATClash == 0)
	}
	return r
}

func stepGRE(v *view) ruling {
	if v.status&SeenReply != 0 {
		return ruling{outcome: accepted, timeout: v.set.greStream, notes: noteAssured.when(v.status&NATClash == 0)}
	}
	return ruling{outcome: accepted, timeout: v.set.gre}
}
