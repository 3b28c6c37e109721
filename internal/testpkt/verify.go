package testpkt

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrChecksum says that the transport checksum is wrong, or missing where it must not be.
var ErrChecksum = errors.New("wrong transport checksum")

// Verify checks all lengths and checksums of a packet: IPv4 header, TCP, UDP (0 is none, which only IPv4 may have:
// RFC 8200, section 8.1), UDP-Lite, DCCP, ICMP, ICMPv6, SCTP, and GRE version 0 with a checksum. Of a fragment it
// checks the IP header. b must end with the packet.
func Verify(b []byte) error {
	l, err := Parse(b)
	if err != nil {
		return err
	}
	if l.Len != len(b) {
		return fmt.Errorf("%d bytes behind the packet", len(b)-l.Len)
	}
	return VerifyTransport(b[:l.Len], l)
}

// VerifyTransport is the part of [Verify] that is about the transport checksum. It returns nil or ErrChecksum.
func VerifyTransport(b []byte, l Layout) error {
	if l.Fragment() {
		return nil
	}
	t := b[l.L4:l.Len]
	ph := pseudo(l.Src, l.Dst, uint8(l.Proto), len(t))
	ok := true
	switch l.Proto {
	case 1:
		ok = sum(t) == 0xffff
	case 6, 58:
		ok = sum(ph, t) == 0xffff
	case 17:
		t = t[:be16(t, 4)]
		if be16(t, 6) == 0 {
			ok = l.Family == 4
			break
		}
		ok = sum(pseudo(l.Src, l.Dst, 17, len(t)), t) == 0xffff
	case 136:
		n := be16(t, 4)
		if n == 0 {
			n = len(t)
		}
		ok = be16(t, 6) != 0 && sum(ph, t[:n]) == 0xffff
	case 33:
		n := len(t)
		if cov := int(t[5] % 16); cov > 0 {
			n = int(t[4])*4 + (cov-1)*4
		}
		ok = n <= len(t) && sum(ph, t[:n]) == 0xffff
	case 132:
		clean := append([]byte(nil), t...)
		binary.LittleEndian.PutUint32(clean[8:], 0)
		ok = crc32c(clean) == binary.LittleEndian.Uint32(t[8:])
	case 47:
		ok = t[0]&0x80 == 0 || t[1]&7 != 0 || sum(t) == 0xffff
	}
	if !ok {
		return ErrChecksum
	}
	return nil
}

// MakePartial puts the folded, un-complemented sum of the pseudo-header into the checksum field of a TCP or UDP
// packet, as a kernel with checksum offload does, and returns where the kernel would say the checksum is: bytes from
// the IP header, and from there.
func MakePartial(b []byte) (csumStart, csumOff uint16) {
	l, err := Parse(b)
	if err != nil {
		panic(fmt.Sprintf("testpkt: MakePartial: %v", err))
	}
	off := map[int]int{6: 16, 17: 6}[l.Proto]
	if off == 0 {
		panic(fmt.Sprintf("testpkt: MakePartial of protocol %d", l.Proto))
	}
	binary.BigEndian.PutUint16(b[l.L4+off:], sum(pseudo(l.Src, l.Dst, uint8(l.Proto), l.Len-l.L4)))
	return uint16(l.L4), uint16(off)
}

// Fragments cuts a packet without extension headers or options into fragments of at most size bytes. id is for
// IPv6; IPv4 fragments keep the packet's.
func Fragments(b []byte, size int, id uint32) [][]byte {
	l, err := Parse(b)
	if err != nil || l.Options || l.FragHdr != 0 {
		panic(fmt.Sprintf("testpkt: Fragments: %+v, %v", l, err))
	}
	payload := b[l.L4:l.Len]
	hl := l.L4
	if l.Family == 6 {
		hl += 8
	}
	step := (size - hl) / 8 * 8
	if step < 8 {
		panic("testpkt: Fragments: no room for payload")
	}
	var all [][]byte
	for off, end := 0, 0; off < len(payload); off = end {
		end = len(payload)
		if hl+end-off > size { // the last one may end anywhere
			end = off + step
		}
		all = append(all, oneFragment(b, l, off, payload[off:end], end < len(payload), id))
	}
	return all
}

func oneFragment(b []byte, l Layout, off int, payload []byte, more bool, id uint32) []byte {
	f := append([]byte(nil), b[:l.L4]...)
	if l.Family == 6 {
		f[6] = 44
		f = append(append(f, byte(l.Proto), 0), FragHeader(off, more, id).Data...)
		f = append(f, payload...)
		binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
		return f
	}
	f = append(f, payload...)
	binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
	flags := uint16(f[6]&0x40)<<8 | uint16(off/8)
	if more {
		flags |= 0x2000
	}
	binary.BigEndian.PutUint16(f[6:], flags)
	put(f, 10, false, f[:20])
	return f
}
