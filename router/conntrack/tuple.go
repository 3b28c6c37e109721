package conntrack

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/natrouter/natrouter/router/packet"
)

// Tuple identifies one direction of a connection. IPv4 stands 4-in-6 (::ffff:a.b.c.d). It has no pointers, so
// tables of it are not scanned by the collector. The IDs are ports for TCP, UDP, UDP-Lite, SCTP and DCCP;
// identifier (SrcID) and type<<8|code (DstID) for ICMP queries; the two call IDs for enhanced GRE, where a packet
// names only its receiver's: SrcID takes part in rewriting, but not in hash and equality (see key); the two
// halves of the key for plain GRE with a key; 0 for all else. 0 is a legal call ID, never "none". The zero
// Tuple is no connection's.
type Tuple struct {
	Src, Dst     [16]byte
	SrcID, DstID uint16 // host byte order
	Zone         uint16 // always 0 for now
	Proto        uint8  // IANA protocol number
	Family       uint8  // 4 or 6; GREv1 | family for enhanced GRE, so that its key is never that of plain GRE
}

// GREv1 is the bit of Tuple.Family that marks enhanced GRE (RFC 2637, section 4.1).
const GREv1 = 0x10

// Direction of a packet within its connection.
type Direction uint8

// The directions: Original is that of the connection's first packet.
const (
	Original Direction = iota
	Reply
)

// String returns "original" or "reply".
func (d Direction) String() string {
	if d == Original {
		return "original"
	}
	return "reply"
}

// SrcAddr returns the source address, unmapped.
func (t *Tuple) SrcAddr() netip.Addr { return netip.AddrFrom16(t.Src).Unmap() }

// DstAddr returns the destination address, unmapped.
func (t *Tuple) DstAddr() netip.Addr { return netip.AddrFrom16(t.Dst).Unmap() }

// IP returns the address family, 4 or 6, without the mark of enhanced GRE.
func (t *Tuple) IP() uint8 { return t.Family &^ GREv1 }

// IsGREv1 reports whether the tuple is of enhanced GRE, whose IDs are call IDs.
func (t *Tuple) IsGREv1() bool { return t.Proto == packet.ProtoGRE && t.Family&GREv1 != 0 }

// HasPorts reports whether the IDs are transport ports.
func (t *Tuple) HasPorts() bool { return hasPorts(t.Proto) }

func hasPorts(proto uint8) bool {
	switch proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoUDPLite, packet.ProtoSCTP, packet.ProtoDCCP:
		return true
	}
	return false
}

// Portless reports whether NAT has no identifier that it could change to keep two connections of one pair of
// addresses apart: plain GRE, ESP, AH and all protocols that are not tracked by name.
func (t *Tuple) Portless() bool {
	return !t.HasPorts() && !t.IsGREv1() && t.Proto != packet.ProtoICMP && t.Proto != packet.ProtoICMPv6
}

// Inverse returns the tuple of the other direction before any NAT. ok is false for an ICMP type that has none.
func (t Tuple) Inverse() (inv Tuple, ok bool) {
	inv = t
	inv.Src, inv.Dst = t.Dst, t.Src
	switch {
	case t.HasPorts() || t.IsGREv1():
		inv.SrcID, inv.DstID = t.DstID, t.SrcID
	case t.Proto == packet.ProtoICMP || t.Proto == packet.ProtoICMPv6:
		// The identifier is one for both ways; the type is that of the answer.
		typ, ok := inverseICMP(t.Proto, uint8(t.DstID>>8))
		if !ok {
			return Tuple{}, false
		}
		inv.DstID = uint16(typ)<<8 | t.DstID&0xff
	}
	return inv, true
}

// inverse is Inverse for a tuple of a connection, which always has one.
func (t Tuple) inverse() Tuple {
	inv, _ := t.Inverse()
	return inv
}

// String returns "tcp 10.0.0.1:1000->192.0.2.1:80", with the words of the protocol for what is no port:
// "icmp 10.0.0.1->192.0.2.1 type=8 code=0 id=7", "gre 10.0.0.1->192.0.2.1 callid=16->9", "esp ...".
func (t Tuple) String() string {
	name, src, dst := ProtoName(t.Proto), t.SrcAddr(), t.DstAddr()
	switch {
	case t.HasPorts():
		return fmt.Sprintf("%s %s->%s", name, netip.AddrPortFrom(src, t.SrcID), netip.AddrPortFrom(dst, t.DstID))
	case t.Proto == packet.ProtoICMP || t.Proto == packet.ProtoICMPv6:
		return fmt.Sprintf("%s %s->%s type=%d code=%d id=%d", name, src, dst, t.DstID>>8, t.DstID&0xff, t.SrcID)
	case t.IsGREv1():
		return fmt.Sprintf("%s %s->%s callid=%d->%d", name, src, dst, t.SrcID, t.DstID)
	case t.Proto == packet.ProtoGRE && (t.SrcID != 0 || t.DstID != 0):
		return fmt.Sprintf("%s %s->%s key=%#x", name, src, dst, uint32(t.SrcID)<<16|uint32(t.DstID))
	}
	return fmt.Sprintf("%s %s->%s", name, src, dst)
}

// protoNames are the names that /etc/protocols and conntrack-tools use.
var protoNames = map[uint8]string{
	packet.ProtoICMP: "icmp", packet.ProtoTCP: "tcp", packet.ProtoUDP: "udp", packet.ProtoDCCP: "dccp",
	packet.ProtoIPv6: "ipv6", packet.ProtoGRE: "gre", packet.ProtoESP: "esp", packet.ProtoAH: "ah",
	packet.ProtoICMPv6: "icmpv6", packet.ProtoSCTP: "sctp", packet.ProtoUDPLite: "udplite",
	2: "igmp", 4: "ipip", 89: "ospf", 103: "pim", 112: "vrrp",
}

// ProtoName returns the name of a protocol number in lower case, or the number in decimal.
func ProtoName(proto uint8) string {
	if name, ok := protoNames[proto]; ok {
		return name
	}
	return fmt.Sprint(proto)
}

// ProtoNumber returns the protocol of a name that ProtoName returns, in whatever case, or of a number in decimal.
func ProtoNumber(name string) (proto uint8, ok bool) {
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		return uint8(n), true
	}
	for n, s := range protoNames {
		if strings.EqualFold(s, name) {
			return n, true
		}
	}
	return 0, false
}

// ProtoNames returns the names that ProtoName has, sorted.
func ProtoNames() []string { return slices.Sorted(maps.Values(protoNames)) }

// mapped returns an IPv4 address 4-in-6.
func mapped(v4 uint32) (a [16]byte) {
	binary.BigEndian.PutUint64(a[8:], 0xffff<<32|uint64(v4))
	return a
}
