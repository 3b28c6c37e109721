package nat

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// identCounters is how many counters IPv4 identifications come from; which one, source, destination and protocol
// say, so that one of them is not used again before a counter has gone round.
const identCounters = 2048

// sentIdents is for how many identifications that were given their sender's own is remembered: 256 KiB.
const sentIdents = 1 << 16

// idents gives IPv4 identifications, and remembers for which ones, so that an error that quotes a datagram shows its
// sender's own. One is forgotten when another takes its place, at the earliest when as many have been given as there are
// places in the table, but for pairs whose numbers fall on the same: then its quote keeps the number that it left with.
type idents struct {
	next [identCounters]atomic.Uint32
	sent [sentIdents]atomic.Uint32 // by place: identTag of the pair, and the sender's identification
}

// identTag is what an entry says of its source, destination and protocol; never 0.
func identTag(hash uint64) uint32 { return uint32(hash>>48)<<16 | 1<<31 }

// place is where an identification of a pair is remembered: one behind the other, from a place of the pair's own.
func (t *idents) place(hash uint64, id uint16) *atomic.Uint32 {
	return &t.sent[uint16(hash>>16)+id]
}

// SharesSource reports whether packets of c's direction leave with a source that other hosts may have too.
func SharesSource(c *conntrack.Conn) bool { return positions(c.Status, c.Dir)&atSrc != 0 }

// RewriteID gives an IPv4 datagram that may be fragmented (RFC 6864, section 4.1: all but whole ones with DF) an
// identification that is unique for its source, destination and protocol: hosts behind one address do not know of
// each other's (RFC 7857, section 11). Call it after [RewriteSrc] for packets that [SharesSource] names. With
// ip_id = "keep" it does nothing. Packets that are fragments already keep theirs. A super-segment takes as many as
// it has segments.
func (n *NAT) RewriteID(b []byte, h *packet.Headers, m *packet.Meta) {
	if n.keepsID(h) {
		return
	}
	old, id := uint16(h.ID), n.nextID(binary.LittleEndian.Uint64(b[12:]), h, m)
	binary.BigEndian.PutUint16(b[4:], id)
	sum := packet.Change16(old, id).Apply(binary.BigEndian.Uint16(b[10:]))
	binary.BigEndian.PutUint16(b[10:], sum)
}

// keepsID reports whether a packet's identification is left alone.
func (n *NAT) keepsID(h *packet.Headers) bool {
	return n.defaults.KeepIPID || h.Family != 4 || h.DF || h.Fragment
}

// nextID returns the identification of a packet that will have these addresses, as they stand in its header.
func (n *NAT) nextID(addresses uint64, h *packet.Headers, m *packet.Meta) uint16 {
	count := uint32(1)
	if payload := uint32(h.PayloadLen()); m.SegSize != 0 && payload > uint32(m.SegSize) {
		count = (payload + uint32(m.SegSize) - 1) / uint32(m.SegSize)
	}
	hash := n.identHash(addresses, h.Proto)
	next := n.idents.next[hash%identCounters].Add(count)
	id := uint16(next-count) + uint16(hash>>32) // counters of different pairs begin apart
	for i := range min(count, sentIdents) {     // segments are numbered in order, by the sender as here
		n.idents.place(hash, id+uint16(i)).Store(identTag(hash) | uint32(uint16(h.ID)+uint16(i)))
	}
	return id
}

// identHash is of source, destination and protocol, as they stand in a header.
func (n *NAT) identHash(addresses uint64, proto uint8) uint64 {
	return mix(addresses^n.key[0], uint64(proto)^n.key[1])
}

// RestoreID gives the IPv4 datagram quoted in an ICMP error the identification that its sender chose, where
// [NAT.RewriteID] gave it another and that is still remembered (RFC 5508, REQ-4a). c is the error's connection. Call it
// before the quote is rewritten: it goes by the addresses that the datagram left with.
func (n *NAT) RestoreID(b []byte, h *packet.Headers, m *packet.Meta, c *conntrack.Conn) {
	if n.defaults.KeepIPID || h.Family != 4 || h.FragOff != 0 || positions(c.Status, 1-c.Dir)&atSrc == 0 {
		return
	}
	q, ok := parseQuote(b, int(c.ErrorL3), int(h.Len))
	if !ok || q.family != 4 {
		return
	}
	ip := b[q.l3:q.l4]
	if packet.IPv4(ip).DF() {
		return
	}
	hash := n.identHash(binary.LittleEndian.Uint64(ip[12:]), q.proto)
	sent := n.idents.place(hash, binary.BigEndian.Uint16(ip[4:])).Load()
	if sent&^0xffff != identTag(hash) {
		return
	}
	changed := put16(ip[4:], uint16(sent))
	body := changed.Add(apply(ip[10:], changed))
	if !m.Partial() {
		apply(b[h.L4+2:], body)
	}
}
