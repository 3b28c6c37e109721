package testpkt

import (
	"errors"
	"fmt"
)

// Layout is where the headers of a packet are, as a slow and plain reader finds them. Offsets and lengths are bytes
// from the start of the IP header; addresses are bytes of the packet.
type Layout struct {
	Family   int
	Src, Dst []byte
	Proto    int
	TTL      int
	Options  bool // IPv4 options or an IPv6 extension header other than a fragment header
	DF       bool // always for IPv6
	More     bool
	FragOff  int
	FragHdr  int // 0: none
	ID       int
	L4       int
	Payload  int // L4 where the transport header is unknown or, in a fragment, not whole
	Len      int
}

// Fragment reports whether the packet is a part of a datagram.
func (l *Layout) Fragment() bool { return l.More || l.FragOff > 0 }

// ErrIPChecksum says that the IPv4 header checksum is wrong, and nothing before it.
var ErrIPChecksum = errors.New("wrong IPv4 header checksum")

// Parse reads the headers of a packet up to the transport header and checks all lengths in them.
func Parse(b []byte) (Layout, error) {
	var l Layout
	var err error
	switch {
	case len(b) == 0:
		return l, errors.New("empty")
	case b[0]/16 == 4:
		l, err = parse4(b)
	case b[0]/16 == 6:
		l, err = parse6(b)
	default:
		return l, fmt.Errorf("version %d", b[0]/16)
	}
	if err != nil {
		return l, err
	}
	return l, l.parseTransport(b[:l.Len])
}

func parse4(b []byte) (Layout, error) {
	if len(b) < 20 {
		return Layout{}, errors.New("short IPv4 header")
	}
	l := Layout{Family: 4, L4: int(b[0]%16) * 4, Len: be16(b, 2), ID: be16(b, 4), TTL: int(b[8]), Proto: int(b[9])}
	if l.L4 < 20 || l.L4 > l.Len || l.Len > len(b) {
		return l, fmt.Errorf("IPv4 header of %d bytes in %d of %d", l.L4, l.Len, len(b))
	}
	if sum(b[:l.L4]) != 0xffff {
		return l, ErrIPChecksum
	}
	l.Src, l.Dst = b[12:16], b[16:20]
	l.Options = l.L4 > 20
	flags := be16(b, 6)
	l.DF, l.More, l.FragOff = flags&0x4000 != 0, flags&0x2000 != 0, flags%0x2000*8
	return l, nil
}

func parse6(b []byte) (Layout, error) {
	if len(b) < 40 {
		return Layout{}, errors.New("short IPv6 header")
	}
	l := Layout{Family: 6, DF: true, L4: 40, Len: 40 + be16(b, 4), Proto: int(b[6]), TTL: int(b[7])}
	if l.Len > len(b) {
		return l, fmt.Errorf("IPv6 packet of %d bytes in %d", l.Len, len(b))
	}
	l.Src, l.Dst = b[8:24], b[24:40]
	for n := 0; l.FragOff == 0; n++ {
		size := 0
		switch l.Proto {
		case 0, 43, 60, 135, 139, 140:
			if l.Proto == 0 && n > 0 {
				return l, errors.New("hop-by-hop options not first")
			}
			if l.L4+8 > l.Len {
				return l, errors.New("short extension header")
			}
			size = 8 + 8*int(b[l.L4+1])
			l.Options = true
		case 44:
			if l.L4+8 > l.Len || l.FragHdr != 0 {
				return l, errors.New("short or second fragment header")
			}
			size = 8
			l.FragHdr = l.L4
			l.More, l.FragOff = b[l.L4+3]&1 == 1, be16(b, l.L4+2)/8*8
			l.ID = be16(b, l.L4+4)<<16 | be16(b, l.L4+6)
		default:
			return l, nil
		}
		if n == 8 {
			return l, errors.New("too many extension headers")
		}
		if l.L4+size > l.Len {
			return l, errors.New("extension header longer than the packet")
		}
		l.Proto = int(b[l.L4])
		l.L4 += size
	}
	return l, nil
}

// parseTransport sets Payload. A transport header that is not whole is an error, but in an IPv4 fragment.
func (l *Layout) parseTransport(b []byte) error {
	l.Payload = l.L4
	if l.FragOff > 0 {
		return nil
	}
	n, err := transportLen(l.Family, l.Proto, b[l.L4:], l.Fragment())
	if err == nil {
		l.Payload += n
		return nil
	}
	if l.Fragment() && l.Family == 4 {
		return nil
	}
	return err
}

// transportLen returns the length of a transport header, 0 for protocols without one that a router knows.
func transportLen(family, proto int, t []byte, fragment bool) (int, error) {
	short := errors.New("short transport header")
	least := map[int]int{1: 8, 6: 20, 17: 8, 33: 12, 47: 4, 58: 8, 132: 12, 136: 8}[proto]
	if len(t) < least {
		return 0, short
	}
	n := least
	switch proto {
	case 1, 58:
		if (family == 4) != (proto == 1) {
			return 0, errors.New("ICMP of the other family")
		}
	case 6:
		n = int(t[12]/16) * 4
	case 17:
		if u := be16(t, 4); u < 8 || u > len(t) && !fragment {
			return 0, errors.New("impossible UDP length")
		}
	case 136:
		if u := be16(t, 4); u != 0 && (u < 8 || u > len(t) && !fragment) {
			return 0, errors.New("impossible UDP-Lite coverage")
		}
	case 33:
		n = int(t[4]) * 4
	case 47:
		if t[0]&0xc0 != 0 { // checksum or routing
			n += 4
		}
		if t[0]&0x20 != 0 { // key
			n += 4
		}
		if t[0]&0x10 != 0 { // sequence
			n += 4
		}
		if t[1]&7 == 1 && t[1]&0x80 != 0 { // acknowledgement
			n += 4
		}
	}
	if n < least || n > len(t) {
		return 0, short
	}
	return n, nil
}

func be16(b []byte, at int) int { return int(b[at])*256 + int(b[at+1]) }
