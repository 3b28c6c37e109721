package packet

import (
	"encoding/binary"
	"errors"
)

// ErrNotPPTP says that a GRE packet is not enhanced GRE, so it has no call ID.
var ErrNotPPTP = errors.New("not enhanced GRE")

// Bits of the first two bytes of a GRE header (RFC 2784, 2890; RFC 1701 for routing; RFC 2637, section 4.1).
const (
	greChecksum = 0x80 // first byte
	greRouting  = 0x40
	greKey      = 0x20
	greSequence = 0x10
	greAck      = 0x80 // second byte, version 1 only
	greVersion  = 0x07
)

// greProtoPPP is the protocol of enhanced GRE (RFC 2637, section 4.1).
const greProtoPPP = 0x880b

// GRE is a GRE packet of any version (RFC 2784, RFC 2890) in place. No method of a GRE that [ParseGRE] returned
// panics.
type GRE []byte

// ParseGRE checks that the header, as long as its flags say, is whole. Source routes (RFC 1701) count as payload.
func ParseGRE(b []byte) (GRE, error) {
	if len(b) < GRESize || len(b) < GRE(b).HeaderLen() {
		return nil, ErrTruncated
	}
	return GRE(b), nil
}

// HeaderLen returns the length of the header with the optional fields, bytes.
func (g GRE) HeaderLen() int {
	n := GRESize + g.checksumLen()
	if g[0]&greKey != 0 {
		n += 4
	}
	if g[0]&greSequence != 0 {
		n += 4
	}
	if g.Version() == 1 && g[1]&greAck != 0 {
		n += 4
	}
	return n
}

// checksumLen returns the length of the checksum and offset fields: there for a checksum or a source route.
func (g GRE) checksumLen() int {
	if g[0]&(greChecksum|greRouting) != 0 {
		return 4
	}
	return 0
}

// Version returns the version: 0, or 1 for enhanced GRE.
func (g GRE) Version() uint8 { return g[1] & greVersion }

// Protocol returns the EtherType of the payload.
func (g GRE) Protocol() uint16 { return binary.BigEndian.Uint16(g[2:]) }

// HasChecksum reports whether there is a checksum; it covers no pseudo-header, so NAT leaves it right.
func (g GRE) HasChecksum() bool { return g[0]&greChecksum != 0 }

// Key returns the key (RFC 2890, section 2.1), if the header has one; in enhanced GRE its low half is the call ID.
func (g GRE) Key() (key uint32, ok bool) {
	if g[0]&greKey == 0 {
		return 0, false
	}
	return binary.BigEndian.Uint32(g[GRESize+g.checksumLen():]), true
}

// GREv1 is an enhanced GRE packet (RFC 2637, section 4.1) in place: setting writes through. It has no checksum. No
// method of a GREv1 that [ParseGREv1] returned panics.
type GREv1 []byte

// ParseGREv1 returns ErrTruncated if the header is not whole, and ErrNotPPTP for plain GRE and for what breaks RFC
// 2637's "C=0, R=0, K=1", where no call ID stands at its place.
func ParseGREv1(b []byte) (GREv1, error) {
	if len(b) < GRESize {
		return nil, ErrTruncated
	}
	g := GRE(b)
	if g.Version() != 1 || g.Protocol() != greProtoPPP || b[0]&(greChecksum|greRouting|greKey) != greKey {
		return nil, ErrNotPPTP
	}
	if len(b) < g.HeaderLen() {
		return nil, ErrTruncated
	}
	return GREv1(b), nil
}

// HeaderLen returns the length of the header with sequence and acknowledgement numbers, bytes.
func (g GREv1) HeaderLen() int { return GRE(g).HeaderLen() }

// PayloadLen returns the length of the payload that the header tells, bytes.
func (g GREv1) PayloadLen() int { return int(binary.BigEndian.Uint16(g[4:])) }

// CallID returns the receiver's call ID, in host byte order.
func (g GREv1) CallID() uint16 { return binary.BigEndian.Uint16(g[6:]) }

// SetCallID sets the receiver's call ID.
func (g GREv1) SetCallID(id uint16) { binary.BigEndian.PutUint16(g[6:], id) }

// Seq returns the sequence number, if the packet carries one.
func (g GREv1) Seq() (seq uint32, ok bool) {
	if g[0]&greSequence == 0 {
		return 0, false
	}
	return binary.BigEndian.Uint32(g[GREv1Size:]), true
}

// Ack returns the acknowledgement number, if the packet carries one.
func (g GREv1) Ack() (ack uint32, ok bool) {
	if g[1]&greAck == 0 {
		return 0, false
	}
	return binary.BigEndian.Uint32(g[g.HeaderLen()-4:]), true
}

// Payload returns what follows the header.
func (g GREv1) Payload() []byte { return g[g.HeaderLen():] }
