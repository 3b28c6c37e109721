package router

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// modelPNS is the end of PPTP that dials, and modelPAC the one that answers; both may call. Their call IDs are few, so that
// hosts behind the router choose equal ones.
type modelPNS struct {
	peer    netip.Addr
	began   bool
	calls   []modelCall
	serial  uint16
	offered []uint16 // calls of the other end that wait to be accepted: its IDs
}

type modelPAC struct {
	peer   netip.Addr
	calls  []modelCall
	serial uint16
	rung   []uint16 // own IDs of calls that it has asked for
}

// modelCall is a call that an end takes for up: its own ID, and the other's.
type modelCall struct{ own, other uint16 }

// modelMessage takes a message off what was heard.
func modelMessage(s *modelSpeaker) (kind int, b []byte) {
	if len(s.ear) < 12 || len(s.ear) < int(binary.BigEndian.Uint16(s.ear)) {
		return 0, nil
	}
	b = s.ear[:binary.BigEndian.Uint16(s.ear)]
	return int(binary.BigEndian.Uint16(b[8:])), b
}

func word16(b []byte, at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }

// modelPPTP is a message of any size, with call IDs at 12 and 14 and the result 1 at 16.
func modelPPTP(kind, size int, first, second uint16) string {
	b := []byte(pptpMessage(kind, max(size, 17), first, second))[:size]
	binary.BigEndian.PutUint16(b, uint16(size))
	return string(b)
}

// pptpResult is modelPPTP with another result.
func pptpResult(kind, size int, first, second uint16, result byte) string {
	b := []byte(modelPPTP(kind, size, first, second))
	b[16] = result
	return string(b)
}

// pptpStart is a reply to the request to start a session.
func pptpStart(result byte) string {
	b := []byte(modelPPTP(2, 156, 0x100, 0))
	b[14] = result
	return string(b)
}

func (c *modelPNS) hear(_ *modelHosts, s *modelSpeaker) int {
	kind, b := modelMessage(s)
	switch {
	case kind == 8 && b[16] == 1:
		c.calls = append(c.calls, modelCall{word16(b, 14), word16(b, 12)})
	case kind == 9:
		c.offered = append(c.offered, word16(b, 12))
	case kind == 13:
		c.calls = slices.DeleteFunc(c.calls, func(l modelCall) bool { return l.other == word16(b, 12) })
	}
	return len(b)
}

func (c *modelPNS) speak(h *modelHosts, s *modelSpeaker) {
	if !c.began {
		if c.began = true; h.pick(10) > 0 {
			s.say(modelPPTP(1, 156, 0x100, 0))
			return
		}
	}
	id := uint16(1 + h.pick(3))
	if len(c.calls) > 0 && h.pick(3) > 0 {
		h.tunnel(s.local.Addr(), c.peer, c.calls[h.pick(len(c.calls))].other)
		return
	}
	switch h.pick(10) {
	case 0:
		s.say(modelPPTP(5, 16, 1, 1))
	case 1:
		s.say(modelPPTP(12, 16, id, 0))
	case 2:
		if len(c.calls) > 0 {
			s.say(modelPPTP(15, 24, c.calls[0].other, 0))
		}
	case 3:
		if n := len(c.offered); n > 0 {
			s.say(pptpResult(10, 24, id+10, c.offered[n-1], byte(1+h.pick(2))))
			c.calls = append(c.calls, modelCall{id + 10, c.offered[n-1]})
		}
	case 4:
		s.say([]string{modelPPTP(3, 16, 0x100, 0), modelPPTP(77, 60, 1, 1), modelPPTP(7, 200, id, c.serial)}[h.pick(3)])
	default:
		c.serial++
		s.say(modelPPTP(7, 168, id, c.serial))
	}
}

func (c *modelPAC) hear(h *modelHosts, s *modelSpeaker) int {
	kind, b := modelMessage(s)
	own := uint16(1 + h.pick(4))
	switch {
	case kind == 1:
		s.say(pptpStart(map[bool]byte{true: 1, false: 2}[h.pick(12) > 0]))
	case kind == 3:
		s.say(modelPPTP(4, 16, 0x100, 0))
	case kind == 5:
		s.say(modelPPTP(6, 20, 1, 1))
	case kind == 7 && h.pick(12) == 0:
		s.say(pptpResult(8, 32, 0, word16(b, 12), 4))
	case kind == 7 && h.pick(10) == 0: // disconnected before it was answered, by an ID that nobody has heard of
		s.say(modelPPTP(13, 148, 99, 0x0400))
	case kind == 7:
		s.say(pptpResult(8, 32, own, word16(b, 12), 1))
		c.calls = append(c.calls, modelCall{own, word16(b, 12)})
	case kind == 10 && b[16] == 1:
		s.say(modelPPTP(11, 28, word16(b, 12), 0))
		c.calls = append(c.calls, modelCall{word16(b, 14), word16(b, 12)})
	case kind == 12:
		i := slices.IndexFunc(c.calls, func(l modelCall) bool { return l.other == word16(b, 12) })
		if i >= 0 && h.pick(6) > 0 {
			s.say(modelPPTP(13, 148, c.calls[i].own, 0x0400))
			c.calls = slices.Delete(c.calls, i, i+1)
		}
	}
	return len(b)
}

func (c *modelPAC) speak(h *modelHosts, s *modelSpeaker) {
	if len(c.calls) > 0 && h.pick(3) > 0 {
		h.tunnel(s.local.Addr(), s.remote.Addr(), c.calls[h.pick(len(c.calls))].other)
		return
	}
	switch h.pick(8) {
	case 0:
		c.serial++
		c.rung = append(c.rung, uint16(20+h.pick(3)))
		s.say(modelPPTP(9, 220, c.rung[len(c.rung)-1], c.serial))
	case 1:
		if len(c.calls) > 0 {
			s.say(modelPPTP(14, 40, c.calls[0].other, 0))
		}
	case 2:
		if n := len(c.calls); n > 0 {
			s.say(modelPPTP(13, 148, c.calls[n-1].own, 0x0400))
			c.calls = c.calls[:n-1]
		}
	case 3:
		s.say(modelPPTP(5, 16, 1, 1))
	}
}

// tunnel sends data of a call.
func (h *modelHosts) tunnel(from, to netip.Addr, id uint16) {
	h.ipID++
	g := testpkt.GREv1{Src: from, Dst: to, CallID: id, HasSeq: true, Seq: uint32(h.ipID), Payload: pattern(1 + h.pick(600)), TTL: h.ttl()}
	h.send(from, g.Bytes())
}
