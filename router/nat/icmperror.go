package nat

import (
	"encoding/binary"
	"net/netip"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// icmpRedirect is the IPv4 error that names a gateway of one side: of no use on the other (RFC 1812, section
// 5.2.7.2), so it is never translated. Its IPv6 relative is neighbour discovery and not forwarded at all.
const icmpRedirect = 5

// rewriteError translates an ICMP error at one position (docs/spec/nat.md, section 7; RFC 5508, REQ-3 to REQ-5): the
// outer address like that of any packet of its direction, the quote by the opposite manipulation, so that the
// receiver finds in it what it sent. Type, code, MTU and what follows the quote (RFC 4884) stay.
func rewriteError(b []byte, h *packet.Headers, m *packet.Meta, c *conntrack.Conn, at uint8, own netip.Addr) packet.DropReason {
	if h.FragOff != 0 || h.Payload-h.L4 < packet.ICMPSize {
		return packet.Malformed
	}
	if h.Family == 4 && b[h.L4] == icmpRedirect {
		return packet.NATUnmappable
	}
	q, ok := parseQuote(b, int(c.ErrorL3), int(h.Len))
	if !ok || q.family != h.Family {
		return packet.Malformed
	}
	if !m.Partial() && !m.CsumValid && !errorSumRight(b, h) {
		return packet.BadChecksum
	}
	var e errorEdit
	e.outer(b, h, c, at, own)
	e.quoted(b, &q, &c.Tuples[1-c.Dir], at)
	e.sum(b, h, m)
	return packet.NotDropped
}

// errorSumRight verifies the checksum of the whole ICMP message.
func errorSumRight(b []byte, h *packet.Headers) bool {
	msg := b[h.L4:h.Len]
	var pseudo uint16
	if h.Family == 6 {
		pseudo = packet.PseudoHeader(b[8:24], b[24:40], packet.ProtoICMPv6, len(msg))
	}
	return packet.Checksum(msg, pseudo) == 0xffff
}

// errorEdit collects what the edits of an error change in its checksums.
type errorEdit struct {
	pseudo packet.Delta // outer addresses
	body   packet.Delta // bytes of the ICMP message
}

// outer rewrites the outer address of the position. The source is translated where the connection's own end sent
// the error; another inside router has no mapping and speaks with the router's address (RFC 5508, REQ-5).
func (e *errorEdit) outer(b []byte, h *packet.Headers, c *conntrack.Conn, at uint8, own netip.Addr) {
	src, dst := addressFields(b, h.Family)
	field, to := dst, c.Tuples[1-c.Dir].Src
	if at == atSrc {
		field, to = src, c.Tuples[1-c.Dir].Dst
		if as16(src) != c.Tuples[c.Dir].Src {
			if c.Tuples[c.Dir].Src == to {
				return // only the port behind which the host is differs: whoever is on the way there may be seen
			}
			if !own.IsValid() || own.Is4() != (h.Family == 4) {
				return
			}
			to = own.As16()
		}
	}
	e.pseudo = put(field, tail(&to, len(field)))
	if h.Family == 4 {
		binary.BigEndian.PutUint16(b[10:], e.pseudo.Apply(binary.BigEndian.Uint16(b[10:])))
	}
}

// quoted rewrites the quote: its source at the DST position, its destination at the SRC position, as the tuple
// like has them. That is the direction of the quoted packet, as its sender sent it.
func (e *errorEdit) quoted(b []byte, q *quote, like *conntrack.Tuple, at uint8) {
	src, dst := addressFields(b[q.l3:q.end], q.family)
	field, to := src, &like.Src
	if at == atSrc {
		field, to = dst, &like.Dst
	}
	addr := put(field, tail(to, len(field)))
	e.body = e.body.Add(addr)
	if q.family == 4 { // the header's own sum takes the opposite change
		e.body = e.body.Add(apply(b[q.l3+10:], addr))
	}
	var id packet.Delta
	if off, value, ok := quotedID(q.proto, like, at); ok && q.has(off, 2) {
		if q.proto == packet.ProtoSCTP {
			e.quotedCRC(b, q, off, value)
		}
		id = put16(b[q.l4+off:], value)
		e.body = e.body.Add(id)
	}
	e.quotedSum(b, q, addr, id)
}

// quotedID returns where the ID of the position stands in a quoted transport header, and what it becomes.
func quotedID(proto uint8, like *conntrack.Tuple, at uint8) (off int, id uint16, ok bool) {
	switch proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoUDPLite, packet.ProtoSCTP, packet.ProtoDCCP:
		if at == atSrc {
			return 2, like.DstID, true
		}
		return 0, like.SrcID, true
	case packet.ProtoICMP, packet.ProtoICMPv6:
		return 4, like.SrcID, true
	case packet.ProtoGRE:
		if enhancedGRE(like) && at == atSrc { // a packet names its receiver's call ID
			return 6, like.DstID, true
		}
	}
	return 0, 0, false
}

