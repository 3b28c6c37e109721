package nat

import (
	"encoding/binary"
	"net/netip"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// Positions at which a packet is rewritten.
const (
	atDst = 1 << iota // before routing
	atSrc             // after it
)

// familyMask takes the mark of enhanced GRE off Tuple.Family.
const familyMask = 0x0f

// enhancedGRE reports whether t is of a PPTP data connection, whose IDs are call IDs.
func enhancedGRE(t *conntrack.Tuple) bool { return t.Family&^familyMask != 0 }

// Rewrite is what a connection does to the packets of one direction, with its checksum arithmetic done: for a
// cache of decisions. It has no pointers. The zero Rewrite changes nothing.
type Rewrite struct {
	src, dst     [16]byte
	srcID, dstID uint16
	what         edits
	proto        uint8
	ip           packet.Delta // of the IPv4 header: addresses
	pseudo       packet.Delta // of a partial checksum: addresses, where the protocol has a pseudo-header
	full         packet.Delta // of a complete checksum: addresses and IDs
}

// edits says which fields a Rewrite writes.
type edits uint8

const (
	editSrc    edits = 1 << iota // source address
	editDst                      // destination address
	editSrcID                    // source port
	editDstID                    // destination port
	editEchoID                   // identifier of an ICMP query
	editCallID                   // call ID of enhanced GRE, the receiver's
)

const editIDs = editSrcID | editDstID | editEchoID | editCallID

// NewRewrite returns the rewrite of the packets of c's direction dir at both positions. ICMP errors are not among
// them.
func NewRewrite(c *conntrack.Conn, dir conntrack.Direction) Rewrite {
	var r Rewrite
	r.plan(c, dir, positions(c.Status, dir))
	return r
}

// Empty reports whether r changes nothing.
func (r *Rewrite) Empty() bool { return r.what == 0 }

// Source reports whether r changes the source: such packets share their source address with other hosts, so
// their IPv4 identification needs [NAT.RewriteID].
func (r *Rewrite) Source() bool { return r.what&editSrc != 0 }

// positions returns where packets of direction dir are rewritten (docs/spec/nat.md, section 2).
func positions(s conntrack.Status, dir conntrack.Direction) uint8 {
	var at uint8
	dst, src := conntrack.DstNAT, conntrack.SrcNAT
	if dir == conntrack.Reply {
		dst, src = src, dst
	}
	if s&dst != 0 {
		at |= atDst
	}
	if s&src != 0 {
		at |= atSrc
	}
	return at
}

// plan fills the zero r for packets of direction dir at the positions. They arrive as the tuple of dir and leave as
// the inverse of the other one.
func (r *Rewrite) plan(c *conntrack.Conn, dir conntrack.Direction, at uint8) {
	from, other := &c.Tuples[dir], &c.Tuples[1-dir]
	r.proto = from.Proto
	var addrs uint64 // sums, not folded
	v4 := from.Family&familyMask == 4
	if at&atSrc != 0 && from.Src != other.Dst {
		r.src, r.what = other.Dst, r.what|editSrc
		addrs += changeAddr(&from.Src, &other.Dst, v4)
	}
	if at&atDst != 0 && from.Dst != other.Src {
		r.dst, r.what = other.Src, r.what|editDst
		addrs += changeAddr(&from.Dst, &other.Src, v4)
	}
	r.ip = fold(addrs)
	l4 := &layouts[from.Proto]
	if !l4.pseudo {
		addrs = 0
	}
	r.pseudo = fold(addrs)
	r.full = fold(addrs + r.planIDs(l4.ids, from, other, at))
}

// planIDs adds ports, identifier or call ID and returns the sum of the ports' changes.
func (r *Rewrite) planIDs(kind idKind, from, other *conntrack.Tuple, at uint8) (sum uint64) {
	switch kind {
	case idPorts:
		if at&atSrc != 0 && from.SrcID != other.DstID {
			r.srcID, r.what = other.DstID, r.what|editSrcID
			sum += uint64(^from.SrcID) + uint64(other.DstID)
		}
		if at&atDst != 0 && from.DstID != other.SrcID {
			r.dstID, r.what = other.SrcID, r.what|editDstID
			sum += uint64(^from.DstID) + uint64(other.SrcID)
		}
	case idQuery: // one identifier, of both directions: each position may find it written by the other
		if at != 0 && from.SrcID != other.SrcID {
			r.srcID, r.what = other.SrcID, r.what|editEchoID
		}
	case idCall: // the packet names only its receiver's call ID (RFC 2637, section 4.1)
		if enhancedGRE(from) && at&atDst != 0 && from.DstID != other.SrcID {
			r.dstID, r.what = other.SrcID, r.what|editCallID
		}
	}
	return sum
}

// idKind says which IDs of a tuple a transport header carries.
type idKind uint8

const (
	idNone  idKind = iota
	idPorts        // source at 0, destination at 2
	idQuery        // identifier at 4
	idCall         // receiver's call ID at 6, in enhanced GRE only
)

// layout is what a rewrite needs to know of a transport header.
type layout struct {
	ids    idKind
	need   uint8 // bytes that are touched
	sumAt  uint8 // offset of a ones'-complement checksum; 0: none
	pseudo bool  // it covers a pseudo-header
}

// layouts by protocol (docs/spec/nat.md, section 4). Of those that are not here only addresses are rewritten.
var layouts = [256]layout{
	packet.ProtoTCP:     {idPorts, packet.TCPSize, 16, true},  // RFC 9293, section 3.1
	packet.ProtoUDP:     {idPorts, packet.UDPSize, 6, true},   // RFC 768
	packet.ProtoUDPLite: {idPorts, packet.UDPSize, 6, true},   // RFC 3828, section 3.1
	packet.ProtoDCCP:    {idPorts, packet.DCCPSize, 6, true},  // RFC 4340, section 5.1
	packet.ProtoSCTP:    {idPorts, packet.SCTPSize, 0, false}, // RFC 9260, section 3.1: a CRC, see sctp.go
	packet.ProtoICMP:    {idQuery, packet.ICMPSize, 2, false}, // RFC 792
	packet.ProtoICMPv6:  {idQuery, packet.ICMPSize, 2, true},  // RFC 4443, section 2.3
	packet.ProtoGRE:     {idCall, 0, 0, false},                // RFC 2637, section 4.1; plain GRE may have 4 bytes only
}

// enhancedGRESize is what an enhanced GRE header has up to its call ID's end.
const enhancedGRESize = 8

// checksumOffset returns where a protocol's ones'-complement checksum stands, 0 for one without, and whether it
// covers a pseudo-header.
func checksumOffset(proto uint8) (off uint8, pseudo bool) {
	return layouts[proto].sumAt, layouts[proto].pseudo
}

// changeAddr is [packet.Change] of two addresses as tuples hold them, not folded.
func changeAddr(from, to *[16]byte, v4 bool) uint64 {
	f, t := ^binary.BigEndian.Uint32(from[12:]), binary.BigEndian.Uint32(to[12:])
	sum := uint64(f) + uint64(t) // 32-bit words sum like 16-bit ones: 2^16 is 1 in ones' complement
	if !v4 {
		for i := 0; i < 12; i += 4 {
			sum += uint64(^binary.BigEndian.Uint32(from[i:])) + uint64(binary.BigEndian.Uint32(to[i:]))
		}
	}
	return sum
}

// fold brings a sum to a delta.
func fold(sum uint64) packet.Delta {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return packet.Delta(sum>>16 + sum&0xffff)
}

// RewriteDst applies c's binding to a packet of the connection at the DST position, before routing: destination
// address, port, identifier or call ID, with their checksums, partial ones too. In ICMP errors (c.ErrorL3 != 0)
// the quote is rewritten as well. h must be of b; of h only what [packet.Parse] found is used, so it stays valid.
func RewriteDst(b []byte, h *packet.Headers, m *packet.Meta, c *conntrack.Conn) packet.DropReason {
	at := positions(c.Status, c.Dir) & atDst
	if at == 0 {
		return packet.NotDropped
	}
	return rewriteAt(b, h, m, c, at, netip.Addr{})
}

// RewriteSrc is [RewriteDst] for the SRC position, after routing. own is the router's address for errors from
// routers that have no mapping (RFC 5508, REQ-5); the zero Addr leaves such a source.
func RewriteSrc(b []byte, h *packet.Headers, m *packet.Meta, c *conntrack.Conn, own netip.Addr) packet.DropReason {
	at := positions(c.Status, c.Dir) & atSrc
	if at == 0 {
		return packet.NotDropped
	}
	return rewriteAt(b, h, m, c, at, own)
}

func rewriteAt(b []byte, h *packet.Headers, m *packet.Meta, c *conntrack.Conn, at uint8, own netip.Addr) packet.DropReason {
	if c.ErrorL3 != 0 {
		return rewriteError(b, h, m, c, at, own)
	}
	var r Rewrite
	r.plan(c, c.Dir, at)
	return r.Apply(b, h, m)
}

// Apply rewrites one packet of the direction that r was made for. The packet must carry that direction's tuple.
func (r *Rewrite) Apply(b []byte, h *packet.Headers, m *packet.Meta) packet.DropReason {
	if r.what == 0 {
		return packet.NotDropped
	}
	if l4 := &layouts[r.proto]; h.FragOff == 0 && (l4.sumAt != 0 || r.what&editIDs != 0) {
		if reason := r.applyTransport(b, h, m, l4); reason != packet.NotDropped {
			return reason
		}
	}
	if h.Family == 4 {
		if r.what&editSrc != 0 {
			copy(b[12:16], r.src[12:])
		}
		if r.what&editDst != 0 {
			copy(b[16:20], r.dst[12:])
		}
		binary.BigEndian.PutUint16(b[10:], r.ip.Apply(binary.BigEndian.Uint16(b[10:])))
		return packet.NotDropped
	}
	if r.what&editSrc != 0 {
		copy(b[8:24], r.src[:])
	}
	if r.what&editDst != 0 {
		copy(b[24:40], r.dst[:])
	}
	return packet.NotDropped
}

// applyTransport writes the IDs and updates the checksum (RFC 1624). It reads no more than the header that
// [packet.Parse] found whole.
func (r *Rewrite) applyTransport(b []byte, h *packet.Headers, m *packet.Meta, at *layout) packet.DropReason {
	l4 := b[h.L4:h.Len]
	if size := h.Payload - h.L4; size < uint16(at.need) || (r.what&editCallID != 0 && size < enhancedGRESize) {
		return packet.Malformed
	}
	if r.proto == packet.ProtoSCTP {
		r.applySCTP(l4, h, m)
		return packet.NotDropped
	}
	if at.ids == idQuery {
		r.applyQuery(l4, m)
		return packet.NotDropped
	}
	r.putIDs(l4)
	if at.sumAt != 0 {
		sum := l4[at.sumAt : at.sumAt+2]
		binary.BigEndian.PutUint16(sum, r.newSum(binary.BigEndian.Uint16(sum), m.Partial()))
	}
	return packet.NotDropped
}

// applyQuery is applyTransport for ICMP queries.
func (r *Rewrite) applyQuery(l4 []byte, m *packet.Meta) {
	full := r.full
	if id := binary.BigEndian.Uint16(l4[4:]); r.what&editEchoID != 0 && id != r.srcID {
		binary.BigEndian.PutUint16(l4[4:], r.srcID)
		full = full.Add(packet.Change16(id, r.srcID))
	}
	sum := l4[2:4]
	if m.Partial() {
		binary.BigEndian.PutUint16(sum, r.pseudo.ApplyPartial(binary.BigEndian.Uint16(sum)))
		return
	}
	binary.BigEndian.PutUint16(sum, full.Apply(binary.BigEndian.Uint16(sum)))
	if r.proto == packet.ProtoICMP && allZero(l4) { // the one message whose sum of 0 is no ffff in disguise
		sum[0], sum[1] = 0xff, 0xff
	}
}

func allZero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

// newSum returns the checksum field after the rewrite.
func (r *Rewrite) newSum(field uint16, partial bool) uint16 {
	if partial {
		return r.pseudo.ApplyPartial(field)
	}
	if r.proto != packet.ProtoUDP && r.proto != packet.ProtoUDPLite {
		return r.full.Apply(field)
	}
	if field == 0 { // none was made (RFC 768; RFC 6935 for IPv6)
		return 0
	}
	if field = r.full.Apply(field); field == 0 {
		return 0xffff
	}
	return field
}

// putIDs writes the IDs where they stand; l4 is long enough for them.
func (r *Rewrite) putIDs(l4 []byte) {
	if r.what&editSrcID != 0 {
		binary.BigEndian.PutUint16(l4, r.srcID)
	}
	if r.what&editDstID != 0 {
		binary.BigEndian.PutUint16(l4[2:], r.dstID)
	}
	if r.what&editCallID != 0 {
		binary.BigEndian.PutUint16(l4[6:], r.dstID)
	}
}
