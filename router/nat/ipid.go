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

// idents gives IPv4 identifications.
type idents [identCounters]atomic.Uint32

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
	old, id := binary.BigEndian.Uint16(b[4:]), n.nextID(binary.LittleEndian.Uint64(b[12:]), h, m)
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
	hash := mix(addresses^n.key[0], uint64(h.Proto)^n.key[1])
	next := n.idents[hash%identCounters].Add(count)
	return uint16(next-count) + uint16(hash>>32) // counters of different pairs begin apart
}