// quotedSum updates the quoted transport checksum where it is there. It is not verified (RFC 5508, REQ-3).
func (e *errorEdit) quotedSum(b []byte, q *quote, addr, id packet.Delta) {
	off, pseudo := checksumOffset(q.proto)
	if off == 0 || !q.has(int(off), 2) {
		return
	}
	full := id
	if pseudo {
		full = full.Add(addr)
	}
	sum := b[q.l4+int(off):]
	old := binary.BigEndian.Uint16(sum)
	udp := q.proto == packet.ProtoUDP || q.proto == packet.ProtoUDPLite
	if udp && old == 0 {
		return
	}
	e.body = e.body.Add(apply(sum, full))
	if udp && binary.BigEndian.Uint16(sum) == 0 {
		binary.BigEndian.PutUint16(sum, 0xffff) // the same in ones' complement: the body's sum stays
	}
}

// quotedCRC is quotedSum for SCTP, before the port at off becomes value.
func (e *errorEdit) quotedCRC(b []byte, q *quote, off int, value uint16) {
	if !q.has(sctpSum, 4) {
		return
	}
	field := b[q.l4+sctpSum : q.l4+sctpSum+4]
	var to [4]byte
	crc := binary.LittleEndian.Uint32(field) ^ portCRC(off, binary.BigEndian.Uint16(b[q.l4+off:])^value, q.length(b))
	binary.LittleEndian.PutUint32(to[:], crc)
	e.body = e.body.Add(put(field, to[:]))
}

// sum updates the outer ICMP checksum.
func (e *errorEdit) sum(b []byte, h *packet.Headers, m *packet.Meta) {
	field := b[h.L4+2 : h.L4+4]
	old := binary.BigEndian.Uint16(field)
	var pseudo packet.Delta
	if h.Family == 6 {
		pseudo = e.pseudo
	}
	if m.Partial() {
		binary.BigEndian.PutUint16(field, pseudo.ApplyPartial(old))
		return
	}
	binary.BigEndian.PutUint16(field, e.body.Add(pseudo).Apply(old))
}

// addressFields returns the source and destination of an IP header in place.
func addressFields(b []byte, family uint8) (src, dst []byte) {
	if family == 4 {
		return b[12:16], b[16:20]
	}
	return b[8:24], b[24:40]
}

// as16 returns an address of a packet as tuples hold it.
func as16(field []byte) (a [16]byte) {
	packet.AddrTo16(&a, field)
	return a
}

// tail returns the n bytes of a tuple's address that a packet carries.
func tail(a *[16]byte, n int) []byte { return a[16-n:] }

// put replaces an even field by to and returns the change.
func put(field, to []byte) packet.Delta {
	d := packet.Change(field, to)
	copy(field, to)
	return d
}

// put16 replaces the word at the start of field and returns the change.
func put16(field []byte, to uint16) packet.Delta {
	d := packet.Change16(binary.BigEndian.Uint16(field), to)
	binary.BigEndian.PutUint16(field, to)
	return d
}

// apply updates the checksum at the start of field and returns how that changed the bytes around it.
func apply(field []byte, d packet.Delta) packet.Delta {
	return put16(field, d.Apply(binary.BigEndian.Uint16(field)))
}
