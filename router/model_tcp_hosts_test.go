package router

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// modelTalk is a TCP connection between two hosts of the model. Each keeps to RFC 9293 with a window that never closes.
type modelTalk struct {
	ends [2]modelSocket // the one that began, and the other
	old  bool           // so quiet once that the router may have forgotten it, and joined it in the middle
}

// modelSocket is one end.
type modelSocket struct {
	local, remote                 netip.AddrPort // remote is not valid before the first segment arrived
	una, nxt, got                 uint32         // unacknowledged, next to send, next to receive
	sent                          []testpkt.TCP  // not acknowledged
	heardSYN, fin, heardFIN, dead bool
}

const (
	modelWindow = 16 << 10 // bytes under way at once
)

// talk lets a TCP connection begin or go on.
func (h *modelHosts) talk() {
	if len(h.talks) < modelTalks && h.pick(4) == 0 || len(h.talks) == 0 {
		h.call()
		return
	}
	i := h.pick(len(h.talks))
	t := h.talks[i]
	h.turn(t, &t.ends[h.pick(2)])
	a, b := &t.ends[0], &t.ends[1]
	if a.dead || b.dead || a.finished() && b.finished() {
		h.talks = slices.Delete(h.talks, i, i+1)
		h.closed++
	}
}

// grow is for when minutes have passed.
func (h *modelHosts) grow() {
	for _, t := range h.talks {
		t.old = true
	}
	// A segment that belongs to no window must not be the first that the router sees of a connection.
	h.flying = slices.DeleteFunc(h.flying, func(p modelPacket) bool { return layout(p.b).Proto == packet.ProtoTCP })
}

func (s *modelSocket) finished() bool { return s.fin && s.heardFIN && s.una == s.nxt }

// call begins a connection: from inside to a server or to the port forward, or from outside to the port forward.
func (h *modelHosts) call() {
	h.nextPort++
	if h.pick(3) == 0 {
		h.nextPort -= uint16(h.pick(3)) // a port that was used before
	}
	from := h.oneOf(slices.Concat(modelInside, modelOutside))
	local := port(from, h.nextPort)
	remote := port(h.public.of(from), modelForwarded)
	listening := port(neighbours(modelInside, from)[0], 80)
	if slices.Contains(modelInside, from) && h.pick(4) > 0 {
		remote = port(h.oneOf(neighbours(modelOutside, from)), 443)
		listening = remote
	}
	h.connect(local, remote, listening)
}

// connect begins one; where listening is not valid, whoever gets the SYN answers.
func (h *modelHosts) connect(local, remote, listening netip.AddrPort) {
	if slices.ContainsFunc(h.talks, func(t *modelTalk) bool { return t.ends[0].local == local }) {
		return
	}
	// Nothing of an earlier connection of these ports is still under way: RFC 9293, section 3.4.3, the quiet time.
	h.flying = slices.DeleteFunc(h.flying, func(p modelPacket) bool {
		l := layout(p.b)
		src, dst := modelEnds(l, p.b)
		return l.Proto == packet.ProtoTCP && (l.Fragment() || src.Port() == local.Port() || dst.Port() == local.Port())
	})
	iss := uint32(h.pick(1<<8)) << 20 // farther from each other than any window
	if !listening.IsValid() {
		h.nextChild++
		iss += h.nextChild * 4099 // whoever gets the SYN must know whose it is
	}
	t := &modelTalk{ends: [2]modelSocket{{local: local, remote: remote, una: iss, nxt: iss}, {local: listening}}}
	t.ends[1].una = iss + 11<<20
	t.ends[1].nxt = t.ends[1].una
	h.talks = append(h.talks, t)
	h.segment(&t.ends[0], packet.FlagSYN, nil)
}

// turn lets one end do something that it may.
func (h *modelHosts) turn(t *modelTalk, s *modelSocket) {
	switch {
	case s.dead || !s.remote.IsValid():
	case len(s.sent) > 0 && h.pick(3) == 0:
		h.again(s, s.sent[h.pick(len(s.sent))])
	case !s.heardSYN || len(s.sent) > 0 && s.sent[0].Flags&packet.FlagSYN != 0: // waits for the answer to its SYN
	case h.pick(20) == 0 && s.una == s.nxt:
		h.segment(s, packet.FlagRST|packet.FlagACK, nil)
		s.dead = true
	case !t.old && h.pick(12) == 0:
		h.stray(s)
	case s.fin || s.nxt-s.una > modelWindow || h.pick(3) == 0:
		h.segment(s, packet.FlagACK, nil)
	case h.pick(6) == 0:
		h.segment(s, packet.FlagACK|packet.FlagFIN, nil)
		s.fin = true
	default:
		h.segment(s, packet.FlagACK|packet.FlagPSH, pattern(1+h.pick([]int{1300, 6000}[h.pick(2)])))
	}
}

