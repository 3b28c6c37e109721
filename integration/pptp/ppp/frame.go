package ppp

// Octets of a frame on an asynchronous line (RFC 1662, section 4.2).
const (
	flag       = 0x7e
	escape     = 0x7d
	complement = 0x20 // XORed into an escaped octet
)

// maxFrame bounds a frame: 1500 bytes, the default MRU (RFC 1661, section 6.1), its header and its FCS, and some more
// for peers that are generous.
const maxFrame = 2048

const (
	initialFCS = 0xffff
	goodFCS    = 0xf0b8 // of a frame with its FCS (RFC 1662, appendix C.2)
	fcsSize    = 2
)

// fcs goes on with a frame check sequence over b: the CCITT polynomial, least bit first (RFC 1662, appendix C).
func fcs(sum uint16, b []byte) uint16 {
	for _, octet := range b {
		sum ^= uint16(octet)
		for range 8 {
			low := sum & 1
			sum >>= 1
			if low != 0 {
				sum ^= 0x8408
			}
		}
	}
	return sum
}

// AppendFrame appends a frame as it goes over an asynchronous line, between flags and with its FCS. All control
// characters are escaped, as the default map wants (RFC 1662, section 7.1).
func AppendFrame(dst, frame []byte) []byte {
	sum := ^fcs(initialFCS, frame)
	dst = append(dst, flag)
	dst = appendEscaped(dst, frame)
	dst = appendEscaped(dst, []byte{byte(sum), byte(sum >> 8)}) // least octet first
	return append(dst, flag)
}

func appendEscaped(dst, b []byte) []byte {
	for _, octet := range b {
		if octet < 0x20 || octet == flag || octet == escape {
			dst = append(dst, escape, octet^complement)
		} else {
			dst = append(dst, octet)
		}
	}
	return dst
}

// Deframer finds frames in what comes from an asynchronous line. The zero value is ready, in the midst of a frame
// that it has not seen the beginning of.
type Deframer struct {
	frame   []byte // so far, not escaped
	escaped bool   // the next octet is
	started bool   // behind a flag
	spoilt  bool   // too long, or aborted: nothing counts up to the next flag
}

// Push takes the next octets of the line and gives each whole frame with a good FCS, without it, to f, which must not
// keep it. Other frames are dropped silently (RFC 1662, section 4.3).
func (d *Deframer) Push(b []byte, f func(frame []byte)) {
	for _, octet := range b {
		switch {
		case octet == flag:
			if n := len(d.frame); d.started && !d.spoilt && !d.escaped && n > fcsSize && fcs(initialFCS, d.frame) == goodFCS {
				f(d.frame[:n-fcsSize])
			}
			d.frame, d.escaped, d.started, d.spoilt = d.frame[:0], false, true, false
		case octet == escape && !d.escaped:
			d.escaped = true
		case len(d.frame) == maxFrame:
			d.spoilt = true
		default:
			if d.escaped {
				octet ^= complement
			}
			d.escaped = false
			d.frame = append(d.frame, octet)
		}
	}
}
