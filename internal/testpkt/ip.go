package testpkt

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Ext is an IPv6 extension header. The fragment header has Data of 6 bytes; all others are padded to 8n bytes.
type Ext struct {
	Type uint8
	Data []byte // after next header and length
}

// FragHeader returns an IPv6 fragment header; off is in bytes.
func FragHeader(off int, more bool, id uint32) Ext {
	v := uint16(off)
	if more {
		v |= 1
	}
	return Ext{Type: 44, Data: binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, v), id)}
}

// ip is what all builders share.
type ip struct {
	src, dst netip.Addr
	proto    uint8
	ttl, tos uint8
	id       uint16
	df       bool
	options  []byte
	ext      []Ext
}

// bytes puts IP headers before l4.
func (p ip) bytes(l4 []byte) []byte {
	switch {
	case p.src.BitLen() != p.dst.BitLen() || !p.src.IsValid():
		panic(fmt.Sprintf("testpkt: addresses %v and %v", p.src, p.dst))
	case p.ttl == 0:
		p.ttl = 64
	}
	if p.src.Is4() {
		return p.ipv4(l4)
	}
	return p.ipv6(l4)
}

func (p ip) ipv4(l4 []byte) []byte {
	for len(p.options)%4 != 0 {
		p.options = append(p.options[:len(p.options):len(p.options)], 0)
	}
	hl := 20 + len(p.options)
	b := []byte{4<<4 | byte(hl/4), p.tos}
	b = binary.BigEndian.AppendUint16(b, uint16(hl+len(l4)))
	b = binary.BigEndian.AppendUint16(b, p.id)
	flags := uint16(0)
	if p.df {
		flags = 0x4000
	}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = append(b, p.ttl, p.proto, 0, 0)
	b = append(b, p.src.AsSlice()...)
	b = append(b, p.dst.AsSlice()...)
	b = append(b, p.options...)
	binary.BigEndian.PutUint16(b[10:], ^sum(b))
	return append(b, l4...)
}

func (p ip) ipv6(l4 []byte) []byte {
	var ext []byte
	for i, e := range p.ext {
		next := p.proto
		if i+1 < len(p.ext) {
			next = p.ext[i+1].Type
		}
		h := append([]byte{next, 0}, e.Data...)
		for len(h)%8 != 0 {
			h = append(h, 0)
		}
		if e.Type != 44 {
			h[1] = byte(len(h)/8 - 1)
		}
		ext = append(ext, h...)
	}
	first := p.proto
	if len(p.ext) > 0 {
		first = p.ext[0].Type
	}
	b := []byte{6<<4 | p.tos>>4, p.tos << 4, 0, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(len(ext)+len(l4)))
	b = append(b, first, p.ttl)
	b = append(b, p.src.AsSlice()...)
	b = append(b, p.dst.AsSlice()...)
	b = append(b, ext...)
	return append(b, l4...)
}

// sum is the ones'-complement sum of parts one after the other, word by word (RFC 1071).
func sum(parts ...[]byte) uint16 {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	if len(all)%2 == 1 {
		all = append(all, 0)
	}
	total := uint32(0)
	for i := 0; i < len(all); i += 2 {
		total += uint32(all[i])<<8 | uint32(all[i+1])
		if total > 0xffff {
			total -= 0xffff // end-around carry
		}
	}
	return uint16(total)
}

// pseudo is the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1).
func pseudo(src, dst []byte, proto uint8, length int) []byte {
	var b []byte
	b = append(b, src...)
	b = append(b, dst...)
	if len(src) == 4 {
		b = append(b, 0, proto)
		return binary.BigEndian.AppendUint16(b, uint16(length))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(length))
	return append(b, 0, 0, 0, proto)
}

// put writes the checksum of covered bytes at b[at:]; never0: a sum of 0 is written as ffff.
func put(b []byte, at int, never0 bool, covered ...[]byte) {
	b[at], b[at+1] = 0, 0
	c := ^sum(covered...)
	if c == 0 && never0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b[at:], c)
}

// crc32c is the checksum of SCTP (RFC 9260, appendix A), bit by bit.
func crc32c(b []byte) uint32 {
	crc := ^uint32(0)
	for _, x := range b {
		crc ^= uint32(x)
		for range 8 {
			if crc&1 == 1 {
				crc = crc>>1 ^ 0x82f63b78
			} else {
				crc >>= 1
			}
		}
	}
	return ^crc
}
