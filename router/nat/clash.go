package nat

import "github.com/natrouter/natrouter/router/conntrack"

// clashes checks the rules against the router's addresses and against each other. They are well formed.
func (k *checker) clashes() {
	rules := k.cfg.Rules
	for i := range rules {
		k.ownAddresses(&rules[i])
		for j := range i {
			k.shadow(&rules[j], &rules[i])
			k.outsidePrefixes(&rules[j], &rules[i])
		}
	}
}

// ownAddresses refuses pools that have addresses of the router. A single address of an outside interface is no
// pool: translating to one's own address by its number is masquerading without the name.
func (k *checker) ownAddresses(r *Rule) {
	if r.Action != SNAT && r.Action != Netmap {
		return
	}
	for _, a := range outsideRanges(r) {
		span := spanOf(a)
		for _, i := range k.cfg.Interfaces {
			for _, p := range i.Addresses {
				single := span.size() == 1 && i.Outside && r.Action == SNAT
				if span.contains(fromNetip(p.Addr())) && !single && p.Addr().Is4() == a.First.Is4() {
					k.fail(r.Line, i.Line, "%s-%s has the router's own address %s of %s", a.First, a.Last, p.Addr(), i.Name)
				}
			}
		}
	}
}

// outsideRanges returns the outside addresses that a rule translates sources to.
func outsideRanges(r *Rule) []conntrack.AddrRange {
	switch r.Action {
	case SNAT, NPTv6:
		return r.To
	case Netmap:
		if len(r.Source) == 0 {
			return r.Destination
		}
		return r.To
	}
	return nil
}

// shadow refuses a dnat or redirect rule all of whose packets an earlier one takes: two forwards of one outside
// endpoint, or a general rule before a special one.
func (k *checker) shadow(a, b *Rule) {
	static := func(r *Rule) bool { return r.Action == DNAT || r.Action == Redirect }
	if !static(a) || !static(b) {
		return
	}
	if (a.In == "" || a.In == b.In) && (a.Proto == 0 || a.Proto == b.Proto) && coversPorts(a.Ports, b.Ports) &&
		coversAddrs(a.Source, b.Source) && coversAddrs(a.Destination, b.Destination) && coversFamilies(a, b) {
		k.fail(b.Line, a.Line, "the rule never applies: an earlier one takes all that it is for")
	}
}

// coversAddrs reports whether each range of b lies in one of a; the empty list is all.
func coversAddrs(a, b []conntrack.AddrRange) bool {
	if len(a) == 0 {
		return true
	}
	for _, x := range b {
		inside := false
		for _, y := range a {
			inside = inside || (spanOf(y).contains(spanOf(x).first) && spanOf(y).contains(spanOf(x).last))
		}
		if !inside {
			return false
		}
	}
	return len(b) > 0
}

// coversPorts is coversAddrs for ports.
func coversPorts(a, b []conntrack.PortRange) bool {
	if len(a) == 0 {
		return true
	}
	for _, x := range b {
		inside := false
		for _, y := range a {
			inside = inside || (y.First <= x.First && x.Last <= y.Last)
		}
		if !inside {
			return false
		}
	}
	return len(b) > 0
}

// coversFamilies reports whether a acts in each family that b does.
func coversFamilies(a, b *Rule) bool {
	acts := func(r *Rule, family uint8) bool {
		return (r.Action == Redirect || ofFamily(r.To, family)) && (len(r.Destination) == 0 || ofFamily(r.Destination, family))
	}
	return (acts(a, 4) || !acts(b, 4)) && (acts(a, 6) || !acts(b, 6))
}

// outsidePrefixes refuses one-to-one maps whose outside addresses another rule uses too, and nptv6 or netmap
// rules that map one inside prefix twice by one interface.
func (k *checker) outsidePrefixes(a, b *Rule) {
	oneToOne := func(r *Rule) bool { return r.Action == Netmap || r.Action == NPTv6 }
	if !oneToOne(a) && !oneToOne(b) {
		return
	}
	if x, y, ok := overlap(outsideRanges(a), outsideRanges(b)); ok {
		k.fail(b.Line, a.Line, "%s-%s and %s-%s overlap, and one of them is mapped one to one", y.First, y.Last, x.First, x.Last)
		return
	}
	if x, y, ok := overlap(a.Source, b.Source); ok && oneToOne(a) && oneToOne(b) && a.Out == b.Out {
		k.fail(b.Line, a.Line, "%s-%s and %s-%s are inside prefixes of two maps", y.First, y.Last, x.First, x.Last)
	}
}

// overlap returns a pair of ranges that have an address in common.
func overlap(a, b []conntrack.AddrRange) (x, y conntrack.AddrRange, ok bool) {
	for _, x = range a {
		for _, y = range b {
			if spanOf(x).overlaps(spanOf(y)) {
				return x, y, true
			}
		}
	}
	return x, y, false
}
