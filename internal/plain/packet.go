package plain

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// Protocol numbers.
const (
	icmp  = 1
	tcpIP = 6
	udp   = 17
	gre   = 47
	icmp6 = 58
)

// packet is a whole packet taken apart.
type packet struct {
	b       []byte
	l       testpkt.Layout
	proto   int
	pair    pair
	ttl     int
	df      bool
	request bool   // ICMP echo request
	quote   []byte // of an ICMP error
	size    int    // bytes that each of the segments carries which it stands for; 0: it is one packet
	longest int    // bytes, of what it was on the wire: the packet, its fragments or its segments
}

// parse takes a packet apart. The tests send only what is whole and right; anything else is their mistake.
func parse(b []byte) *packet {
	if err := testpkt.Verify(b); err != nil {
		panic(fmt.Sprintf("plain: % x: %v", b, err))
	}
	return take(b)
}

// take is parse where the checksums need not be right, or the end not be there: in a quote.
func take(b []byte) *packet {
	p := takeFragment(b)
	l, t := p.l, b[p.l.L4:]
	var from, to uint16
	switch {
	case l.Proto == icmp && (t[0] == 8 || t[0] == 0), l.Proto == icmp6 && (t[0] == 128 || t[0] == 129):
		id := binary.BigEndian.Uint16(t[4:])
		if p.request = t[0] == 8 || t[0] == 128; p.request {
			from = id
		} else {
			to = id
		}
	case l.Proto == icmp || l.Proto == icmp6:
		p.quote = t[8:]
	case l.Proto == gre: // enhanced GRE names its receiver's call ID only: RFC 2637, section 4.1
		to = binary.BigEndian.Uint16(t[6:])
	default:
		from, to = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
	}
	p.pair = pair{netip.AddrPortFrom(p.pair.src.Addr(), from), netip.AddrPortFrom(p.pair.dst.Addr(), to)}
	return p
}

// takeFragment takes apart a fragment, as far as addresses.
func takeFragment(b []byte) *packet {
	l, err := testpkt.Parse(b)
	if err != nil {
		panic(fmt.Sprintf("plain: % x: %v", b, err))
	}
	src, _ := netip.AddrFromSlice(l.Src)
	dst, _ := netip.AddrFromSlice(l.Dst)
	return &packet{b: b, l: l, proto: l.Proto, ttl: l.TTL, df: l.DF, pair: pair{netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)}}
}

func (p *packet) six() bool { return p.l.Family == 6 }

// mayBegin: an answer to an echo request begins nothing (RFC 5508, section 3.1).
func (p *packet) mayBegin() bool { return p.proto != icmp && p.proto != icmp6 || p.request }

// rewritten returns the packet as a router sends it on with other endpoints.
func (p *packet) rewritten(to pair) []byte {
	b := bytes.Clone(p.b)
	setPair(b, to)
	decrementTTL(b)
	sums(b)
	return b
}

// setPair writes addresses, and ports or the identifier, and leaves all checksums as they are.
func setPair(b []byte, to pair) {
	p := take(b)
	copy(p.l.Src, to.src.Addr().AsSlice())
	copy(p.l.Dst, to.dst.Addr().AsSlice())
	t := b[p.l.L4:]
	switch {
	case p.proto == icmp || p.proto == icmp6:
		if p.quote == nil {
			binary.BigEndian.PutUint16(t[4:], max(to.src.Port(), to.dst.Port()))
		}
	case p.proto == gre:
		binary.BigEndian.PutUint16(t[6:], to.dst.Port())
	default:
		binary.BigEndian.PutUint16(t, to.src.Port())
		binary.BigEndian.PutUint16(t[2:], to.dst.Port())
	}
	if !p.six() {
		sumIP(b)
	}
}

func decrementTTL(b []byte) {
	if b[0]>>4 == 6 {
		b[7]--
		return
	}
	b[8]--
	sumIP(b)
}

// identOf names an IPv4 datagram.
func identOf(b []byte) ident {
	p := takeFragment(b)
	return ident{p.pair.src.Addr(), p.pair.dst.Addr(), p.proto, binary.BigEndian.Uint16(b[4:])}
}

