package ppp

import (
	"encoding/binary"
	"errors"
)

// Protocols of PPP (assigned numbers; RFC 1661, section 2; RFC 1332, section 2).
const (
	protoIP   = 0x0021
	protoIPCP = 0x8021
	protoLCP  = 0xc021
)

// Codes of LCP and IPCP packets (RFC 1661, section 5).
const (
	configureRequest = 1 + iota
	configureAck
	configureNak
	configureReject
	terminateRequest
	terminateAck
	codeReject
	protocolReject
	echoRequest
	echoReply
	discardRequest
)

// Options. LCP: RFC 1661, section 6, and RFC 1662, section 7.1; IPCP: RFC 1332, section 3.3.
const (
	optionMRU     = 1
	optionMap     = 2
	optionMagic   = 5
	optionAddress = 3 // of IPCP
)

// ErrTruncated says that a packet or an option claims more octets than there are, or less than its header.
var ErrTruncated = errors.New("ppp: length beyond the octets that are there")

// Header sizes, bytes.
const (
	packetHeader = 4
	optionHeader = 2
)

// Packet is a packet of LCP or IPCP (RFC 1661, section 5).
type Packet struct {
	Code, ID uint8
	Data     []byte
}

// ParsePacket reads a packet; Data is of b. Octets behind its length are padding (RFC 1661, section 5).
func ParsePacket(b []byte) (Packet, error) {
	if len(b) < packetHeader {
		return Packet{}, ErrTruncated
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < packetHeader || n > len(b) {
		return Packet{}, ErrTruncated
	}
	return Packet{Code: b[0], ID: b[1], Data: b[packetHeader:n]}, nil
}

// Append appends the packet to b.
func (p Packet) Append(b []byte) []byte {
	b = append(b, p.Code, p.ID)
	b = binary.BigEndian.AppendUint16(b, uint16(packetHeader+len(p.Data)))
	return append(b, p.Data...)
}

// Option is one option of a Configure packet (RFC 1661, section 6).
type Option struct {
	Type  uint8
	Value []byte
}

// ParseOptions reads the options of a Configure packet; the values are of b.
func ParseOptions(b []byte) (options []Option, err error) {
	for len(b) > 0 {
		if len(b) < optionHeader || b[1] < optionHeader || int(b[1]) > len(b) {
			return nil, ErrTruncated
		}
		options = append(options, Option{Type: b[0], Value: b[optionHeader:b[1]]})
		b = b[b[1]:]
	}
	return options, nil
}

// appendOptions appends options to b; a value has at most 253 bytes.
func appendOptions(b []byte, options []Option) []byte {
	for _, o := range options {
		b = append(b, o.Type, uint8(optionHeader+len(o.Value)))
		b = append(b, o.Value...)
	}
	return b
}
