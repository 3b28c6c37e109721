package ruleset

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
)

// Span is a range of addresses of one family, both ends included.
type Span struct{ First, Last netip.Addr }

// PortSpan is a range of ports, both ends included.
type PortSpan struct{ First, Last uint16 }

// Spans returns the ranges of another room as spans.
func Spans[R ~struct{ First, Last netip.Addr }](list []R) []Span {
	out := make([]Span, len(list))
	for i, r := range list {
		out[i] = Span(r)
	}
	return out
}

// PortSpans is Spans for ports.
func PortSpans[R ~struct{ First, Last uint16 }](list []R) []PortSpan {
	out := make([]PortSpan, len(list))
	for i, r := range list {
		out[i] = PortSpan(r)
	}
	return out
}

// SpanOf returns the addresses of a prefix.
func SpanOf(p netip.Prefix) Span {
	last := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(last)
	return Span{First: p.Masked().Addr(), Last: a}
}

// Prefix returns the prefix that has just the addresses of s; ok is false if there is none.
func (s Span) Prefix() (p netip.Prefix, ok bool) {
	p = s.Enclosing()
	return p, SpanOf(p) == s
}

// Single reports whether s is one address.
func (s Span) Single() bool { return s.First == s.Last }

// Contains reports whether a is in s.
func (s Span) Contains(a netip.Addr) bool {
	return a.BitLen() == s.First.BitLen() && s.First.Compare(a) <= 0 && a.Compare(s.Last) <= 0
}

// Overlaps reports whether the spans have an address in common.
func (s Span) Overlaps(o Span) bool {
	return s.First.BitLen() == o.First.BitLen() && s.First.Compare(o.Last) <= 0 && o.First.Compare(s.Last) <= 0
}

// String writes a span as the configuration would: an address, a prefix, or "a-b".
func (s Span) String() string {
	if s.Single() {
		return s.First.String()
	}
	if p, ok := s.Prefix(); ok {
		return p.String()
	}
	return s.First.String() + "-" + s.Last.String()
}

// Enclosing returns the longest prefix that has all of s.
func (s Span) Enclosing() netip.Prefix {
	a, b := s.First.As16(), s.Last.As16()
	common := 0
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			common += bits.LeadingZeros8(x)
			break
		}
		common += 8
	}
	return netip.PrefixFrom(s.First, common-(128-s.First.BitLen())).Masked()
}

// String writes a port or "a-b".
func (s PortSpan) String() string {
	if s.First == s.Last {
		return fmt.Sprint(s.First)
	}
	return fmt.Sprintf("%d-%d", s.First, s.Last)
}

// bitLen is how many leading bits the ends of s have in common.
func (s PortSpan) bitLen() int { return bits.LeadingZeros16(s.First ^ s.Last) }

// Families is a set of address families.
type Families struct{ V4, V6 bool }

// Both is the set of both families.
var Both = Families{true, true}

// FamiliesOf returns the families of a list of ranges; of an empty one both, since that means any address.
func FamiliesOf(list []Span) (f Families) {
	if len(list) == 0 {
		return Both
	}
	for _, s := range list {
		f = f.With(s.First)
	}
	return f
}

// With returns f with the family of an address.
func (f Families) With(a netip.Addr) Families { return Families{f.V4 || a.Is4(), f.V6 || a.Is6()} }

// And returns the families that both sets have.
func (f Families) And(g Families) Families { return Families{f.V4 && g.V4, f.V6 && g.V6} }

// None reports whether the set is empty.
func (f Families) None() bool { return !f.V4 && !f.V6 }

// Has reports whether the family of an address is in the set.
func (f Families) Has(a netip.Addr) bool { return a.Is4() && f.V4 || a.Is6() && f.V6 }

// String names the families.
func (f Families) String() string {
	switch f {
	case Both:
		return "IPv4 and IPv6"
	case Families{V6: true}:
		return "IPv6"
	case Families{V4: true}:
		return "IPv4"
	}
	return "no"
}

// joined returns the spans of the given families in order, those that touch as one.
func joined(list []Span, f Families) []Span {
	var out []Span
	for _, s := range list {
		if f.Has(s.First) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Span) int { return a.First.Compare(b.First) })
	n := 0
	for _, s := range out {
		switch {
		case n > 0 && out[n-1].First.BitLen() == s.First.BitLen() && (s.First.Compare(out[n-1].Last) <= 0 || s.First == out[n-1].Last.Next()):
			if out[n-1].Last.Less(s.Last) {
				out[n-1].Last = s.Last
			}
		default:
			out[n] = s
			n++
		}
	}
	return out[:n]
}

// joinedPorts is joined for ports.
func joinedPorts(list []PortSpan) []PortSpan {
	out := slices.Clone(list)
	slices.SortFunc(out, func(a, b PortSpan) int { return int(a.First) - int(b.First) })
	n := 0
	for _, s := range out {
		if n > 0 && int(s.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, s.Last)
			continue
		}
		out[n] = s
		n++
	}
	return out[:n]
}

// Joined returns the spans in order, those that touch or overlap as one.
func Joined(list []Span) []Span { return joined(list, Both) }

// Within reports whether an address is in a list that [Joined] returned.
func Within(list []Span, a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(list, a, func(s Span, a netip.Addr) int { return s.First.Compare(a) })
	return found || i > 0 && list[i-1].Contains(a)
}