// named remembers which identifications came out in place of that of want. Segments have one behind the other.
func (r *Router) named(want []byte, out [][]byte) {
	if want[0]>>4 != 4 || len(out) == 0 {
		return
	}
	first := binary.BigEndian.Uint16(out[0][4:])
	for _, b := range out {
		i := identOf(b)
		r.idents[i] = binary.BigEndian.Uint16(want[4:]) + i.id - first
	}
}

// unnamed gives a quote the identification that its sender had given it, unless got, which came out, shows the one that it
// left with: the router may have forgotten.
func (r *Router) unnamed(quote, inner, got []byte) {
	if inner[0]>>4 != 4 {
		return
	}
	sent, ok := r.idents[identOf(quote)]
	if shown := take(got).quote; ok && len(shown) > 6 && !bytes.Equal(shown[4:6], quote[4:6]) {
		binary.BigEndian.PutUint16(inner[4:], sent)
		sumIP(inner)
	}
}

// withID gives want the IPv4 identification of got where the router may choose it: RFC 6864, section 4.1, packets that
// may be fragmented.
func withID(want, got []byte) []byte {
	if want[0]>>4 == 4 && want[6]&0x40 == 0 && len(got) > 6 {
		copy(want[4:6], got[4:6])
		sumIP(want)
	}
	return want
}

func sumIP(b []byte) {
	head := b[:int(b[0]&15)*4]
	head[10], head[11] = 0, 0
	binary.BigEndian.PutUint16(head[10:], ^fold(sum16(head)))
}

// sums computes the transport checksum anew. A UDP checksum of 0 stays: there is none (RFC 768).
func sums(b []byte) {
	l, err := testpkt.Parse(b)
	if err != nil {
		panic(err)
	}
	t := b[l.L4:l.Len]
	if l.Proto == udp { // what follows the datagram is not its own: fragments of two may have come together
		t = t[:binary.BigEndian.Uint16(t[4:])]
	}
	pseudo := sum16(l.Src) + sum16(l.Dst) + uint64(l.Proto) + uint64(len(t))
	at := map[int]int{icmp: 2, icmp6: 2, tcpIP: 16, udp: 6}[l.Proto]
	switch {
	case l.Proto == gre:
		return // has none
	case l.Proto == icmp:
		pseudo = 0
	case l.Proto == udp && t[6] == 0 && t[7] == 0:
		return
	}
	t[at], t[at+1] = 0, 0
	s := ^fold(pseudo + sum16(t))
	if l.Proto == udp && s == 0 {
		s = 0xffff
	}
	binary.BigEndian.PutUint16(t[at:], s)
}

func sum16(b []byte) (s uint64) {
	for i, x := range b {
		if i%2 == 0 {
			s += uint64(x) << 8
		} else {
			s += uint64(x)
		}
	}
	return s
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// mssOf returns where the MSS of a SYN stands and what it is; -1: of another packet, or there is none, which is 0.
func mssOf(b []byte) (at int, mss uint16) {
	l, _ := testpkt.Parse(b)
	if l.Proto != tcpIP || b[l.L4+13]&flagSYN == 0 {
		return -1, 0
	}
	for at := l.L4 + 20; at+4 <= l.Payload && b[at] != 0; {
		switch b[at] {
		case 1:
			at++
		case 2:
			return at + 2, binary.BigEndian.Uint16(b[at+2:])
		default:
			at += int(b[at+1])
		}
	}
	return -1, 0
}

// clampMSS lowers the MSS of a SYN to what fits an MTU; it neither raises nor adds one.
func clampMSS(b []byte, mtu int) []byte {
	l, _ := testpkt.Parse(b)
	if at, mss := mssOf(b); at >= 0 && int(mss) > mtu-l.L4-20 {
		binary.BigEndian.PutUint16(b[at:], uint16(mtu-l.L4-20))
		sums(b)
	}
	return b
}

// cameOut returns the source port, or identifier, of the first packet that came out and is no error of the router.
func cameOut(out [2][][]byte) (uint16, bool) {
	for _, all := range out {
		for _, b := range all {
			if l, err := testpkt.Parse(b); err != nil || l.FragOff > 0 {
				continue
			}
			if p := take(b); p.quote == nil {
				return p.pair.src.Port(), true
			}
		}
	}
	return 0, false
}
