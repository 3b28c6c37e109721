package tun

import (
	"bytes"
	"encoding/binary"

	"github.com/natrouter/natrouter/router/packet"
)

// Bounds of what is merged.
const (
	// mergeWindow is how many frames are looked at together: a whole batch of a busy router. With 64 flows in turn,
	// half as many leave half as much to merge, and twice as many gain nothing more.
	mergeWindow = 256
	// maxSegments is UDP_MAX_SEGMENTS of Linux before 6.9; TCP keeps to it for the length of the iovec.
	maxSegments = 64
	// maxMerged is the longest super-segment that is made, bytes: kernels make none of 64 KiB (GSO_LEGACY_MAX_SIZE).
	maxMerged = 65535
	// maxUDPPayload is the most that a datagram over IPv4 holds: 65535 - 20 - 8 bytes.
	maxUDPPayload = 65507
	// mergeSlots is the size of the flow table: a power of two, at most half full.
	mergeSlots = 2 * mergeWindow
	// maxMergeHeader is IPv6 with a full TCP header, bytes; packets with more are not merged.
	maxMergeHeader = packet.IPv6Size + 60
)

// merger finds the frames of a batch that can leave as one super-segment: neighbours of one flow, though other
// flows' packets lie between them. What it merges a segmenting kernel takes apart into the same packets, but for
// IPv4 identifications under DF, which mean nothing (RFC 6864, section 4.1). Within a flow the order stays; between
// flows it may change. A flow's packet that can't be merged ends the super-segment before it. One goroutine uses it.
type merger struct {
	caps   Caps // without what turned out not to work
	groups [mergeWindow]mergeGroup
	n      int                 // groups in use, in the order in which they are sent
	next   [mergeWindow]uint16 // the frame behind frame i in its group
	slots  [mergeSlots]mergeSlot
	epoch  uint32 // slots of another epoch are empty
	hdr    [vnetSize + maxMergeHeader]byte
}

// mergeGroup is one write: a packet of its own, or count segments of a flow.
type mergeGroup struct {
	first, last uint16 // frame indices
	count       uint8
	proto       uint8
	open        bool   // takes more segments
	verified    bool   // the first segment's checksum is right or partial
	push        bool   // the last segment has PSH
	hash        uint32 // of the flow
	l4, payload uint16 // offsets, the same in all segments
	segSize     uint16 // payload of the first segment, bytes
	total       int    // length of the super-segment, bytes
	seq         uint32 // TCP sequence number behind the last segment
}

// mergeSlot is an entry of the flow table: the group of a flow's latest packet.
type mergeSlot struct {
	epoch uint32
	group uint16
}

// plan sorts at most mergeWindow frames into groups. Frames of Len 0 are left out.
func (m *merger) plan(frames []Frame) {
	m.n = 0
	m.forget()
	for i := range frames {
		if frames[i].Len != 0 {
			m.place(frames, uint16(i))
		}
	}
}

// forget ends all open groups.
func (m *merger) forget() {
	if m.epoch++; m.epoch == 0 {
		clear(m.slots[:])
		m.epoch = 1
	}
}

// place puts frame i into the open group of its flow, or into a new one.
func (m *merger) place(frames []Frame, i uint16) {
	f := &frames[i]
	if !validFrame(f) {
		m.add(i)
		return
	}
	b := f.Bytes()
	h, reason := packet.Parse(b)
	switch {
	case reason != packet.NotDropped || h.Fragment: // of which flow can't be said, so it stays before what follows
		m.add(i)
		m.forget()
		return
	case h.Proto != packet.ProtoTCP && h.Proto != packet.ProtoUDP:
		m.add(i)
		return
	}
	hash := flowHash(b, &h)
	slot := m.find(frames, b, &h, hash)
	ok, last := m.mergeable(f, b, &h)
	if ok && slot.epoch == m.epoch {
		if g := &m.groups[slot.group]; g.open && m.joins(g, frames, f, &h) {
			m.join(g, i, b, &h, last)
			return
		}
	}
	g := m.add(i)
	slot.epoch, slot.group = m.epoch, uint16(m.n-1)
	g.hash, g.proto, g.l4, g.payload = hash, h.Proto, h.L4, h.Payload
	if ok {
		g.open, g.segSize, g.total = !last, uint16(h.PayloadLen()), int(h.Len)
		if h.Proto == packet.ProtoTCP {
			g.seq = packet.TCP(b[h.L4:]).Seq() + uint32(g.segSize)
		}
	}
}

