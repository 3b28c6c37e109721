package router

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/internal/plain"
	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// modelForwarded is the outside port that goes to port 80 of the first inside host.
const modelForwarded = 8080

// modelHosts are the hosts on both sides: what they send depends on what arrived. The network on their way to the
// router loses, doubles and reorders.
type modelHosts struct {
	pick      func(n int) int
	flying    []modelPacket    // on their way to the router
	arrived   []modelPacket    // what a host got, the newest last; from is its side
	endpoints []netip.AddrPort // outside endpoints of inside hosts, as outside hosts saw them
	talks     []*modelTalk
	nextPort  uint16
	ipID      uint16

	public modelPublic

	helped       bool // some of them speak protocols that have helpers
	dialogues    []*modelDialogue
	tunnels      [][2]netip.Addr     // who has had a PPTP control connection with whom
	requests     [][2]netip.AddrPort // of TFTP, as servers saw them
	nextDialogue uint16
	nextData     uint16
	nextChild    uint32

	closed, errors, fragments int
	children, data            int // connections that dialogues brought about and that arrived, packets of calls
}

func newModelHosts(pick func(int) int, public modelPublic) *modelHosts {
	return &modelHosts{pick: pick, public: public, nextPort: 20000}
}

const (
	modelRemembered = 30 // packets that hosts may still answer
	modelTalks      = 6  // TCP connections at once
)

// next returns what reaches the router next: something that was on its way, or something new.
func (h *modelHosts) next() []modelPacket {
	if len(h.flying) > 0 && h.pick(3) > 0 {
		i := h.pick(min(len(h.flying), 4)) // reordered a little
		p := h.flying[i]
		switch h.pick(12) {
		case 0: // lost
			h.flying = slices.Delete(h.flying, i, i+1)
			return nil
		case 1: // doubled
		default:
			h.flying = slices.Delete(h.flying, i, i+1)
		}
		return h.cut(p)
	}
	h.speak()
	return nil
}

// cut sends a packet in fragments now and then, out of order.
func (h *modelHosts) cut(p modelPacket) []modelPacket {
	l := layout(p.b)
	if p.size > 0 || l.Fragment() || l.FragHdr != 0 || l.Options || len(p.b)-l.L4 < 64 || l.Family == 4 && l.DF || h.pick(4) > 0 && len(p.b) <= 1500 {
		return []modelPacket{p}
	}
	h.fragments++
	h.ipID++
	id := h.ipID
	if h.pick(3) == 0 {
		id = uint16(h.pick(4)) // one that is used again
	}
	if l.Family == 4 { // one that was cut before is another datagram now
		binary.BigEndian.PutUint16(p.b[4:], id)
		clear(p.b[10:12])
		binary.BigEndian.PutUint16(p.b[10:], ^packet.Checksum(p.b[:l.L4], 0))
	}
	size := []int{400, 576, 1280, modelWAN}[h.pick(4)]
	var all []modelPacket
	for _, b := range testpkt.Fragments(p.b, max(size, l.L4+48), uint32(id)) {
		all = append(all, modelPacket{from: p.from, b: b})
	}
	if h.pick(2) == 0 {
		slices.Reverse(all)
	}
	switch h.pick(12) {
	case 0, 1: // lost
		all = all[1:]
	case 2: // doubled
		all = slices.Insert(all, 0, all[0])
	}
	return all
}

// speak lets a host send something of its own.
func (h *modelHosts) speak() {
	if h.helped && h.pick(3) > 0 {
		if h.pick(12) == 0 {
			h.transfer()
		} else {
			h.converse()
		}
		return
	}
	if h.pick(400) == 217 { // rapid likes 0
		h.flood()
		return
	}
	switch h.pick(12) {
	case 0, 1:
		h.datagram()
	case 2, 3:
		h.answer()
	case 4:
		h.echo()
	case 5:
		h.complain()
	case 6:
		h.unasked()
	case 7:
		h.astray()
	default:
		h.talk()
	}
}

func (h *modelHosts) send(from netip.Addr, b []byte) {
	h.flying = append(h.flying, modelPacket{from: sideOf(from), b: b})
}

// offer sends TCP or UDP that the host's device is to cut into segments, if there are at least two of the size.
func (h *modelHosts) offer(from netip.Addr, b []byte, size int) {
	h.send(from, b)
	if l := layout(b); l.Len-l.Payload > size {
		h.flying[len(h.flying)-1].size = size
	}
}

