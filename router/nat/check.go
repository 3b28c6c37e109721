package nat

import (
	"net/netip"

	"github.com/natrouter/natrouter/router/conntrack"
)

// check refuses rules that can't mean anything, and rules that clash.
func check(cfg *Config) error {
	k := &checker{cfg: cfg}
	k.interfaces()
	k.defaults()
	for i := range cfg.Rules {
		k.rule(&cfg.Rules[i])
	}
	if len(k.errs) == 0 { // clashes of broken rules say nothing
		k.clashes()
	}
	return k.err()
}

func (k *checker) interfaces() {
	seen := map[string]int{}
	for _, i := range k.cfg.Interfaces {
		if line, twice := seen[i.Name]; twice {
			k.fail(i.Line, line, "interface %q is there twice", i.Name)
		}
		seen[i.Name] = i.Line
	}
}

func (k *checker) defaults() {
	if r := k.cfg.Defaults.PortRange; r.First > r.Last || r.First < 1024 {
		k.fail(0, 0, "port_range %d-%d: must lie in 1024-65535", r.First, r.Last)
	}
}

// rule checks one rule by itself.
func (k *checker) rule(r *Rule) {
	for _, name := range []string{r.In, r.Out} {
		if name != "" && interfaceIndex(k.cfg.Interfaces, name) < 0 {
			k.fail(r.Line, 0, "there is no interface %q", name)
		}
	}
	for _, list := range [][]conntrack.AddrRange{r.Source, r.Destination, r.To} {
		k.ranges(r, list)
	}
	for _, list := range [][]conntrack.PortRange{r.Ports, r.ToPorts} {
		for _, p := range list {
			if p.First > p.Last || p.First == 0 {
				k.fail(r.Line, 0, "port range %d-%d: ports go from 1 up", p.First, p.Last)
			}
		}
	}
	if (len(r.Ports) > 0 || len(r.ToPorts) > 0) && r.Proto != 0 && !hasPorts(r.Proto) {
		k.fail(r.Line, 0, "protocol %d has no ports", r.Proto)
	}
	if r.KeepOnChange && r.Action != Masquerade {
		k.fail(r.Line, 0, "on_address_change is for masquerade")
	}
	switch r.Action {
	case Masquerade:
		k.masquerade(r)
	case SNAT:
		k.needsTo(r)
	case DNAT, Redirect:
		k.static(r)
	case Netmap, NPTv6:
		k.prefixes(r)
	case Accept:
		if len(r.To) > 0 || len(r.ToPorts) > 0 {
			k.fail(r.Line, 0, "accept translates to nothing: remove \"to\"")
		}
	default:
		k.fail(r.Line, 0, "a rule needs an action")
	}
}

func (k *checker) ranges(r *Rule, list []conntrack.AddrRange) {
	for _, a := range list {
		switch {
		case !a.First.IsValid() || !a.Last.IsValid():
			k.fail(r.Line, 0, "a range without addresses")
		case a.First.Is4() != a.Last.Is4():
			k.fail(r.Line, 0, "range %s-%s mixes families", a.First, a.Last)
		case a.Last.Less(a.First):
			k.fail(r.Line, 0, "range %s-%s ends before it begins", a.First, a.Last)
		}
	}
}

func (k *checker) masquerade(r *Rule) {
	if r.Out == "" {
		k.fail(r.Line, 0, "masquerade needs \"out\": it takes that interface's address")
	}
	if len(r.To) > 0 {
		k.fail(r.Line, 0, "masquerade has no \"to\": use snat for a fixed address")
	}
}

func (k *checker) needsTo(r *Rule) {
	if len(r.To) == 0 {
		k.fail(r.Line, 0, "the rule needs \"to\"")
	}
	match := r.Source
	if r.Action == DNAT {
		match = r.Destination
	}
	for _, family := range []uint8{4, 6} {
		if len(r.To) > 0 && len(match) > 0 && ofFamily(match, family) && !ofFamily(r.To, family) && !ofFamily(match, 10-family) {
			k.fail(r.Line, 0, "the rule is for IPv%d only and \"to\" has no IPv%d address", family, family)
		}
	}
}