// add makes a group of frame i alone.
func (m *merger) add(i uint16) *mergeGroup {
	g := &m.groups[m.n]
	m.n++
	*g = mergeGroup{first: i, last: i, count: 1}
	return g
}

// find returns the slot of the packet's flow: its own, or the empty one where it goes.
func (m *merger) find(frames []Frame, b []byte, h *packet.Headers, hash uint32) *mergeSlot {
	for at := hash % mergeSlots; ; at = (at + 1) % mergeSlots {
		s := &m.slots[at]
		if s.epoch != m.epoch {
			return s
		}
		if g := &m.groups[s.group]; g.hash == hash && g.proto == h.Proto {
			if sameFlow(frames[g.first].Bytes(), int(g.l4), b, int(h.L4)) {
				return s
			}
		}
	}
}

// flowHash mixes addresses and ports. Who aims at collisions gains nothing: the table is small and new each batch.
func flowHash(b []byte, h *packet.Headers) uint32 {
	var x uint64
	if h.Family == 4 {
		x = binary.NativeEndian.Uint64(b[12:])
	} else {
		x = binary.NativeEndian.Uint64(b[8:]) ^ binary.NativeEndian.Uint64(b[16:])*3 ^
			binary.NativeEndian.Uint64(b[24:])*5 ^ binary.NativeEndian.Uint64(b[32:])*7
	}
	x ^= uint64(binary.NativeEndian.Uint32(b[h.L4:])) << 17
	x *= 0x9e3779b97f4a7c15 // 2^64 / golden ratio
	return uint32(x >> 32)
}

// sameFlow compares version, addresses and ports.
func sameFlow(a []byte, aL4 int, b []byte, bL4 int) bool {
	if a[0]>>4 != b[0]>>4 || !bytes.Equal(a[aL4:aL4+4], b[bL4:bL4+4]) {
		return false
	}
	if a[0]>>4 == 4 {
		return bytes.Equal(a[12:20], b[12:20])
	}
	return bytes.Equal(a[8:40], b[8:40])
}

// mergeable reports whether the packet may be part of a super-segment, and whether it can only be the last one.
func (m *merger) mergeable(f *Frame, b []byte, h *packet.Headers) (ok, last bool) {
	if f.Meta.GSO != packet.GSONone || h.Options || h.FragHdr != 0 || int(h.Len) != f.Len || h.PayloadLen() == 0 {
		return false, false
	}
	csumOff := uint16(udpCsumOff)
	if h.Proto == packet.ProtoTCP {
		csumOff = tcpCsumOff
	}
	if f.Meta.Partial() && (f.Meta.CsumStart != h.L4 || f.Meta.CsumOff != csumOff) {
		return false, false
	}
	l4 := b[h.L4:]
	if h.Proto == packet.ProtoUDP {
		none := binary.BigEndian.Uint16(l4[udpCsumOff:]) == 0 && !f.Meta.Partial()
		return m.caps.USO && !none && int(binary.BigEndian.Uint16(l4[4:])) == len(l4), false
	}
	flags := packet.TCP(l4).Flags()
	ok = flags&^(packet.FlagPSH|packet.FlagECE) == packet.FlagACK
	if h.Family == 4 {
		return ok && m.caps.TSO4, flags&packet.FlagPSH != 0
	}
	return ok && m.caps.TSO6, flags&packet.FlagPSH != 0
}

// joins reports whether mergeable packet f continues g, a group of its flow.
func (m *merger) joins(g *mergeGroup, frames []Frame, f *Frame, h *packet.Headers) bool {
	first := &frames[g.first]
	a, b := first.Bytes(), f.Bytes()
	n := h.PayloadLen()
	if h.Payload != g.payload || n > int(g.segSize) || g.count == maxSegments || g.total+n > maxMerged {
		return false
	}
	if h.Family == 4 {
		nextID := binary.BigEndian.Uint16(a[4:]) + uint16(g.count)
		if a[1] != b[1] || a[6] != b[6] || a[8] != b[8] || (!h.DF && nextID != packet.IPv4(b).ID()) {
			return false
		}
	} else if !bytes.Equal(a[:4], b[:4]) || a[7] != b[7] {
		return false
	}
	if h.Proto == packet.ProtoUDP {
		if g.total+n-int(g.payload) > maxUDPPayload {
			return false
		}
	} else if !sameTCP(a[g.l4:g.payload], b[h.L4:h.Payload], g.seq) {
		return false
	}
	if !g.verified {
		if g.verified = verified(first); !g.verified {
			g.open = false
			return false
		}
	}
	return verified(f)
}

