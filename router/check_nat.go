package router

import (
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/ruleset"
)

// natRules warns of translations that the routes and sides make useless.
func (k *checker) natRules() {
	for i := range k.cfg.NAT {
		r := &k.cfg.NAT[i]
		at := func(key string) ruleset.Place { return ruleset.Key("nat", i, key) }
		k.carried(at, k.families(r), passage{"in", r.In})
		if r.Action != nat.Masquerade { // nat has said so
			k.carried(at, k.families(r), passage{"out", r.Out})
		}
		in, out := k.passage(r.In), k.passage(r.Out)
		k.sources(at("source"), r.Source, r.In, func(j int) bool {
			return (in < 0 || j == in) && j != out
		}, func(j int) bool { return j == out && (in < 0 || in == out) })
		switch r.Action {
		case nat.DNAT:
			k.destinations(at, r)
			k.targets(at, r)
		case nat.SNAT, nat.Netmap, nat.NPTv6:
			k.pool(at, r)
		}
	}
}

// passage is a key of a rule that names an interface.
type passage struct{ key, name string }

// passage returns the index of an interface, -1 for none.
func (k *checker) passage(name string) int {
	if i, ok := k.ways.index[name]; ok {
		return i
	}
	return -1
}

// carried warns of a rule for a family that its interface does not carry, while it carries the other one.
func (k *checker) carried(at func(string) ruleset.Place, f ruleset.Families, p passage) {
	i := k.passage(p.name)
	if i < 0 || f.None() {
		return
	}
	has := k.ways.carries[i]
	for _, host := range k.cfg.Interfaces[i].Device.HostAddress {
		has = has.With(host.Addr())
	}
	if !has.None() && has.And(f).None() {
		k.Warnf(at(p.key), none, "name another interface, or give that one an address or a route of "+f.String(),
			"the rule is for %s, and interface %q has addresses and routes of %s only", f, p.name, has)
	}
}

// sources warns of sources from which nothing comes by the interfaces that a rule is for. Each family is looked at as a
// whole, and only where one of those interfaces carries it: lists that name more than there is are usual. By a near
// interface, the one that the rule leads out of, hosts of its own networks may come back, but not the world.
func (k *checker) sources(at ruleset.Place, source []conntrack.AddrRange, in string, wanted, near func(i int) bool) {
	if k.cfg.Filter.NoReversePath {
		return
	}
	for _, f := range []ruleset.Families{{V4: true}, {V6: true}} {
		carried := false
		for i := range k.cfg.Interfaces {
			carried = carried || wanted(i) && k.ways.carries[i].And(f) == f
		}
		first := -1
		for j, s := range source {
			if !f.Has(s.First) {
				continue
			}
			if k.ways.reaches(ruleset.Span(s), wanted, near) {
				first = -1
				break
			}
			if first < 0 {
				first = j
			}
		}
		if first < 0 || !carried {
			continue
		}
		by := "any interface that the rule is for"
		if in != "" {
			by = "interface " + k.ways.name(k.ways.index[in])
		}
		k.Warnf(at.Element(first), none, "write the network of the hosts that are meant, or add a [[route]] to it",
			"nothing from %s comes in by %s, since it is not routed there", ruleset.Span(source[first]), by)
	}
}

// destinations warns of a forward whose outside address is nobody's here: nothing is sent to this router for it, but
// where somebody routes it here on purpose.
func (k *checker) destinations(at func(string) ruleset.Place, r *nat.Rule) {
	in := k.passage(r.In)
	if in < 0 || !k.ways.outside(in) {
		return
	}
	for j, d := range r.Destination {
		if _, own := k.ways.own[d.First]; own || d.First != d.Last || k.translated(d.First) {
			continue
		}
		remedy := "add it to the addresses of an outside interface"
		if a := k.firstAddress(in, d.First.Is4()); a.IsValid() {
			remedy = "write " + a.String() + ", or add " + netip.PrefixFrom(d.First, d.First.BitLen()).String() + " to the addresses of " + k.ways.name(in)
		}
		k.Warnf(at("destination").Element(j), none, remedy, "no interface has the address %s, so nothing comes for it unless it is routed here", d.First)
	}
}

// firstAddress returns an interface's first address of a family.
func (k *checker) firstAddress(i int, is4 bool) netip.Addr {
	for _, p := range k.cfg.Interfaces[i].Address {
		if p.Addr().Is4() == is4 {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// translated reports whether another rule translates to an address, which then is one of ours.
func (k *checker) translated(a netip.Addr) bool {
	if k.pools == nil {
		k.pools = []ruleset.Span{}
		for i := range k.cfg.NAT {
			switch r := &k.cfg.NAT[i]; {
			case r.Action == nat.Netmap && len(r.Source) == 0:
				k.pools = append(k.pools, ruleset.Spans(r.Destination)...)
			case translates(r.Action):
				k.pools = append(k.pools, ruleset.Spans(r.To)...)
			}
		}
		k.pools = ruleset.Joined(k.pools)
	}
	return ruleset.Within(k.pools, a)
}

// targets warns of hosts to which a forward can't lead.
func (k *checker) targets(at func(string) ruleset.Place, r *nat.Rule) {
	in := k.passage(r.In)
	for j, to := range r.To {
		place := at("to").Element(j)
		a := to.First
		by, routed := k.ways.to.Lookup(a)
		owner, own := k.ways.own[a]
		network, last := k.ways.last[a]
		switch {
		case to.First != to.Last:
		case own && k.cfg.Filter.Input != InputAccept:
			k.Warnf(place, none, `write the address of a host, or action = "redirect"`,
				"to: %s is the router's own address, on interface %s, where nothing listens", a, k.ways.name(owner))
		case last:
			k.Warnf(place, network, "write the address of one host", "to: %s is the broadcast address of a network, to which nothing is forwarded", a)
		case !routed:
			k.Warnf(place, none, "add a [[route]] to it", "to: no route leads to %s", a)
		case in >= 0 && k.ways.outside(in) && k.ways.outside(by) && !own && !k.relays(by):
			k.Warnf(place, none, "add a [[route]] to it by an inside interface, or write the address of a host inside",
				"to: %s is no host inside: its route leads back out by %s", a, k.ways.name(by))
		}
	}
}

// relays reports whether what leaves by an interface is translated whatever its source: then a host outside can be the
// target of a forward.
func (k *checker) relays(out int) bool {
	return slices.ContainsFunc(k.cfg.NAT, func(r nat.Rule) bool {
		return translates(r.Action) && len(r.Source) == 0 && (r.Out == "" || k.ways.index[r.Out] == out)
	})
}

// pool warns of outside addresses that lie in the own network of another interface: answers to them go there.
func (k *checker) pool(at func(string) ruleset.Place, r *nat.Rule) {
	out := k.passage(r.Out)
	if out < 0 || len(r.Source) == 0 && r.Action == nat.Netmap {
		return
	}
	for j, to := range r.To {
		if i, ok := k.ways.connected(to.First); ok && i != out && !k.ways.outside(i) {
			k.Warnf(at("to").Element(j), ruleset.Key("interface", i, "address"), "write addresses that are routed here by "+k.ways.name(out),
				"%s is in the network of inside interface %s, where its hosts may have the same addresses", ruleset.Span(to), k.ways.name(i))
		}
	}
}
