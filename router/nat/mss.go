package nat

import (
	"encoding/binary"

	"github.com/natrouter/natrouter/router/packet"
)

// TCP options (RFC 9293, section 3.1).
const (
	optEnd = 0
	optNop = 1
	optMSS = 2
)

// ClampMSS lowers the maximum segment size option of a SYN or SYN-ACK to mss, bytes, and updates the checksum. It
// never raises the option, and where there is none it adds none. Other segments are left alone.
func ClampMSS(b []byte, h *packet.Headers, m *packet.Meta, mss uint16) {
	if h.Proto != packet.ProtoTCP || h.FragOff != 0 || int(h.L4)+packet.TCPSize > len(b) || int(h.Payload) > len(b) {
		return
	}
	l4 := b[h.L4:h.Payload]
	if len(l4) < packet.TCPSize || l4[13]&packet.FlagSYN == 0 {
		return
	}
	for i := packet.TCPSize; i < len(l4); {
		switch {
		case l4[i] == optEnd:
			return
		case l4[i] == optNop:
			i++
			continue
		case i+1 >= len(l4) || l4[i+1] < 2 || i+int(l4[i+1]) > len(l4):
			return
		}
		size := int(l4[i+1])
		if l4[i] == optMSS && size == 4 {
			lowerMSS(l4, i+2, m, mss)
			return
		}
		i += size
	}
}

// lowerMSS writes the two bytes at off, which may be odd: then they are halves of two words.
func lowerMSS(l4 []byte, off int, m *packet.Meta, mss uint16) {
	old := binary.BigEndian.Uint16(l4[off:])
	if old <= mss {
		return
	}
	binary.BigEndian.PutUint16(l4[off:], mss)
	if m.Partial() { // covers the pseudo-header only
		return
	}
	d := packet.Change16(old, mss)
	if off&1 != 0 {
		d = d<<8 | d>>8 // RFC 1071, section 2(B)
	}
	binary.BigEndian.PutUint16(l4[16:], d.Apply(binary.BigEndian.Uint16(l4[16:])))
}