// modelMSS is the option of a host's SYNs: always the same, so that an older one's quote is not taken for the last's.
func modelMSS(host netip.Addr) []byte {
	odd := host.AsSlice()[len(host.AsSlice())-1]&1 != 0
	return mssOf(map[bool]uint16{false: 1460, true: 1452}[odd], odd)
}

// segment sends a new segment.
func (h *modelHosts) segment(s *modelSocket, flags uint8, payload []byte) {
	g := testpkt.TCP{Src: s.local, Dst: s.remote, Seq: s.nxt, Flags: flags, Payload: payload, DF: true}
	if flags&packet.FlagSYN != 0 {
		g.Options = modelMSS(s.local.Addr())
	}
	s.nxt += uint32(len(payload)) + uint32(flags>>1&1) + uint32(flags&1)
	if s.nxt != g.Seq {
		s.sent = append(s.sent, g)
	}
	h.again(s, g)
}

// again puts a segment on its way, with what is acknowledged by now.
func (h *modelHosts) again(s *modelSocket, g testpkt.TCP) {
	if g.Flags&packet.FlagACK != 0 {
		g.Ack = s.got
	}
	h.ipID++
	g.ID = h.ipID
	h.offer(s.local.Addr(), g.Bytes(), []int{536, 1300, 1300, 1400}[h.pick(4)])
}

// stray sends a segment that belongs to no window of the connection.
func (h *modelHosts) stray(s *modelSocket) {
	flags := []uint8{packet.FlagACK, packet.FlagRST | packet.FlagACK, packet.FlagFIN | packet.FlagACK}[h.pick(3)]
	h.send(s.local.Addr(), testpkt.TCP{Src: s.local, Dst: s.remote, Seq: s.nxt + 1<<30, Ack: s.got, Flags: flags, Payload: pattern(9)}.Bytes())
}

// astray is a segment of a connection that nobody knows, from outside. No two of its numbers are half of all numbers apart:
// which of such is the later one is undefined (RFC 1982, section 3.2).
func (h *modelHosts) astray() {
	src := port(h.oneOf(modelOutside), 443)
	number := func() uint32 { return uint32(1+h.pick(3)) * (1<<30 - 77) }
	h.send(src.Addr(), testpkt.TCP{Src: src, Dst: port(h.public.of(src.Addr()), 20000+uint16(h.pick(40))), Seq: number(), Ack: number(),
		Flags: []uint8{packet.FlagACK, packet.FlagSYN | packet.FlagACK, packet.FlagRST}[h.pick(3)]}.Bytes())
}

// heard is a segment that arrived at its host.
func (h *modelHosts) heard(src, dst netip.AddrPort, t []byte, header int) {
	if h.listened(src, dst, t, header) {
		return
	}
	for _, talk := range h.talks {
		for i := range talk.ends {
			s := &talk.ends[i]
			if s.local.IsValid() && s.local != dst || s.dead || s.remote.IsValid() && s.remote != src {
				continue
			}
			if i == 1 && !s.remote.IsValid() && (t[13]&(packet.FlagSYN|packet.FlagACK) != packet.FlagSYN || binary.BigEndian.Uint32(t[4:]) != talk.ends[0].una) {
				continue // the SYN of another talk
			}
			if !s.local.IsValid() {
				s.local = dst
				h.children++
			}
			h.take(s, src, i == 1, binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:]), t[13], t[header:])
			return
		}
	}
}

// take is what a host does with a segment.
func (h *modelHosts) take(s *modelSocket, src netip.AddrPort, listening bool, seq, ack uint32, flags uint8, data []byte) {
	if flags&packet.FlagACK != 0 && int32(ack-s.una) > 0 && int32(ack-s.nxt) <= 0 {
		s.una = ack
		s.sent = slices.DeleteFunc(s.sent, func(g testpkt.TCP) bool {
			end := g.Seq + uint32(len(g.Payload)) + uint32(g.Flags>>1&1) + uint32(g.Flags&1)
			return int32(end-ack) <= 0
		})
	}
	switch {
	case flags&packet.FlagRST != 0:
		s.dead = s.dead || seq == s.got
	case flags&packet.FlagSYN != 0 && !s.heardSYN:
		s.heardSYN, s.got, s.remote = true, seq+1, src
		if listening {
			h.segment(s, packet.FlagSYN|packet.FlagACK, nil)
		}
	case flags&packet.FlagSYN == 0 && s.heardSYN && seq == s.got:
		s.got += uint32(len(data)) + uint32(flags&1)
		s.heardFIN = s.heardFIN || flags&packet.FlagFIN != 0
	}
}
