package router

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/router/ruleset"
)

// interfaces checks addresses and sides of interfaces against each other and against the rules.
func (k *checker) interfaces() {
	c := k.cfg
	type claim struct {
		prefix netip.Prefix
		owner  int
		at     ruleset.Place
	}
	var claims []claim
	own := map[netip.Addr]ruleset.Place{}
	for i := range c.Interfaces {
		f := &c.Interfaces[i]
		if f.Side != Inside && f.Side != Outside {
			k.Mistakef(ruleset.Key("interface", i, "side"), none, "say inside or outside", "interface %q has no side", f.Name)
		}
		if f.MTU < 0 {
			k.Mistakef(ruleset.Key("interface", i, "mtu"), none, "give bytes, or 0 for the device's own", "an MTU of %d", f.MTU)
		}
		for j, p := range f.Address {
			at := ruleset.Key("interface", i, "address").Element(j)
			if first, taken := own[p.Addr()]; taken {
				k.Mistakef(at, first, "write another one", "address %s belongs to interface %q already", p.Addr(), c.Interfaces[first.Index].Name)
			} else {
				own[p.Addr()] = at
			}
			for _, other := range claims {
				if other.owner != i && other.prefix.Overlaps(p) && other.prefix.Addr() != p.Addr() {
					k.Mistakef(at, other.at, "give each interface a network of its own", "network %s overlaps %s of interface %q",
						p.Masked(), other.prefix.Masked(), c.Interfaces[other.owner].Name)
				}
			}
			claims = append(claims, claim{p, i, at})
		}
	}
	k.mtus()
	k.contradictions()
	for i := range c.Interfaces {
		for j, p := range c.Interfaces[i].Device.HostAddress {
			if first, taken := own[p.Addr()]; taken {
				k.Mistakef(ruleset.Key("interface", i, "host_address").Element(j), first, "write another address of that network",
					"host_address %s is the router's own", p.Addr())
			}
		}
	}
}

// routes checks that routes name interfaces, stand once, and contradict no interface's own network.
func (k *checker) routes() {
	first := map[netip.Prefix]int{}
	var names []string
	networks := map[netip.Prefix]string{}
	own := map[netip.Addr]string{}
	for i := range k.cfg.Interfaces {
		f := &k.cfg.Interfaces[i]
		names = append(names, f.Name)
		for _, p := range f.Address {
			networks[p.Masked()], own[p.Addr()] = f.Name, f.Name
		}
	}
	known := map[string]bool{}
	for _, n := range names {
		known[n] = true
	}
	for i := range k.cfg.Routes {
		r := &k.cfg.Routes[i]
		at := ruleset.Key("route", i, "to")
		if !known[r.Interface] {
			k.Mistakef(ruleset.Key("route", i, "interface"), none, ruleset.Suggest(r.Interface, names), "no [[interface]] has the name %q", r.Interface)
		}
		if owner, ours := own[r.Via]; ours {
			k.Mistakef(ruleset.Key("route", i, "via"), none, "leave via out, since a TUN needs none",
				"via: %s is this router's own address, on interface %q", r.Via, owner)
		}
		if j, twice := first[r.To]; twice {
			k.Mistakef(at, ruleset.Key("route", j, "to"), "remove one of the two", "route to %s goes by %q already", r.To, k.cfg.Routes[j].Interface)
			continue
		}
		first[r.To] = i
		if owner, ours := networks[r.To]; ours && owner != r.Interface {
			k.Mistakef(at, none, "remove the route, or change that address", "route to %s contradicts interface %q, whose own network it is", r.To, owner)
		}
	}
}

// mtus warns of interfaces which carry IPv6 with an MTU too small for it: RFC 8200, section 5.
func (k *checker) mtus() {
	carries := map[string]bool{}
	for _, r := range k.cfg.Routes {
		carries[r.Interface] = carries[r.Interface] || r.To.Addr().Is6()
	}
	for i := range k.cfg.Interfaces {
		f := &k.cfg.Interfaces[i]
		six := carries[f.Name]
		for _, list := range [][]netip.Prefix{f.Address, f.Device.HostAddress, f.Device.HostRoute} {
			six = six || slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Addr().Is6() })
		}
		if six && f.MTU > 0 && f.MTU < minNICMTU {
			k.Warnf(ruleset.Key("interface", i, "mtu"), none, fmt.Sprintf("write %d or more, or remove its IPv6 addresses and routes", minNICMTU),
				"mtu = %d is too small for IPv6 (RFC 8200, section 5), which interface %q carries", f.MTU, f.Name)
		}
	}
}

// contradictions refuses inside interfaces by which a rule translates what leaves.
func (k *checker) contradictions() {
	told := map[string]bool{}
	for n := range k.cfg.NAT {
		r := &k.cfg.NAT[n]
		i := slices.IndexFunc(k.cfg.Interfaces, func(i Interface) bool { return i.Name == r.Out })
		if r.Out == "" || i < 0 || told[r.Out] || !translates(r.Action) || k.cfg.Interfaces[i].Side != Inside {
			continue
		}
		told[r.Out] = true
		k.Mistakef(ruleset.Key("interface", i, "side"), ruleset.Key("nat", n, ""), `write "outside", or leave side out`,
			`side = "inside" contradicts a rule that translates what leaves by %q`, r.Out)
	}
}
