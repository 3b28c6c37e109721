package testpkt

import (
	"encoding/binary"
	"net/netip"
)

// TCP is a TCP segment. Zero TTL: 64; zero Win: 64240. Options are padded to four bytes with end-of-options.
type TCP struct {
	Src, Dst         netip.AddrPort
	Seq, Ack         uint32
	Flags            uint8
	Win              uint16
	Urgent           uint16
	Options, Payload []byte
	TTL, TOS         uint8
	ID               uint16 // IPv4
	DF               bool   // IPv4
	IPOptions        []byte // IPv4
	Ext              []Ext  // IPv6
}

// Bytes returns the packet.
func (p TCP) Bytes() []byte {
	opts := append([]byte(nil), p.Options...)
	for len(opts)%4 != 0 {
		opts = append(opts, 0)
	}
	if p.Win == 0 {
		p.Win = 64240
	}
	b := ports(p.Src, p.Dst)
	b = binary.BigEndian.AppendUint32(b, p.Seq)
	b = binary.BigEndian.AppendUint32(b, p.Ack)
	b = append(b, byte((20+len(opts))/4)<<4, p.Flags)
	b = binary.BigEndian.AppendUint16(b, p.Win)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, p.Urgent)
	b = append(append(b, opts...), p.Payload...)
	src, dst := p.Src.Addr(), p.Dst.Addr()
	put(b, 16, false, pseudo(src.AsSlice(), dst.AsSlice(), 6, len(b)), b)
	return ip{src, dst, 6, p.TTL, p.TOS, p.ID, p.DF, p.IPOptions, p.Ext}.bytes(b)
}

// UDP is a UDP datagram. Zero TTL: 64.
type UDP struct {
	Src, Dst   netip.AddrPort
	Payload    []byte
	NoChecksum bool // checksum 0
	TTL, TOS   uint8
	ID         uint16 // IPv4
	DF         bool   // IPv4
	IPOptions  []byte // IPv4
	Ext        []Ext  // IPv6
}

// Bytes returns the packet.
func (p UDP) Bytes() []byte {
	b := ports(p.Src, p.Dst)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(p.Payload)))
	b = append(append(b, 0, 0), p.Payload...)
	src, dst := p.Src.Addr(), p.Dst.Addr()
	if !p.NoChecksum {
		put(b, 6, true, pseudo(src.AsSlice(), dst.AsSlice(), 17, len(b)), b)
	}
	return ip{src, dst, 17, p.TTL, p.TOS, p.ID, p.DF, p.IPOptions, p.Ext}.bytes(b)
}

// UDPLite is a UDP-Lite datagram (RFC 3828). Coverage 0: all.
type UDPLite struct {
	Src, Dst netip.AddrPort
	Coverage uint16
	Payload  []byte
	TTL      uint8
}

// Bytes returns the packet.
func (p UDPLite) Bytes() []byte {
	b := ports(p.Src, p.Dst)
	b = binary.BigEndian.AppendUint16(b, p.Coverage)
	b = append(append(b, 0, 0), p.Payload...)
	n := int(p.Coverage)
	if n == 0 {
		n = len(b)
	}
	src, dst := p.Src.Addr(), p.Dst.Addr()
	put(b, 6, true, pseudo(src.AsSlice(), dst.AsSlice(), 136, len(b)), b[:n])
	return ip{src: src, dst: dst, proto: 136, ttl: p.TTL}.bytes(b)
}

// Echo is an ICMP or ICMPv6 echo request or reply, by the addresses' family.
type Echo struct {
	Src, Dst netip.Addr
	Reply    bool
	ID, Seq  uint16
	Payload  []byte
	TTL      uint8
	IPID     uint16 // IPv4
	DF       bool   // IPv4
	Ext      []Ext  // IPv6
}

// Bytes returns the packet.
func (p Echo) Bytes() []byte {
	typ := uint8(8)
	switch {
	case p.Src.Is6() && p.Reply:
		typ = 129
	case p.Src.Is6():
		typ = 128
	case p.Reply:
		typ = 0
	}
	rest := uint32(p.ID)<<16 | uint32(p.Seq)
	return ICMP{Src: p.Src, Dst: p.Dst, Type: typ, Rest: rest, Payload: p.Payload, TTL: p.TTL, IPID: p.IPID, DF: p.DF, Ext: p.Ext}.Bytes()
}

// ICMP is any ICMP or ICMPv6 message, by the addresses' family; of an error, Payload is the quoted packet.
type ICMP struct {
	Src, Dst   netip.Addr
	Type, Code uint8
	Rest       uint32 // bytes 4 to 7
	Payload    []byte
	TTL        uint8
	IPID       uint16 // IPv4
	DF         bool   // IPv4
	IPOptions  []byte // IPv4
	Ext        []Ext  // IPv6
}

