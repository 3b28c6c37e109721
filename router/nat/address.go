package nat

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"

	"github.com/natrouter/natrouter/router/conntrack"
)

// address is an address as a number, IPv4 as 4-in-6, so that both families are compared alike.
type address struct{ hi, lo uint64 }

func addressOf(a *[16]byte) address {
	return address{binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(a[8:])}
}

func fromNetip(a netip.Addr) address {
	b := a.As16()
	return addressOf(&b)
}

func (a address) bytes() (b [16]byte) {
	binary.BigEndian.PutUint64(b[:], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return b
}

func (a address) less(b address) bool { return a.hi < b.hi || (a.hi == b.hi && a.lo < b.lo) }

func (a address) add(n uint64) address { return a.plus(address{lo: n}) }

func (a address) plus(b address) address {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return address{hi, lo}
}

// sub returns a - b, which is not negative.
func (a address) sub(b address) address {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(a.hi, b.hi, borrow)
	return address{hi, lo}
}

// addrSpan is a range of addresses, both ends included.
type addrSpan struct{ first, last address }

func spanOf(r conntrack.AddrRange) addrSpan { return addrSpan{fromNetip(r.First), fromNetip(r.Last)} }

func (s addrSpan) contains(a address) bool { return !a.less(s.first) && !s.last.less(a) }

// size returns how many addresses s has, at most the largest number.
func (s addrSpan) size() uint64 {
	d := s.last.sub(s.first)
	if d.hi != 0 || d.lo == math.MaxUint64 {
		return math.MaxUint64
	}
	return d.lo + 1
}

// addrList is a list of ranges of one family.
type addrList struct {
	spans []addrSpan
	total uint64
}

// listOf picks the ranges of one family.
func listOf(ranges []conntrack.AddrRange, family uint8) (l addrList) {
	for _, r := range ranges {
		if r.First.Is4() != (family == 4) {
			continue
		}
		s := spanOf(r)
		l.spans = append(l.spans, s)
		if l.total += s.size(); l.total < s.size() {
			l.total = math.MaxUint64
		}
	}
	return l
}

// at returns the i-th address; i is below total.
func (l *addrList) at(i uint64) address {
	for _, s := range l.spans {
		n := s.size()
		if i < n {
			return s.first.add(i)
		}
		i -= n
	}
	return address{}
}

func containsAddr(spans []addrSpan, a address) bool {
	for _, s := range spans {
		if s.contains(a) {
			return true
		}
	}
	return false
}

func spansOf(ranges []conntrack.AddrRange) []addrSpan {
	spans := make([]addrSpan, len(ranges))
	for i, r := range ranges {
		spans[i] = spanOf(r)
	}
	return spans
}

// ownAddresses are the router's own addresses at one time; it is never changed.
type ownAddresses struct {
	prefixes [][]netip.Prefix // by interface
	owner    map[[16]byte]int // interface of an address
}

func newOwnAddresses(prefixes [][]netip.Prefix) *ownAddresses {
	o := &ownAddresses{prefixes: prefixes, owner: map[[16]byte]int{}}
	for i, list := range prefixes {
		for _, p := range list {
			o.owner[p.Addr().As16()] = i
		}
	}
	return o
}

// primary returns the address that masquerading gives to packets that leave by an interface towards dst: the
// first of the family whose scope reaches dst (RFC 6724, section 5, rule 2), else the first one that is no
// link-local address.
func (o *ownAddresses) primary(iface int, family uint8, dst *[16]byte) (addr [16]byte, ok bool) {
	if iface < 0 || iface >= len(o.prefixes) {
		return addr, false
	}
	want := scope(netip.AddrFrom16(*dst).Unmap())
	for _, p := range o.prefixes[iface] {
		a := p.Addr()
		if a.Is4() != (family == 4) {
			continue
		}
		if s := scope(a); s == want {
			return a.As16(), true
		} else if !ok && s != scopeLink {
			addr, ok = a.As16(), true
		}
	}
	return addr, ok
}

// Scopes of addresses as far as choosing a source needs them.
const (
	scopeGlobal = iota
	scopeUnique // RFC 4193
	scopeLink
)

func scope(a netip.Addr) int {
	switch {
	case a.IsLinkLocalUnicast():
		return scopeLink
	case a.Is6() && a.IsPrivate():
		return scopeUnique
	}
	return scopeGlobal
}
