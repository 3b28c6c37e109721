package nat

import (
	"encoding/binary"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// TCP options (RFC 9293, section 3.1).
const (
	optEnd = 0
	optNop = 1
	optMSS = 2
)

// ClampMSS lowers the maximum segment size option of a SYN or SYN-ACK to mss, bytes, and updates the checksum. It
// never raises the option, and where there is none it adds none. Other segments are left alone. changed is what that
// changes in a complete checksum, for [UnclampQuote]; 0: nothing.
func ClampMSS(b []byte, h *packet.Headers, m *packet.Meta, mss uint16) (changed packet.Delta) {
	if h.Proto != packet.ProtoTCP || h.FragOff != 0 || int(h.L4)+packet.TCPSize > len(b) || int(h.Payload) > len(b) {
		return 0
	}
	l4 := b[h.L4:h.Payload]
	if len(l4) < packet.TCPSize || l4[13]&packet.FlagSYN == 0 {
		return 0
	}
	off := findMSS(l4)
	if off == 0 {
		return 0
	}
	old := binary.BigEndian.Uint16(l4[off:])
	if old <= mss {
		return 0
	}
	binary.BigEndian.PutUint16(l4[off:], mss)
	changed = atOffset(packet.Change16(old, mss), off)
	if !m.Partial() { // else it covers the pseudo-header only
		apply(l4[16:], changed)
	}
	return changed
}

// findMSS returns where the value of the first MSS option stands in a TCP header, which may be cut; 0: nowhere whole.
func findMSS(l4 []byte) (off int) {
	for i := packet.TCPSize; i < len(l4); {
		switch {
		case l4[i] == optEnd:
			return 0
		case l4[i] == optNop:
			i++
			continue
		case i+1 >= len(l4) || l4[i+1] < 2 || i+int(l4[i+1]) > len(l4):
			return 0
		}
		size := int(l4[i+1])
		if l4[i] == optMSS && size == 4 {
			return i + 2
		}
		i += size
	}
	return 0
}

// atOffset turns what a word changes in a sum by its value into what it changes where it stands, and back: at an odd
// offset its bytes are halves of two words (RFC 1071, section 2(B)).
func atOffset(d packet.Delta, off int) packet.Delta {
	if off&1 != 0 {
		return d<<8 | d>>8
	}
	return d
}

// UnclampQuote gives the SYN quoted in an ICMP error the maximum segment size that its sender wrote, where [ClampMSS]
// lowered it, and the checksum that went with it, each as far as the quote has it (RFC 5508, REQ-4 and REQ-5).
// c is the error's connection.
func UnclampQuote(b []byte, h *packet.Headers, m *packet.Meta, c *conntrack.Conn) {
	if c.ErrorClamp == 0 || h.FragOff != 0 {
		return
	}
	q, ok := parseQuote(b, int(c.ErrorL3), int(h.Len))
	if !ok || q.proto != packet.ProtoTCP || !q.has(16, 2) {
		return
	}
	l4 := b[q.l4:q.end]
	if l4[13]&packet.FlagSYN == 0 {
		return
	}
	undo := ^c.ErrorClamp // the opposite in ones' complement
	var body packet.Delta
	header := max(int(l4[12]>>4)*4, packet.TCPSize)
	off := findMSS(l4[:min(header, len(l4))])
	switch {
	case off != 0:
		sent := uint32(binary.BigEndian.Uint16(l4[off:])) + uint32(atOffset(undo, off))
		if sent > 0xffff {
			return // another SYN
		}
		body = atOffset(put16(l4[off:], uint16(sent)), off)
	case len(l4) >= header:
		return // the same
	}
	body = body.Add(apply(l4[16:], undo))
	if !m.Partial() {
		apply(b[h.L4+2:], body)
	}
}