// oneOf picks an address of a list.
func (h *modelHosts) oneOf(all []netip.Addr) netip.Addr { return all[h.pick(len(all))] }

// flood is many datagrams of one host that are cut in two, between the fragments of another: of IPv4 that one is given up
// when enough of the others are whole.
func (h *modelHosts) flood() {
	src := port(h.oneOf(modelInside), 5000)
	dst := port(h.oneOf(neighbours(modelOutside, src.Addr())), 53)
	slow := testpkt.Fragments(testpkt.UDP{Src: src, Dst: dst, Payload: pattern(1600), ID: 1}.Bytes(), 1280, 1)
	h.send(src.Addr(), slow[0])
	for range 65 + h.pick(20) {
		h.ipID++
		h.send(src.Addr(), testpkt.UDP{Src: src, Dst: dst, Payload: pattern(1600), ID: h.ipID}.Bytes())
	}
	h.send(src.Addr(), slow[1])
}

// payload is some bytes; a few sizes, all small ones but for some that need fragments.
func (h *modelHosts) payload() []byte {
	return pattern([]int{0, 1, 12, 333, 1300, 1340, 1360, 1460, 3000}[h.pick(9)])
}

func (h *modelHosts) ttl() uint8 { return []uint8{64, 64, 64, 64, 64, 64, 64, 2, 1}[h.pick(9)] }

// udp builds a datagram; from is what its host is.
func (h *modelHosts) udp(src, dst netip.AddrPort) {
	h.ipID++
	d := testpkt.UDP{Src: src, Dst: dst, Payload: h.payload(), TTL: h.ttl(), ID: h.ipID, DF: h.pick(2) == 0, NoChecksum: src.Addr().Is4() && h.pick(5) == 0}
	if len(d.Payload) > 0 && !d.NoChecksum && h.pick(4) == 0 {
		d.Payload = slices.Concat(d.Payload, d.Payload, d.Payload[:h.pick(len(d.Payload))])
		h.offer(src.Addr(), d.Bytes(), len(d.Payload)/2)
		return
	}
	if 48+len(d.Payload) > 1500 {
		d.DF = false
	}
	h.send(src.Addr(), d.Bytes())
}

// datagram is one from inside: to a server, to the router's port forward, or to a neighbour's outside endpoint.
func (h *modelHosts) datagram() {
	src := port(h.oneOf(modelInside), []uint16{80, 500, 5000, 5001, 5002, 7777}[h.pick(6)])
	dst := port(h.oneOf(neighbours(modelOutside, src.Addr())), []uint16{53, 123, 9000}[h.pick(3)])
	switch {
	case h.pick(8) == 0:
		dst = port(h.public.of(src.Addr()), modelForwarded)
	case h.pick(4) == 0 && len(h.endpoints) > 0:
		if e := h.endpoints[h.pick(len(h.endpoints))]; e.Addr().Is4() == src.Addr().Is4() {
			dst = e
		}
	}
	h.udp(src, dst)
}

// unasked is one from outside that may or may not be let in.
func (h *modelHosts) unasked() {
	src := port(h.oneOf(modelOutside), []uint16{53, 123, 9000, 9001}[h.pick(4)])
	dst := port(h.public.of(src.Addr()), []uint16{80, 500, 5000, 5001, 5002, 7777, modelForwarded, 60000}[h.pick(8)])
	if len(h.endpoints) > 0 && h.pick(2) == 0 {
		if e := h.endpoints[h.pick(len(h.endpoints))]; e.Addr().Is4() == src.Addr().Is4() {
			dst = e
		}
	}
	if h.pick(4) == 0 {
		h.send(src.Addr(), testpkt.TCP{Src: src, Dst: dst, Seq: 77, Flags: packet.FlagSYN, DF: true}.Bytes())
		return
	}
	h.udp(src, dst)
}

