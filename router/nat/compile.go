package nat

import (
	"fmt"
	"slices"

	"github.com/natrouter/natrouter/router/conntrack"
)

// compile makes the rules ready. They have been checked.
func (n *NAT) compile(rules []Rule) {
	pools := map[string]uint16{}
	for i := range rules {
		r := n.compileRule(&rules[i])
		switch r.Action {
		case Masquerade, SNAT:
			r.pool = n.poolOf(r, pools)
			n.src = append(n.src, r)
		case DNAT, Redirect:
			n.dst = append(n.dst, r)
		case Netmap, NPTv6:
			n.dst, n.src = append(n.dst, r), append(n.src, r)
		case Accept:
			if n.src = append(n.src, r); r.out < 0 { // before routing no egress interface is known
				n.dst = append(n.dst, r)
			}
		}
		n.claim(r)
	}
	n.pools = append(n.pools, pool{iface: noInterface}) // of bindings without a rule: see bindTo
}

// implicitPool is the pool of bindings without a rule.
func (n *NAT) implicitPool() uint16 { return uint16(len(n.pools) - 1) }

// noInterface is the index of no interface: any in a rule, none of a pool.
const noInterface = -1

func (n *NAT) compileRule(in *Rule) *rule {
	r := &rule{
		Rule: *in, in: interfaceIndex(n.interfaces, in.In), out: interfaceIndex(n.interfaces, in.Out),
		source: spansOf(in.Source), destination: spansOf(in.Destination),
		v4: listOf(in.To, 4), v6: listOf(in.To, 6),
		hairpinned: in.Hairpin == On || (in.Hairpin == DefaultSwitch && !n.defaults.NoHairpin),
	}
	if r.Mapping == DefaultBehaviour {
		r.Mapping = n.defaults.Mapping
	}
	if r.Filtering == DefaultBehaviour {
		r.Filtering = n.defaults.Filtering
	}
	if r.Action == Netmap || r.Action == NPTv6 {
		r.prefixes = prefixMaps(in)
		r.source, r.destination = nil, nil // which side they describe depends on the position: see mapsInward
		if len(in.Source) == 0 {           // written from the other side
			r.in, r.out = noInterface, r.in
		}
	}
	return r
}

// interfaceIndex returns the index of a named interface, noInterface for the empty name and for unknown ones.
func interfaceIndex(list []Interface, name string) int {
	if name == "" {
		return noInterface
	}
	return slices.IndexFunc(list, func(i Interface) bool { return i.Name == name })
}

// poolOf returns the pool of a masquerade or snat rule: one that an earlier rule with the same addresses has. pools are
// those there are, by their addresses.
func (n *NAT) poolOf(r *rule, pools map[string]uint16) uint16 {
	p := pool{iface: noInterface, line: r.Line}
	if r.Action == Masquerade {
		p.iface = r.out
	} else {
		p.v4, p.v6 = r.v4, r.v6
	}
	name := fmt.Sprint(p.iface, p.v4.spans, p.v6.spans)
	if i, ok := pools[name]; ok {
		return i
	}
	n.pools = append(n.pools, p)
	pools[name] = uint16(len(n.pools) - 1)
	return pools[name]
}

// maxClaim is the largest range of a dnat rule's destinations that counts as outside addresses of ours: a rule
// for a part of the internet is about other people's.
const maxClaim = 1 << 16

// claim notes the outside addresses that a rule answers for.
func (n *NAT) claim(r *rule) {
	iface := r.out
	var ranges []conntrack.AddrRange
	switch r.Action {
	case SNAT:
		ranges = r.To
	case Netmap, NPTv6:
		for _, p := range r.prefixes {
			n.claimed = append(n.claimed, claim{p.outside, n.outsideOr(iface)})
		}
	case DNAT:
		if iface = r.in; iface >= 0 && n.interfaces[iface].Outside {
			ranges = r.Destination
		}
	}
	for _, a := range ranges {
		if s := spanOf(a); r.Action != DNAT || s.size() <= maxClaim {
			n.claimed = append(n.claimed, claim{s, n.outsideOr(iface)})
		}
	}
}

// outsideOr returns iface, or the first outside interface where a rule names none.
func (n *NAT) outsideOr(iface int) int {
	if iface >= 0 {
		return iface
	}
	return max(0, slices.IndexFunc(n.interfaces, func(i Interface) bool { return i.Outside }))
}

// prefixMaps returns the maps of a netmap or nptv6 rule: source is the inside prefix, to the outside one, pair by
// pair. A netmap rule with a destination instead of a source is written from the other side: the destination is
// the outside prefix.
func prefixMaps(r *Rule) (maps []prefixMap) {
	inside, outside := r.Source, r.To
	if len(inside) == 0 {
		inside, outside = r.To, r.Destination
	}
	for i := range min(len(inside), len(outside)) {
		in, out := spanOf(inside[i]), spanOf(outside[i])
		if r.Action == NPTv6 {
			bits, _ := prefixBits(inside[i])
			maps = append(maps, newNPTv6(in, out, bits))
			continue
		}
		maps = append(maps, prefixMap{inside: in, outside: out})
	}
	return maps
}
