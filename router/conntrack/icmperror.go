package conntrack

import (
	"encoding/binary"
	"slices"

	"github.com/natrouter/natrouter/router/packet"
)

// quote is the packet that an ICMP error quotes. Its lengths are not to be believed: it may be cut anywhere after
// eight bytes of transport header (RFC 792), and whoever sent the error chose every byte.
type quote struct {
	key  key
	l3   int // offset in the packet
	l4   int
	seq  uint32 // TCP
	dead bool   // TCP: the error is one that ends or slows a connection, so it must prove itself
}

// readQuote reads the quoted headers of an ICMP error.
func readQuote(b []byte, h *packet.Headers) (q quote, reason packet.DropReason) {
	q.l3 = int(h.L4) + packet.ICMPSize
	in := b[min(q.l3, int(h.Len)):h.Len]
	var proto uint8
	var l4 int
	if h.Family == 4 {
		l4, proto, reason = quotedIPv4(in)
	} else {
		l4, proto, reason = quotedIPv6(in)
	}
	if reason != packet.NotDropped {
		return q, reason
	}
	q.l4 = q.l3 + l4
	body := in[l4:]
	if len(body) < 8 {
		return q, packet.Malformed
	}
	class, reason := q.key.keyOf(in, body, h.Family, proto)
	switch {
	case reason != packet.NotDropped:
		return q, packet.UnknownICMPError
	case class != classFlow: // an error about an error: RFC 1122, section 3.2.2; RFC 4443, section 2.4 (e)
		return q, packet.ForgedICMPError
	}
	if proto == packet.ProtoTCP {
		q.seq = binary.BigEndian.Uint32(body[4:])
		q.dead = hardError(h.Family, b[h.L4], b[h.L4+1])
	}
	return q, packet.NotDropped
}

// quotedIPv4 returns offset and protocol of what a quoted IPv4 header carries.
func quotedIPv4(in []byte) (l4 int, proto uint8, reason packet.DropReason) {
	if len(in) < packet.IPv4Size {
		return 0, 0, packet.Malformed
	}
	l4 = int(in[0]&15) * 4
	switch {
	case in[0]>>4 != 4 || l4 < packet.IPv4Size:
		return 0, 0, packet.ForgedICMPError
	case l4 > len(in):
		return 0, 0, packet.Malformed
	case int(binary.BigEndian.Uint16(in[2:])) < l4:
		return 0, 0, packet.ForgedICMPError
	case packet.Checksum(in[:l4], 0) != 0xffff: // RFC 5508 REQ-3
		return 0, 0, packet.ForgedICMPError
	case binary.BigEndian.Uint16(in[6:])&0x1fff != 0: // a later fragment has no ports
		return 0, 0, packet.UnknownICMPError
	}
	return l4, in[9], packet.NotDropped
}

// Extension headers that a quote may hold before its transport header (RFC 8200, section 4; RFC 4302 is a
// transport of its own here, as when it was tracked).
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extDestination = 60
	extMobility    = 135
	extHIP         = 139
	extShim6       = 140

	maxExtensions = 8
)

// quotedIPv6 is quotedIPv4 for IPv6.
func quotedIPv6(in []byte) (l4 int, proto uint8, reason packet.DropReason) {
	if len(in) < packet.IPv6Size {
		return 0, 0, packet.Malformed
	}
	if in[0]>>4 != 6 {
		return 0, 0, packet.ForgedICMPError
	}
	next, off := in[6], packet.IPv6Size
	for range maxExtensions {
		size := 8
		switch next {
		case extHopByHop, extRouting, extDestination, extMobility, extHIP, extShim6:
			if off+8 > len(in) {
				return 0, 0, packet.Malformed
			}
			size = (int(in[off+1]) + 1) * 8
		case extFragment:
			if off+8 > len(in) {
				return 0, 0, packet.Malformed
			}
			if binary.BigEndian.Uint16(in[off+2:])&^7 != 0 {
				return 0, 0, packet.UnknownICMPError
			}
		default:
			return off, next, packet.NotDropped
		}
		if off+size > len(in) {
			return 0, 0, packet.Malformed
		}
		next, off = in[off], off+size
	}
	return 0, 0, packet.UnsupportedHeader
}

// hardError reports the errors by which an attacker could end or cripple a TCP connection (RFC 5927, sections 5 and
// 6; RFC 1122, section 4.2.3.9; RFC 5461, section 2).
func hardError(family, typ, code uint8) bool {
	if family == 4 {
		return typ == packet.ICMPUnreachable && code >= 2 && code <= 4 || typ == packet.ICMPSourceQuench
	}
	return typ == packet.ICMPv6TooBig || typ == packet.ICMPv6Unreachable && (code == 1 || code == 4) ||
		typ == packet.ICMPv6ParamProblem && code == 1
}

// trackError finds the connection that an ICMP error is about. Nothing of it changes: no deadline, no state, no
// count (RFC 5508 REQ-6).
func (t *Table) trackError(shard int, now Time, p *Packet, c *Conn) packet.DropReason {
	q, reason := readQuote(p.Bytes, p.H)
	if reason != packet.NotDropped {
		return c.refuse(reason)
	}
	// The error goes back against the direction of what it quotes: the inverse is its own. Of enhanced GRE the quote
	// names the receiver's call ID, which is the inverse's sender's.
	quoted := q.key.tuple()
	back, ok := quoted.Inverse()
	if !ok {
		return c.refuse(packet.UnknownICMPError)
	}
	s, slot, dir, e, reason := t.lookupError(shard, now, &back)
	if s == nil {
		return c.refuse(reason)
	}
	reason = s.checkError(p, &q, slot, dir, e)
	if reason == packet.NotDropped {
		s.copyOut(slot, e, c)
		c.Dir, c.Info, c.ErrorL3, c.ErrorClamp = dir, InfoRelated, uint16(q.l3), 0
		if uint8(e.kind) == packet.ProtoTCP {
			c.ErrorClamp = s.quotedClamp(slot, 1-dir, e, q.seq)
		}
		if dir == Reply {
			c.Info = InfoRelatedReply
		}
	}
	s.unlock()
	if reason != packet.NotDropped {
		return c.refuse(reason)
	}
	return packet.NotDropped
}