// Bytes returns the packet.
func (p ICMP) Bytes() []byte {
	b := binary.BigEndian.AppendUint32([]byte{p.Type, p.Code, 0, 0}, p.Rest)
	b = append(b, p.Payload...)
	proto := uint8(1)
	if p.Src.Is4() {
		put(b, 2, false, b)
	} else {
		proto = 58
		put(b, 2, false, pseudo(p.Src.AsSlice(), p.Dst.AsSlice(), 58, len(b)), b)
	}
	return ip{p.Src, p.Dst, proto, p.TTL, 0, p.IPID, p.DF, p.IPOptions, p.Ext}.bytes(b)
}

// GREv0 is a GRE packet of version 0 (RFC 2784, RFC 2890).
type GREv0 struct {
	Src, Dst                    netip.Addr
	HasChecksum, HasKey, HasSeq bool
	Protocol                    uint16 // 0: 0x0800
	Key, Seq                    uint32
	Payload                     []byte
	TTL                         uint8
}

// Bytes returns the packet.
func (p GREv0) Bytes() []byte {
	if p.Protocol == 0 {
		p.Protocol = 0x0800
	}
	b := binary.BigEndian.AppendUint16([]byte{0, 0}, p.Protocol)
	if p.HasChecksum {
		b[0] |= 0x80
		b = append(b, 0, 0, 0, 0)
	}
	if p.HasKey {
		b[0] |= 0x20
		b = binary.BigEndian.AppendUint32(b, p.Key)
	}
	if p.HasSeq {
		b[0] |= 0x10
		b = binary.BigEndian.AppendUint32(b, p.Seq)
	}
	b = append(b, p.Payload...)
	if p.HasChecksum {
		put(b, 4, false, b)
	}
	return ip{src: p.Src, dst: p.Dst, proto: 47, ttl: p.TTL}.bytes(b)
}

// GREv1 is an enhanced GRE packet (RFC 2637, section 4.1).
type GREv1 struct {
	Src, Dst       netip.Addr
	CallID         uint16 // the receiver's
	HasSeq, HasAck bool
	Seq, Ack       uint32
	Payload        []byte
	TTL            uint8
}

// Bytes returns the packet.
func (p GREv1) Bytes() []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x20, 1, 0x88, 0x0b}, uint16(len(p.Payload)))
	b = binary.BigEndian.AppendUint16(b, p.CallID)
	if p.HasSeq {
		b[0] |= 0x10
		b = binary.BigEndian.AppendUint32(b, p.Seq)
	}
	if p.HasAck {
		b[1] |= 0x80
		b = binary.BigEndian.AppendUint32(b, p.Ack)
	}
	return ip{src: p.Src, dst: p.Dst, proto: 47, ttl: p.TTL}.bytes(append(b, p.Payload...))
}

// SCTP is an SCTP packet (RFC 9260).
type SCTP struct {
	Src, Dst netip.AddrPort
	Tag      uint32
	Chunks   []byte
	TTL      uint8
}

// Bytes returns the packet.
func (p SCTP) Bytes() []byte {
	b := binary.BigEndian.AppendUint32(ports(p.Src, p.Dst), p.Tag)
	b = append(append(b, 0, 0, 0, 0), p.Chunks...)
	binary.LittleEndian.PutUint32(b[8:], crc32c(b))
	return ip{src: p.Src.Addr(), dst: p.Dst.Addr(), proto: 132, ttl: p.TTL}.bytes(b)
}

// DCCP is a DCCP packet (RFC 4340) with a short header of 12 bytes. Coverage 0: all; n: n-1 words of payload.
type DCCP struct {
	Src, Dst netip.AddrPort
	Type     uint8
	Coverage uint8
	Seq      uint32 // low 24 bits
	Options  []byte // also the fields of some types; a multiple of four bytes
	Payload  []byte
	TTL      uint8
}

// Bytes returns the packet.
func (p DCCP) Bytes() []byte {
	b := append(ports(p.Src, p.Dst), byte((12+len(p.Options))/4), p.Coverage, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(p.Type)<<25|p.Seq&0xffffff)
	b = append(append(b, p.Options...), p.Payload...)
	n := len(b)
	if p.Coverage != 0 {
		n = 12 + len(p.Options) + 4*int(p.Coverage-1)
	}
	src, dst := p.Src.Addr(), p.Dst.Addr()
	put(b, 6, false, pseudo(src.AsSlice(), dst.AsSlice(), 33, len(b)), b[:n])
	return ip{src: src, dst: dst, proto: 33, ttl: p.TTL}.bytes(b)
}

// Raw is any protocol's packet.
type Raw struct {
	Src, Dst  netip.Addr
	Proto     uint8
	Payload   []byte
	TTL, TOS  uint8
	ID        uint16 // IPv4
	DF        bool   // IPv4
	IPOptions []byte // IPv4
	Ext       []Ext  // IPv6
}

// Bytes returns the packet.
func (p Raw) Bytes() []byte {
	return ip{p.Src, p.Dst, p.Proto, p.TTL, p.TOS, p.ID, p.DF, p.IPOptions, p.Ext}.bytes(p.Payload)
}

func ports(src, dst netip.AddrPort) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src.Port()), dst.Port())
}
