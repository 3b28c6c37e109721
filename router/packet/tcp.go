package packet

import "encoding/binary"

// TCP flags (RFC 9293, section 3.1), as in [TCP.Flags].
const (
	FlagFIN = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
	FlagURG
	FlagECE
	FlagCWR
)

// TCP is a TCP segment (RFC 9293, section 3.1) in place: setting writes through, and leaves the checksum to the
// caller. No method of a TCP that [ParseTCP] returned panics.
type TCP []byte

// ParseTCP checks that the header with its options is whole.
func ParseTCP(b []byte) (TCP, error) {
	if len(b) < TCPSize {
		return nil, ErrTruncated
	}
	switch hl := int(b[12]>>4) * 4; {
	case hl < TCPSize:
		return nil, ErrVersion
	case hl > len(b):
		return nil, ErrTruncated
	}
	return TCP(b), nil
}

// SrcPort returns the source port, host byte order.
func (t TCP) SrcPort() uint16 { return binary.BigEndian.Uint16(t) }

// DstPort returns the destination port, host byte order.
func (t TCP) DstPort() uint16 { return binary.BigEndian.Uint16(t[2:]) }

// Seq returns the sequence number.
func (t TCP) Seq() uint32 { return binary.BigEndian.Uint32(t[4:]) }

// Ack returns the acknowledgement number, meaningful with FlagACK.
func (t TCP) Ack() uint32 { return binary.BigEndian.Uint32(t[8:]) }

// HeaderLen returns the length of the header with options, bytes.
func (t TCP) HeaderLen() int { return int(t[12]>>4) * 4 }

// Flags returns the eight flags from FIN to CWR.
func (t TCP) Flags() uint8 { return t[13] }

// Window returns the window as it stands in the header, unscaled.
func (t TCP) Window() uint16 { return binary.BigEndian.Uint16(t[14:]) }

// Checksum returns the checksum field.
func (t TCP) Checksum() uint16 { return binary.BigEndian.Uint16(t[16:]) }

// SetSrcPort sets the source port, host byte order.
func (t TCP) SetSrcPort(port uint16) { binary.BigEndian.PutUint16(t, port) }

// SetDstPort sets the destination port, host byte order.
func (t TCP) SetDstPort(port uint16) { binary.BigEndian.PutUint16(t[2:], port) }

// SetSeq sets the sequence number.
func (t TCP) SetSeq(seq uint32) { binary.BigEndian.PutUint32(t[4:], seq) }

// SetAck sets the acknowledgement number.
func (t TCP) SetAck(ack uint32) { binary.BigEndian.PutUint32(t[8:], ack) }

// SetFlags sets the eight flags from FIN to CWR.
func (t TCP) SetFlags(flags uint8) { t[13] = flags }

// SetWindow sets the window, unscaled.
func (t TCP) SetWindow(w uint16) { binary.BigEndian.PutUint16(t[14:], w) }

// SetChecksum sets the checksum field.
func (t TCP) SetChecksum(c uint16) { binary.BigEndian.PutUint16(t[16:], c) }

// Options returns the options, empty where there are none.
func (t TCP) Options() []byte { return t[TCPSize:t.HeaderLen()] }

// Payload returns what follows the header.
func (t TCP) Payload() []byte { return t[t.HeaderLen():] }

// ValidTCPFlags reports whether a sane sender puts these flags together, PSH, ECE and CWR apart: S, SU, SA, R,
// RA, FA, FAU, A and AU are legal.
func ValidTCPFlags(flags uint8) bool {
	switch flags &^ (FlagPSH | FlagECE | FlagCWR) {
	case FlagSYN, FlagSYN | FlagURG, FlagSYN | FlagACK,
		FlagRST, FlagRST | FlagACK,
		FlagFIN | FlagACK, FlagFIN | FlagACK | FlagURG,
		FlagACK, FlagACK | FlagURG:
		return true
	}
	return false
}

// TCP option kinds (RFC 9293, section 3.2; RFC 7323; RFC 2018).
const (
	OptEnd           = 0
	OptNop           = 1
	OptMSS           = 2
	OptWScale        = 3
	OptSACKPermitted = 4
	OptSACK          = 5
	OptTimestamps    = 8
)

// EachOption calls f for each option but padding, with the bytes after kind and length, in place: f may change
// them. It ends when f returns false. It reports whether the options were well formed as far as it went; f must
// not keep data.
func (t TCP) EachOption(f func(kind uint8, data []byte) bool) bool {
	for opts := t.Options(); len(opts) > 0; {
		kind, data, rest, ok := NextTCPOption(opts)
		if !ok {
			return false
		}
		if kind == OptEnd || kind != OptNop && !f(kind, data) {
			return true
		}
		opts = rest
	}
	return true
}

// NextTCPOption splits the first option off opts, which is not empty: its kind, the bytes after kind and length
// (none for end and no-operation), and what follows. ok is false for a length that is impossible.
func NextTCPOption(opts []byte) (kind uint8, data, rest []byte, ok bool) {
	kind = opts[0]
	if kind == OptEnd || kind == OptNop {
		return kind, nil, opts[1:], true
	}
	if len(opts) < 2 {
		return kind, nil, nil, false
	}
	n := int(opts[1])
	if n < 2 || n > len(opts) {
		return kind, nil, nil, false
	}
	return kind, opts[2:n:n], opts[n:], true
}

// SACKBlock is one block of a selective acknowledgement: sequence numbers Left to Right-1.
type SACKBlock struct{ Left, Right uint32 }

// TCPOptions is what a router asks of a segment's options. Zero: none of them.
type TCPOptions struct {
	MSS           uint16 // bytes; 0: absent
	WScale        uint8  // shift count as sent: RFC 7323, section 2.3 has readers take more than 14 for 14
	HasWScale     bool
	SACKPermitted bool
	Timestamps    bool
	TSVal, TSEcr  uint32
	Blocks        uint8        // how many of SACK are set
	SACK          [4]SACKBlock // as many as 40 bytes of options can hold
}

// ParseOptions reads the options; the last of a kind counts. ok is false if they are malformed: an impossible
// length, or a known option of the wrong length. What stood before that is in o.
func (t TCP) ParseOptions() (o TCPOptions, ok bool) {
	for opts := t.Options(); len(opts) > 0; {
		kind, data, rest, ok := NextTCPOption(opts)
		if !ok || !o.set(kind, data) {
			return o, false
		}
		if kind == OptEnd {
			break
		}
		opts = rest
	}
	return o, true
}

// set takes one option over; false if its length is wrong.
func (o *TCPOptions) set(kind uint8, data []byte) bool {
	switch kind {
	case OptMSS:
		if len(data) != 2 {
			return false
		}
		o.MSS = binary.BigEndian.Uint16(data)
	case OptWScale:
		if len(data) != 1 {
			return false
		}
		o.WScale, o.HasWScale = data[0], true
	case OptSACKPermitted:
		if len(data) != 0 {
			return false
		}
		o.SACKPermitted = true
	case OptSACK:
		if len(data)%8 != 0 || len(data) == 0 {
			return false
		}
		o.Blocks = uint8(len(data) / 8)
		for i := range o.Blocks {
			o.SACK[i] = SACKBlock{binary.BigEndian.Uint32(data[8*i:]), binary.BigEndian.Uint32(data[8*i+4:])}
		}
	case OptTimestamps:
		if len(data) != 8 {
			return false
		}
		o.TSVal, o.TSEcr, o.Timestamps = binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:]), true
	}
	return true
}