// lookupError finds the connection that has a tuple, which for enhanced GRE holds the sender's call ID only.
func (t *Table) lookupError(own int, now Time, back *Tuple) (*shard, uint32, Direction, *entry, packet.DropReason) {
	if !back.IsGREv1() {
		k := back.key()
		s, slot, dir, e := t.lookup(own, now, &k, k.hash(&t.secret))
		if s == nil { // the quote may end before a key
			s, slot, dir, e = t.lookupGRE(now, &k, Original, Reply)
		}
		if s == nil {
			return nil, 0, 0, nil, packet.UnknownICMPError
		}
		return s, slot, dir, e, packet.NotDropped
	}
	pair := back.grePair()
	s, slot, dir, n := t.lookupPair(now, &pair)
	switch {
	case n == 1:
		return s, slot, dir, s.entry(slot), packet.NotDropped
	case n > 1: // whose call it was can't be told
		return nil, 0, 0, nil, packet.ForgedICMPError
	}
	return nil, 0, 0, nil, packet.UnknownICMPError
}

// lookupPair finds the only GRE connection of a pair. Its shard is locked when n is 1.
func (t *Table) lookupPair(now Time, pair *grePair) (in *shard, slot uint32, dir Direction, n int) {
	var id Handle
	for _, s := range t.shards {
		s.mu.Lock()
		at, d, m := s.findPair(now, pair)
		if m > 0 {
			id, slot, dir = s.handle(at, s.entry(at)), at, d
		}
		s.unlock()
		n += m
	}
	if n != 1 {
		return nil, 0, 0, n
	}
	in = t.shards[id.shard()]
	in.mu.Lock()
	if in.live(id) == nil {
		in.unlock()
		return nil, 0, 0, 0
	}
	return in, slot, dir, 1
}

// lookupGRE finds the only plain GRE connection between two addresses, by a packet of one of some directions whose key
// is not that of the first one: each end may have a key of its own, or none (RFC 2890, section 2.1). An original
// packet with a key of its own is a connection of its own.
func (t *Table) lookupGRE(now Time, k *key, dirs ...Direction) (*shard, uint32, Direction, *entry) {
	if k.proto() != packet.ProtoGRE || k.kind&kindGREv1 != 0 {
		return nil, 0, 0, nil
	}
	tuple := k.tuple()
	pair := tuple.grePair()
	s, slot, dir, n := t.lookupPair(now, &pair)
	if n != 1 {
		return nil, 0, 0, nil
	}
	if !slices.Contains(dirs, dir) {
		s.unlock()
		return nil, 0, 0, nil
	}
	return s, slot, dir, s.entry(slot)
}

// checkError asks whether an error can be about the connection whose packet it quotes.
func (s *shard) checkError(p *Packet, q *quote, slot uint32, dir Direction, e *entry) packet.DropReason {
	var outer key
	outer.setAddrs(p.Bytes, p.H.Family)
	k := s.key(e, dir)
	if p.H.Family == 4 && uint32(outer.pair) != uint32(k.pair) || p.H.Family == 6 && outer.dst != k.dst {
		return packet.ForgedICMPError
	}
	if p.H.Proto == packet.ProtoICMP && p.Bytes[p.H.L4] == packet.ICMPRedirect && e.status&(SrcNAT|DstNAT) != 0 {
		return packet.NATUnmappable // it would teach a host a route to an address that it does not use
	}
	if q.dead && !s.quotedInFlight(slot, 1-dir, e, q.seq) {
		return packet.ForgedICMPError
	}
	return packet.NotDropped
}

// quotedInFlight reports whether a quoted sequence number is of data that was sent and not acknowledged (RFC 5927,
// section 4.1). The quote shows the number after edits.
func (s *shard) quotedInFlight(slot uint32, dir Direction, e *entry, seq uint32) bool {
	ts := s.tcp.at(e.l4)
	from, to := &ts.side[dir], &ts.side[1-dir]
	seq = s.unshifted(slot, dir, e, seq)
	if (from.flags|to.flags)&sideLiberal != 0 || s.table.cfg.TCPLiberal {
		return true
	}
	if from.maxWin == 0 {
		return false // it has sent nothing
	}
	if after(seq, from.end) {
		return false
	}
	return to.flags&sideMaxAck == 0 || !before(seq, to.maxAck)
}

// quotedClamp returns what clamping changed in the SYN of a direction, if the quoted number can be its. Another SYN is that
// of an older connection, perhaps of another host behind the same port.
func (s *shard) quotedClamp(slot uint32, dir Direction, e *entry, seq uint32) packet.Delta {
	ts := s.tcp.at(e.l4)
	if !ts.began(dir, s.unshifted(slot, dir, e, seq)) {
		return 0
	}
	return ts.clamp[dir]
}

// unshifted returns the number that the sender of a direction gave to what is seq after edits.
func (s *shard) unshifted(slot uint32, dir Direction, e *entry, seq uint32) uint32 {
	if e.status&SeqAdjust != 0 {
		if shift := s.shift(slot, dir); shift != nil {
			return shift.original(seq)
		}
	}
	return seq
}
