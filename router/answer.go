package router

import (
	"encoding/binary"
	"net/netip"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// answer is the ICMP error that tells a sender why his packet was dropped. The zero value: none.
type answer struct {
	v4, v6     [2]uint8 // type and code
	insideOnly bool     // never to an outside host
	ours       bool     // only about packets to the router's own addresses
	known      bool
}

// answers says which reasons are told to the sender. All others are silent.
var answers = [packet.NumReasons]answer{
	packet.TTLExceeded:     {v4: [2]uint8{11, 0}, v6: [2]uint8{3, 0}, known: true}, // RFC 1812, section 5.3.1; RFC 4443, section 3.3
	packet.NoRoute:         {v4: [2]uint8{3, 0}, v6: [2]uint8{1, 0}, known: true},  // RFC 1812, section 5.2.7.1; RFC 4443, section 3.1
	packet.TooBig:          {v4: [2]uint8{3, 4}, v6: [2]uint8{2, 0}, known: true},  // RFC 1191, section 4; RFC 4443, section 3.2
	packet.FragmentTimeout: {v4: [2]uint8{11, 1}, v6: [2]uint8{3, 1}, known: true}, // RFC 792; RFC 4443, section 3.3
	packet.Filtered:        {v4: [2]uint8{3, 13}, v6: [2]uint8{1, 1}, known: true}, // only where a rule says reject

	// Resources: RFC 6888, REQ-11. Quotas and policy: RFC 5508, REQ-8.
	packet.NoPort:         {v4: [2]uint8{3, 1}, v6: [2]uint8{1, 3}, insideOnly: true, known: true},
	packet.Exhausted:      {v4: [2]uint8{3, 1}, v6: [2]uint8{1, 3}, insideOnly: true, known: true},
	packet.TableFull:      {v4: [2]uint8{3, 1}, v6: [2]uint8{1, 3}, insideOnly: true, known: true},
	packet.MappingLimit:   {v4: [2]uint8{3, 1}, v6: [2]uint8{1, 3}, insideOnly: true, known: true},
	packet.UnrepliedLimit: {v4: [2]uint8{3, 1}, v6: [2]uint8{1, 3}, insideOnly: true, known: true},
	packet.Clash:          {v4: [2]uint8{3, 1}, v6: [2]uint8{1, 3}, insideOnly: true, known: true},
	packet.SourceLimit:    {v4: [2]uint8{3, 13}, v6: [2]uint8{1, 1}, insideOnly: true, known: true},
	packet.PortLimit:      {v4: [2]uint8{3, 13}, v6: [2]uint8{1, 1}, insideOnly: true, known: true},
	packet.PassConflict:   {v4: [2]uint8{3, 13}, v6: [2]uint8{1, 1}, insideOnly: true, known: true},
	packet.CannotMap:      {v4: [2]uint8{3, 1}, v6: [2]uint8{1, 0}, insideOnly: true, known: true}, // RFC 6296, section 3.6

	// Traceroute to the router itself.
	packet.InputFiltered: {v4: [2]uint8{3, 3}, v6: [2]uint8{1, 4}, insideOnly: true, ours: true, known: true},
}

// answer tells the sender of a dropped packet why, where its reason has an answer and the rate allows one.
func (r *Router) answer(p *Packet) {
	a := &answers[p.Reason]
	switch {
	case !a.known || p.snapshotN == 0:
		return
	case p.Reason == packet.Filtered && !p.reject:
		return
	case a.insideOnly && (p.in == nil || p.in.side == Outside):
		return
	case a.ours && (p.H.Proto != packet.ProtoUDP || r.cfg.Filter.Input == InputDrop):
		return
	}
	if p.in == nil {
		r.answerSelf(p, a)
		return
	}
	original := p.original()
	h, reason := packet.Parse(original)
	if reason != packet.NotDropped || !mayAnswer(p.Reason, original, &h) {
		return
	}
	src, dst := addresses(original, &h)
	if !r.mayTell(p, src) {
		p.lane.drops[packet.RateLimited].Add(1)
		return
	}
	if p.Reason == packet.Filtered && h.Proto == packet.ProtoTCP {
		r.sendReset(p, original, &h)
		return
	}
	from := p.in.primary(h.Family)
	if !from.IsValid() {
		from = r.anyAddress(h.Family)
	}
	if !from.IsValid() {
		return // no address of that family: nothing to answer from
	}
	if a.ours && h.Family == 6 {
		from = addrOf(dst) // RFC 4443, section 2.2 (a); of IPv4 the interface's: RFC 1812, section 4.3.2.4
	}
	buf := p.lane.spare.take()
	made := a.icmp(&h, from, addrOf(src), p.tooBigFor()).Append(buf[headroom:headroom], original)
	p.lane.emit(p.in, buf, headroom, len(made), packet.Meta{})
}

// mayTell reports whether the limit of answers lets the source of p, src, have one.
func (r *Router) mayTell(p *Packet, src []byte) bool {
	a := asked{side: p.in.side, assured: p.tracked && p.Conn.Status&conntrack.Assured != 0, source: src}
	if p.Reason == packet.TooBig {
		a.kind = tooBigAnswer
	}
	return r.errors.allow(p.now, &a)
}

func mayAnswer(reason packet.DropReason, original []byte, h *packet.Headers) bool {
	if reason == packet.TooBig {
		return packet.MayAnswerTooBig(original, h)
	}
	return packet.MayAnswer(original, h)
}

// icmp fills the answer in.
func (a *answer) icmp(h *packet.Headers, from, to netip.Addr, mtu int) *packet.ICMPError {
	e := packet.ICMPError{Type: a.v4[0], Code: a.v4[1], Src: from, Dst: to}
	if h.Family == 6 {
		e.Type, e.Code = a.v6[0], a.v6[1]
	}
	e.Param = uint32(mtu)
	return &e
}

// tooBigFor returns the MTU that an answer names, 0 for other answers.
func (p *Packet) tooBigFor() int {
	if p.Reason != packet.TooBig || p.out == nil {
		return 0
	}
	return p.out.mtu
}

// original returns the packet as its sender sent it, as far as an ICMP error quotes it: the headers of the
// snapshot, the payload (which no hook changes), of a super-segment its first segment, with the checksum that the
// sender's kernel would have put in. It lies in a buffer of the lane's.
func (p *Packet) original() []byte {
	buf := p.lane.spare.take()[headroom:]
	n := copy(buf, p.snapshot[:p.snapshotN])
	if n == int(p.H.Payload) {
		n += copy(buf[n:], p.Bytes[n:])
	}
	b := buf[:n]
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		return b
	}
	m := p.Meta
	if m.GSO != packet.GSONone {
		packet.Segment(b, &h, &m, p.lane.spare.take()[headroom:], func(segment []byte) bool {
			b = segment
			return false
		})
	} else if m.Partial() {
		packet.FinishChecksum(b, &h, &m)
	}
	return b
}