// sameTCP compares what all segments of a super-segment share: acknowledgement, window, urgent pointer, all options
// (so the timestamps too, RFC 7323, section 3.2) and the flags, of which only PSH may come new, on the last.
func sameTCP(a, b packet.TCP, seq uint32) bool {
	return b.Seq() == seq && bytes.Equal(a[8:13], b[8:13]) && (a[13]^b[13])&^packet.FlagPSH == 0 &&
		bytes.Equal(a[14:16], b[14:16]) && bytes.Equal(a[18:], b[18:])
}

// verified reports whether the packet's checksum is partial or right, so that merging hides no damage.
func verified(f *Frame) bool {
	if f.Meta.Partial() || f.Meta.CsumValid {
		return true
	}
	b := f.Bytes()
	h, reason := packet.Parse(b)
	return reason == packet.NotDropped && packet.VerifyTransport(b, &h, &f.Meta) == packet.NotDropped
}

func (m *merger) join(g *mergeGroup, i uint16, b []byte, h *packet.Headers, last bool) {
	n := h.PayloadLen()
	m.next[g.last] = i
	g.last = i
	g.count++
	g.total += n
	g.seq += uint32(n)
	g.push = last
	g.open = !last && n == int(g.segSize)
}

// header returns the virtio header and the packet headers of group g, in a buffer of m. The payloads of its frames
// follow it.
func (m *merger) header(frames []Frame, g *mergeGroup) []byte {
	meta := packet.Meta{SegSize: g.segSize, CsumStart: g.l4, CsumOff: udpCsumOff}
	b := m.hdr[vnetSize : vnetSize+int(g.payload)]
	copy(b, frames[g.first].Bytes())
	h := packet.Headers{Family: b[0] >> 4, Proto: g.proto, L4: g.l4, Payload: g.payload, Len: uint32(g.total)}
	if h.Family == 4 {
		binary.BigEndian.PutUint16(b[2:], uint16(h.Len))
		packet.IPv4(b).SetChecksum(0)
		packet.IPv4(b).SetChecksum(^packet.Checksum(b[:g.l4], 0))
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(h.Len-packet.IPv6Size))
	}
	switch {
	case g.proto == packet.ProtoUDP:
		meta.GSO = packet.GSOUDP
		binary.BigEndian.PutUint16(b[g.l4+4:], uint16(h.L4Len()))
	case h.Family == 4:
		meta.GSO, meta.CsumOff = packet.GSOTCPv4, tcpCsumOff
	default:
		meta.GSO, meta.CsumOff = packet.GSOTCPv6, tcpCsumOff
	}
	if g.push {
		b[g.l4+13] |= packet.FlagPSH
	}
	binary.BigEndian.PutUint16(b[meta.CsumStart+meta.CsumOff:], pseudoHeader(b, &h))
	encodeVnet(m.hdr[:vnetSize], b, &meta)
	return m.hdr[:vnetSize+len(b)]
}

// markSent sets Len to 0 in the frames of groups before the failed one that stand behind its first frame: they have
// gone, and a caller that tries again what is left must not send them twice.
func (m *merger) markSent(frames []Frame, failed int) {
	for _, g := range m.groups[:failed] {
		at := g.first
		for range g.count {
			if at > m.groups[failed].first {
				frames[at].Len = 0
			}
			at = m.next[at]
		}
	}
}

// giveUp stops merging the kind of group g, because the kernel refused one.
func (m *merger) giveUp(g *mergeGroup) {
	if g.proto == packet.ProtoUDP {
		m.caps.USO = false
		return
	}
	m.caps.TSO4, m.caps.TSO6 = false, false
}
