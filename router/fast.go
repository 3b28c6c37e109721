package router

import (
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// fastHook is the fast path. It takes packets about which nothing is left to decide: the connection has been answered
// and routed both ways, and the packet needs the connection's rewrite and no more. It tracks with the same tracker,
// rewrites to the same tuple, and leaves all other packets to the transit list, untouched; so both ways give the same
// bytes, counters and state (TestFastAsSlow). It stands before the list and not in it, so that a packet which it
// takes needs no Packet and no call by interface.
type fastHook struct {
	nat     *nat.NAT
	enabled bool // [fast_path] enabled, and no filter rule looks at established packets
}

func (*fastHook) Name() string { return "fast" }

// take sends the packet in f if it is one for the fast path. false: it was not touched. Its caller is l, the lane of a
// queue, whose batch is n.
func (s *fastHook) take(l *lane, now packet.Time, f *tun.Frame, n *batch) bool {
	h, b := &l.candidate, f.Bytes()
	if !s.enabled || !h.fits(b, &f.Meta) {
		return false
	}
	b = b[:h.Len]
	h.seen.Bytes, h.seen.H, h.seen.Meta = b, &h.Headers, &f.Meta
	h.way.Size = largest(&h.Headers, &f.Meta)
	reason, ok := n.run.TrackReady(now, &h.seen, &h.way, &h.exit)
	if !ok {
		return false
	}
	packets := segments(&h.Headers, &f.Meta)
	n.packets += packets
	n.bytes += uint64(f.Len)
	if reason != packet.NotDropped {
		n.run.Release()
		s.refuse(l, now, f, reason)
		return true
	}
	s.nat.Forward(b, &h.Headers, &f.Meta, &h.exit)
	l.pass(l.router.interfaces[h.exit.Interface], f, len(b))
	n.fast += packets
	return true
}

// refuse drops a packet of a known connection that the tracker refused.
func (s *fastHook) refuse(l *lane, now packet.Time, f *tun.Frame, reason packet.DropReason) {
	p := &l.packet
	p.reset(f.Buf, f.Off, int(l.candidate.Len), f.Meta)
	p.in, p.lane, p.now = l.nif, l, now
	p.H, p.Conn, p.Reason = l.candidate.Headers, conntrack.Conn{}, reason
	l.router.drop(p, s)
}

// fastPacket is what the fast path finds out about one packet; a lane has one that is used again.
type fastPacket struct {
	packet.Headers
	seen conntrack.Packet
	way  conntrack.Way
	exit conntrack.Exit
}

// begin readies l for a batch: what its packets share is written once.
func (h *fastPacket) begin(l *lane) {
	h.seen.Inbound = l.nif.side == Outside
	h.way.Generation, h.way.In = l.router.generation, l.nif.index
}

// fits parses b and reports whether it has a form that the fast path takes: TCP without SYN, FIN and RST, UDP, or
// enhanced GRE (RFC 2637); no fragment, no options, no unfinished tunnel, no wrong checksum; with a hop left.
func (h *fastPacket) fits(b []byte, m *packet.Meta) bool {
	if !h.ParsePlain(b) && !h.parseGRE(b) {
		return false
	}
	if h.TTL <= 1 || m.PartialInner(&h.Headers) {
		return false
	}
	if h.Proto == packet.ProtoTCP && b[h.L4+13]&(packet.FlagSYN|packet.FlagFIN|packet.FlagRST) != 0 {
		return false
	}
	return packet.VerifyTransport(b, &h.Headers, m) == packet.NotDropped
}

// parseGRE parses what is no TCP and no UDP.
func (h *fastPacket) parseGRE(b []byte) bool {
	return len(b) > packet.IPv6Size && (b[9] == packet.ProtoGRE || b[6] == packet.ProtoGRE) &&
		h.Parse(b) == packet.NotDropped && h.Proto == packet.ProtoGRE && packet.GRE(b[h.L4:]).Version() == 1 &&
		!h.Fragment && h.FragHdr == 0 && !h.Options
}

// largest returns the size of the largest packet on the wire that a packet stands for, bytes.
func largest(h *packet.Headers, m *packet.Meta) int {
	if m.GSO != packet.GSONone {
		return int(h.Payload) + int(m.SegSize)
	}
	return int(h.Len)
}

// segments returns how many packets on the wire a packet stands for.
func segments(h *packet.Headers, m *packet.Meta) uint64 {
	if m.GSO == packet.GSONone {
		return 1
	}
	size, payload := int(m.SegSize), h.PayloadLen()
	if size == 0 || payload <= size {
		return 1
	}
	return uint64((payload + size - 1) / size)
}