// ofFamily reports whether a list has a range of a family.
func ofFamily(list []conntrack.AddrRange, family uint8) bool {
	for _, a := range list {
		if a.First.Is4() == (family == 4) {
			return true
		}
	}
	return false
}

// static checks dnat and redirect.
func (k *checker) static(r *Rule) {
	if r.Out != "" {
		k.fail(r.Line, 0, "\"out\" is not known before routing: use \"in\"")
	}
	if r.Action == DNAT {
		k.needsTo(r)
	} else if len(r.To) > 0 {
		k.fail(r.Line, 0, "redirect goes to the router itself: \"to\" is \":port\" only")
	}
	from, to := portCount(r.Ports), portCount(r.ToPorts)
	if from > 1 && to > 1 && from != to {
		k.fail(r.Line, 0, "%d ports can't be shifted to %d: the ranges must be of one size, or the new one a single port", from, to)
	}
}

// maxNPTv6 is the longest prefix that can be mapped without touching the checksum (RFC 6296, section 3.5, leaves
// room in the interface identifier).
const maxNPTv6 = 64

// prefixes checks netmap and nptv6.
func (k *checker) prefixes(r *Rule) {
	inside := r.Source
	if len(inside) == 0 && r.Action == Netmap {
		inside = r.Destination
	}
	if r.Action == NPTv6 && r.Out == "" {
		k.fail(r.Line, 0, "nptv6 needs \"out\"")
	}
	if len(r.Source) > 0 && len(r.Destination) > 0 {
		k.fail(r.Line, 0, "give \"source\" or \"destination\": the other side is \"to\"")
	}
	if len(r.ToPorts) > 0 {
		k.fail(r.Line, 0, "prefixes are mapped without their ports")
	}
	if len(inside) == 0 || len(inside) != len(r.To) {
		k.fail(r.Line, 0, "%d prefixes can't be mapped to %d: give a pair", len(inside), len(r.To))
		return
	}
	for i := range inside {
		k.prefixPair(r, inside[i], r.To[i])
	}
}

func (k *checker) prefixPair(r *Rule, a, b conntrack.AddrRange) {
	for _, x := range []conntrack.AddrRange{a, b} {
		if !x.First.IsValid() || !x.Last.IsValid() || x.First.Is4() != x.Last.Is4() || x.Last.Less(x.First) {
			return // told already
		}
	}
	if a.First.Is4() != b.First.Is4() {
		k.fail(r.Line, 0, "%s and %s are of different families", a.First, b.First)
		return
	}
	bitsA, okA := prefixBits(a)
	bitsB, okB := prefixBits(b)
	switch {
	case r.Action == Netmap && spanOf(a).last.sub(spanOf(a).first) != spanOf(b).last.sub(spanOf(b).first):
		k.fail(r.Line, 0, "%s-%s and %s-%s are of unequal size", a.First, a.Last, b.First, b.Last)
	case r.Action == Netmap:
	case a.First.Is4():
		k.fail(r.Line, 0, "nptv6 maps IPv6 prefixes: use netmap for IPv4")
	case !okA || !okB:
		k.fail(r.Line, 0, "nptv6 maps prefixes, not ranges")
	case bitsA != bitsB:
		k.fail(r.Line, 0, "prefixes of unequal length: %s/%d and %s/%d", a.First, bitsA, b.First, bitsB)
	case bitsA > maxNPTv6:
		k.fail(r.Line, 0, "a prefix longer than /%d has no room for a neutral checksum", maxNPTv6)
	}
}

// prefixBits returns the length of the prefix that a range is; ok is false where it is none.
func prefixBits(r conntrack.AddrRange) (bits int, ok bool) {
	for bits = 0; bits <= r.First.BitLen(); bits++ {
		p := netip.PrefixFrom(r.First, bits).Masked()
		if p.Addr() == r.First && lastOf(p) == r.Last {
			return bits, true
		}
	}
	return 0, false
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
