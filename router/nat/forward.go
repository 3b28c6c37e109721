package nat

import (
	"encoding/binary"
	"math/bits"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// Forward does to a packet that [conntrack.Run.TrackReady] took what is still to be done: it gets the tuple that it
// leaves with, as by [Rewrite.Apply], an identification as by [NAT.RewriteID], and one hop less, as by
// [packet.DecrementTTL]; all sums are updated once. It is for whole TCP, UDP and enhanced GRE packets with a hop left.
func (n *NAT) Forward(b []byte, h *packet.Headers, m *packet.Meta, x *conntrack.Exit) {
	var addrs uint64 // sums, not folded
	if h.Family == 4 {
		addrs = n.forwardIPv4(b, h, m, x)
	} else {
		addrs = forwardAddr(b[8:24], &x.Src) + forwardAddr(b[24:40], &x.Dst)
		b[7]--
	}
	l4, at := b[h.L4:h.Len], 6
	switch h.Proto {
	case packet.ProtoGRE: // RFC 2637, section 4.1: the receiver's call ID, and no checksum
		binary.BigEndian.PutUint16(l4[6:], uint16(x.IDs))
		return
	case packet.ProtoTCP:
		at = 16
	}
	all := addrs
	if old := binary.BigEndian.Uint32(l4); old != x.IDs {
		binary.BigEndian.PutUint32(l4, x.IDs)
		all += uint64(^old) + uint64(x.IDs)
	}
	r := Rewrite{proto: h.Proto, pseudo: fold(addrs), full: fold(all)}
	sum := l4[at : at+2]
	binary.BigEndian.PutUint16(sum, r.newSum(binary.BigEndian.Uint16(sum), m.Partial()))
}

// forwardIPv4 rewrites the IPv4 header and returns what the addresses change in a sum, 0 where they are the same.
func (n *NAT) forwardIPv4(b []byte, h *packet.Headers, m *packet.Meta, x *conntrack.Exit) (addrs uint64) {
	ip := b[:packet.IPv4Size]
	if old := binary.BigEndian.Uint64(ip[12:]); old != x.Pair {
		binary.BigEndian.PutUint64(ip[12:], x.Pair)
		addrs = change64(old, x.Pair)
	}
	change := addrs
	if x.Source && !n.keepsID(h) {
		id := n.nextID(bits.ReverseBytes64(x.Pair), h, m)
		binary.BigEndian.PutUint16(ip[4:], id)
		change += uint64(^uint16(h.ID)) + uint64(id)
	}
	old := binary.BigEndian.Uint16(ip[8:])
	binary.BigEndian.PutUint16(ip[8:], old-1<<8)
	change += uint64(^old) + uint64(old-1<<8)
	binary.BigEndian.PutUint16(ip[10:], fold(change).Apply(binary.BigEndian.Uint16(ip[10:])))
	return addrs
}

// forwardAddr writes an IPv6 address and returns what it changes in a sum, 0 where it is the same.
func forwardAddr(b []byte, to *[16]byte) (sum uint64) {
	hi, lo := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	toHi, toLo := binary.BigEndian.Uint64(to[:]), binary.BigEndian.Uint64(to[8:])
	if hi == toHi && lo == toLo {
		return 0
	}
	binary.BigEndian.PutUint64(b, toHi)
	binary.BigEndian.PutUint64(b[8:], toLo)
	return change64(hi, toHi) + change64(lo, toLo)
}

// change64 is the change of a sum by eight bytes, in 32-bit words, not folded.
func change64(from, to uint64) uint64 {
	return ^from>>32 + ^from&0xffffffff + to>>32 + to&0xffffffff
}