// deliver hands a packet to the host it is for.
func (h *modelHosts) deliver(side plain.Side, b []byte) {
	l := layout(b)
	if l.Fragment() {
		return
	}
	h.arrived = append(h.arrived, modelPacket{from: side, b: b})
	if len(h.arrived) > modelRemembered {
		h.arrived = h.arrived[1:]
	}
	src, dst := modelEnds(l, b)
	switch {
	case l.Proto == packet.ProtoICMP && b[l.L4] != 0 && b[l.L4] != 8, l.Proto == packet.ProtoICMPv6 && b[l.L4] < 128:
		h.errors++
	case l.Proto == packet.ProtoUDP && dst.Port() == 69 && len(b) > l.Payload+1 && (b[l.Payload+1] == 1 || b[l.Payload+1] == 2):
		h.requests = append(h.requests, [2]netip.AddrPort{src, dst})
	case l.Proto == packet.ProtoUDP && side == plain.Outside && dst.Port() != 69 && !slices.Contains(h.endpoints, src):
		h.endpoints = append(h.endpoints, src)
	case l.Proto == packet.ProtoGRE:
		h.data++
	case l.Proto == packet.ProtoTCP:
		h.heard(src, dst, b[l.L4:l.Len], l.Payload-l.L4)
	}
}

// modelEnds are the endpoints of a packet; the ports mean nothing where there are none.
func modelEnds(l testpkt.Layout, b []byte) (src, dst netip.AddrPort) {
	s, _ := netip.AddrFromSlice(l.Src)
	d, _ := netip.AddrFromSlice(l.Dst)
	if l.Fragment() {
		return port(s, 0), port(d, 0)
	}
	return port(s, binary.BigEndian.Uint16(b[l.L4:])), port(d, binary.BigEndian.Uint16(b[l.L4+2:]))
}

// answer sends something back to where a packet came from.
func (h *modelHosts) answer() {
	if len(h.arrived) == 0 {
		return
	}
	p := h.arrived[h.pick(len(h.arrived))]
	l := layout(p.b)
	src, dst := modelEnds(l, p.b)
	t := p.b[l.L4:]
	switch {
	case l.Proto == packet.ProtoUDP:
		h.udp(dst, src)
	case l.Proto == packet.ProtoICMP && t[0] == 8, l.Proto == packet.ProtoICMPv6 && t[0] == 128:
		h.ipID++
		h.send(dst.Addr(), testpkt.Echo{Src: dst.Addr(), Dst: src.Addr(), Reply: true, ID: binary.BigEndian.Uint16(t[4:]),
			Seq: binary.BigEndian.Uint16(t[6:]), Payload: t[8:], TTL: h.ttl(), IPID: h.ipID}.Bytes())
	}
}

// echo is a ping from inside.
func (h *modelHosts) echo() {
	src := h.oneOf(modelInside)
	h.ipID++
	h.send(src, testpkt.Echo{Src: src, Dst: h.oneOf(neighbours(modelOutside, src)), ID: uint16(1 + h.pick(3)), Seq: h.ipID,
		Payload: h.payload(), TTL: h.ttl(), IPID: h.ipID}.Bytes())
}

// complain sends an ICMP error about a packet that arrived, from its receiver or from a router on the way there.
func (h *modelHosts) complain() {
	if len(h.arrived) == 0 {
		return
	}
	p := h.arrived[h.pick(len(h.arrived))]
	l := layout(p.b)
	src, dst := modelEnds(l, p.b)
	from := dst.Addr()
	if slices.Contains(modelInside, src.Addr()) || src.Addr() == h.public.of(src.Addr()) && p.from == plain.Inside ||
		src.Addr() == lan4 || src.Addr() == lan6 {
		return // of the router itself, or between neighbours
	}
	t := p.b[l.L4:]
	if l.Proto == packet.ProtoICMP && t[0] != 8 || l.Proto == packet.ProtoICMPv6 && t[0] != 128 {
		return // no error about an error; and none about answers
	}
	if h.pick(3) == 0 && p.from == plain.Outside {
		from = map[bool]netip.Addr{true: addr("192.0.2.99"), false: addr("2001:db8:99::1")}[from.Is4()]
	}
	kind := [2]uint8{3, uint8(h.pick(4))}
	if from.Is6() {
		kind = [2]uint8{1, uint8(h.pick(5))}
	}
	h.ipID++
	e := testpkt.ICMP{Src: from, Dst: src.Addr(), Type: kind[0], Code: kind[1], Payload: p.b[:min(len(p.b), 1200)], IPID: h.ipID, DF: true}
	if len(p.b) > 1200 {
		return // the plain model wants the whole packet in the quote
	}
	h.flying = append(h.flying, modelPacket{from: p.from, b: e.Bytes()})
}