// sendReset answers a TCP segment with an RST as the destination would (RFC 9293, section 3.10.7.1).
func (r *Router) sendReset(p *Packet, original []byte, h *packet.Headers) {
	segment := packet.TCP(original[h.L4:])
	if segment.Flags()&packet.FlagRST != 0 {
		return
	}
	buf := p.lane.spare.take()
	b := buf[headroom : headroom+int(h.L4)+packet.TCPSize]
	copy(b, original[:h.L4])
	src, dst := addresses(original, h)
	to, from := addresses(b, h)
	copy(to, dst)
	copy(from, src)
	t := b[h.L4:]
	clear(t)
	binary.BigEndian.PutUint16(t, segment.DstPort())
	binary.BigEndian.PutUint16(t[2:], segment.SrcPort())
	t[12], t[13] = packet.TCPSize/4<<4, packet.FlagRST
	if segment.Flags()&packet.FlagACK != 0 {
		binary.BigEndian.PutUint32(t[4:], segment.Ack())
	} else {
		length := uint32(len(segment.Payload()))
		if segment.Flags()&(packet.FlagSYN|packet.FlagFIN) != 0 {
			length++
		}
		binary.BigEndian.PutUint32(t[8:], segment.Seq()+length)
		t[13] |= packet.FlagACK
	}
	setLength(b, h)
	reply, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		return
	}
	packet.ComputeTransport(b, &reply)
	p.lane.emit(p.in, buf, headroom, len(b), packet.Meta{})
}

// ttlOfAnswers is the TTL of what the router makes itself (RFC 1700).
const ttlOfAnswers = 64

// setLength makes the IP header fit b: length, TTL, checksum.
func setLength(b []byte, h *packet.Headers) {
	if h.Family == 6 {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-packet.IPv6Size))
		b[7] = ttlOfAnswers
		return
	}
	ip := packet.IPv4(b)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[8] = ttlOfAnswers
	ip.SetChecksum(0)
	ip.SetChecksum(^packet.Checksum(b[:h.L4], 0))
}

// answerSelf tells netstack that a packet of its own is too big, as a router on the way would.
func (r *Router) answerSelf(p *Packet, a *answer) {
	if p.Reason != packet.TooBig || p.Conn.ErrorL3 != 0 {
		return
	}
	original := p.original()
	src, _ := addresses(original, &p.H)
	made := a.icmp(&p.H, r.anyAddress(p.H.Family), addrOf(src), p.tooBigFor()).Append(nil, original)
	r.local.tell(made)
}

// anyAddress returns some address of the router's own of a family, the zero Addr where it has none.
func (r *Router) anyAddress(family uint8) netip.Addr {
	for _, nif := range r.interfaces {
		if a := nif.primary(family); a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}
