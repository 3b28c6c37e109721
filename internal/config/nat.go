package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
)

// natActions are the words of a rule's action.
var natActions = []word[nat.Action]{
	{"masquerade", nat.Masquerade},
	{"snat", nat.SNAT},
	{"dnat", nat.DNAT},
	{"redirect", nat.Redirect},
	{"netmap", nat.Netmap},
	{"nptv6", nat.NPTv6},
	{"accept", nat.Accept},
}

// shape says which keys a rule with an action must have and may not have. Those that all rules may have aren't named.
type shape struct {
	name    string
	needs   []remedy
	refuses []remedy
}

// article returns the name with its article.
func (s shape) article() string {
	if strings.ContainsRune("aeiou", rune(s.name[0])) || s.name == "nptv6" {
		return "an " + s.name
	}
	return "a " + s.name
}

// remedy is a key, and what to write when it is missing or out of place.
type remedy struct{ key, text string }

// Why an action refuses a key.
var (
	noOut      = remedy{"out", "the way out isn't known before routing: use in"}
	noToPort   = remedy{"to_port", `write the port in to, as in "10.77.1.2:80"`}
	noMapping  = remedy{"mapping", "mappings belong to masquerade and snat: remove it"}
	noFilter   = remedy{"filtering", "filtering belongs to masquerade and snat: remove it"}
	noHairpin  = remedy{"hairpin", "nothing is translated to an outside address here: remove it"}
	noChange   = remedy{"on_address_change", "only masquerade follows an address that changes: remove it"}
	noStateful = []remedy{noMapping, noFilter, noChange}
)

var shapes = map[nat.Action]shape{
	nat.Masquerade: {"masquerade",
		[]remedy{{"out", `name the outside interface, as in out = "wan0"`}},
		[]remedy{{"to", `masquerade takes the address of the out interface: remove to, or write action = "snat"`}}},
	nat.SNAT: {"snat",
		[]remedy{{"to", `write the outside address or pool, as in to = ["198.51.100.0/27"]`}},
		[]remedy{noChange}},
	nat.DNAT: {"dnat",
		[]remedy{{"to", `write the inside target, as in to = "10.77.1.2:80"`}},
		append([]remedy{noOut, noToPort}, noStateful...)},
	nat.Redirect: {"redirect", nil,
		append([]remedy{noOut, {"to_port", `write the port in to, as in ":3128"`}, noHairpin}, noStateful...)},
	nat.Netmap: {"netmap",
		[]remedy{
			{"out", `name the outside interface, as in out = "wan0"`},
			{"source", `write the inside network, as in source = "10.77.1.0/24"`},
			{"to", `write the outside network of the same size, as in to = "203.0.113.0/24"`},
		},
		append([]remedy{{"to_port", "netmap keeps ports: remove it"}}, noStateful...)},
	nat.NPTv6: {"nptv6",
		[]remedy{
			{"out", `name the outside interface, as in out = "wan0"`},
			{"source", `write the inside prefix, as in source = "fd77:1:2::/48"`},
			{"to", `write the outside prefix of the same length, as in to = "2001:db8:77::/48"`},
		},
		append([]remedy{
			{"to_port", "nptv6 keeps ports: remove it"},
			{"protocol", "nptv6 translates prefixes whatever the protocol (RFC 6296): remove it"},
			{"port", "nptv6 translates prefixes whatever the port (RFC 6296): remove it"},
		}, noStateful...)},
	nat.Accept: {"accept", nil, append([]remedy{
		{"to", "accept leaves packets as they are: remove it"},
		{"to_port", "accept leaves packets as they are: remove it"},
		noHairpin,
	}, noStateful...)},
}

// natRule builds one [[nat]].
func (b *builder) natRule(t *table) nat.Rule {
	m := b.match(t)
	r := nat.Rule{
		Action:       value[nat.Action](t, "action"),
		In:           value[string](t, "in"),
		Out:          value[string](t, "out"),
		Source:       m.source,
		Destination:  m.destination,
		Proto:        m.proto,
		Ports:        m.ports,
		Mapping:      value[nat.Behaviour](t, "mapping"),
		Filtering:    value[nat.Behaviour](t, "filtering"),
		Hairpin:      value[nat.Switch](t, "hairpin"),
		KeepOnChange: value[string](t, "on_address_change") == "keep",
		Line:         t.mark.line,
	}
	b.iface(t, "in")
	out := b.iface(t, "out")
	b.warnBehaviour(t)
	s, known := shapes[r.Action]
	if !known {
		return r // its action is missing or unknown, and reported
	}
	ready := b.checkShape(t, s)
	to := b.targets(t, &r)
	if out != nil && !slices.ContainsFunc(s.refuses, func(k remedy) bool { return k.key == "out" }) && r.Action != nat.Accept {
		if out.outsideBy == 0 {
			out.outsideBy = r.Line
		}
	}
	if !ready {
		return r
	}
	switch r.Action {
	case nat.Masquerade:
		b.checkMasquerade(t, r, out)
	case nat.SNAT, nat.DNAT, nat.Redirect:
		b.checkTarget(t, r, to)
	case nat.Netmap, nat.NPTv6:
		b.checkPrefixes(t, r, to)
	}
	return r
}

// checkShape reports keys that the action needs and the rule lacks, and those that have no meaning in it.
func (b *builder) checkShape(t *table, s shape) bool {
	ok := true
	for _, k := range s.needs {
		if !t.has(k.key) {
			b.errorf(t.mark.line, "%s rule needs %s: %s", s.article(), k.key, k.text)
			ok = false
		}
	}
	for _, k := range s.refuses {
		if t.has(k.key) {
			b.errorf(t.line(k.key), "%s has no meaning in %s rule: %s", k.key, s.article(), k.text)
			ok = false
		}
	}
	return ok
}

// targets reads to and to_port into the rule.
func (b *builder) targets(t *table, r *nat.Rule) []target {
	to := slices.Clone(value[list[target]](t, "to"))
	for i := range to {
		to[i].line = t.item("to", i)
		if to[i].hasAddr() {
			r.To = append(r.To, to[i].addrs)
		}
		if to[i].hasPorts() && len(r.ToPorts) == 0 {
			r.ToPorts = []conntrack.PortRange{to[i].ports}
		}
		for _, a := range []netip.Addr{to[i].addrs.First, to[i].addrs.Last} {
			if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
				b.errorf(to[i].line, "to: %q can't be translated to: write addresses of hosts", to[i].text)
				break
			}
		}
	}
	if p := value[portList](t, "to_port"); len(p) > 0 {
		if t.has("protocol") {
			b.needPorts(t, "to_port", r.Proto)
		}
		r.ToPorts = p
	}
	return to
}

// checkMasquerade reports a masquerade whose interface has no address to give.
func (b *builder) checkMasquerade(t *table, r nat.Rule, out *port) {
	if out == nil {
		return
	}
	var has families
	for _, p := range value[list[netip.Prefix]](out.table, "address") {
		has = has.add(p.Addr())
	}
	wants := familiesOf(r.Source)
	name := value[string](out.table, "name")
	switch {
	case out.table.has("address") && has.none(): // not readable, and reported
	case has.none():
		b.errorf(t.line("out"), "interface %q has no address to masquerade with: add address = [\"203.0.113.1/24\"] to it", name)
	case !wants.none() && !wants.meet(has):
		b.errorf(t.line("source"), "source is %s, but interface %q has only an %s address: add one to it", wants, name, has)
	case wants.v4 && !has.v4, wants.v6 && !has.v6:
		b.warnf(t.line("source"), "source is %s, but interface %q has only an %s address: the others leave untranslated or not at all; add an address to it",
			wants, name, has)
	}
}

// checkTarget reports what can't be the to of a snat, dnat or redirect rule.
func (b *builder) checkTarget(t *table, r nat.Rule, to []target) {
	if r.Action == nat.DNAT && !t.has("in") && !t.has("destination") {
		b.errorf(t.mark.line, `this dnat rule catches every connection: add destination = "203.0.113.1", or in = "wan0"`)
	}
	b.sameFamily(t, "to", familiesOf(r.To), "source", familiesOf(r.Source))
	b.sameFamily(t, "to", familiesOf(r.To), "protocol", protocolFamilies(r.Proto))
	if r.Action == nat.DNAT {
		b.sameFamily(t, "to", familiesOf(r.To), "destination", familiesOf(r.Destination))
	}
	if r.Action != nat.SNAT && len(r.ToPorts) > 0 {
		b.needPorts(t, "to", r.Proto)
	}
	var seen families
	for i, g := range to {
		switch {
		case r.Action == nat.SNAT && g.hasPorts():
			b.errorf(g.line, "to: %q has a port: a snat rule has its outside ports in to_port", g.text)
		case r.Action == nat.Redirect && g.hasAddr():
			b.errorf(g.line, `to: %q has an address: redirect goes to the router's own, write ":3128", or action = "dnat"`, g.text)
		case r.Action == nat.Redirect && i > 0:
			b.errorf(g.line, `to: redirect takes one port or range: remove %q, or write ":3128-3130"`, g.text)
		case r.Action == nat.DNAT && !g.hasAddr():
			b.errorf(g.line, `to: %q has no address: write one, as in "10.77.1.2%s", or action = "redirect"`, g.text, g.text)
		case r.Action == nat.DNAT && !g.single():
			b.errorf(g.line, `to: %q is several hosts: write one address; action = "netmap" maps networks`, g.text)
		case r.Action == nat.DNAT && (families{g.addrs.First.Is4(), g.addrs.First.Is6()}).meet(seen):
			b.errorf(g.line, "to: dnat takes one target a family: remove %q, or write a rule of its own for it", g.text)
		case r.Action == nat.DNAT && to[0].hasAddr() && g.ports != to[0].ports:
			b.errorf(g.line, "to: %q has other ports than %q: write a rule for each family", g.text, to[0].text)
		}
		if g.hasAddr() {
			seen = seen.add(g.addrs.First)
		}
	}
}

// checkPrefixes reports what can't be mapped one to one in a netmap or nptv6 rule.
func (b *builder) checkPrefixes(t *table, r nat.Rule, to []target) {
	name := shapes[r.Action].name
	for _, g := range to {
		if g.hasPorts() {
			b.errorf(g.line, "to: %q has a port: %s maps addresses only, write a network", g.text, name)
			return
		}
	}
	inside, ok := b.onePerFamily(t, "source", r.Source)
	outside, ok2 := b.onePerFamily(t, "to", r.To)
	if !ok || !ok2 {
		return
	}
	for i, in := range inside {
		out, family := outside[i], [2]string{"IPv4", "IPv6"}[i]
		switch {
		case !in.IsValid() && !out.IsValid():
		case r.Action == nat.NPTv6 && i == 0:
			b.errorf(t.line("to"), `nptv6 translates IPv6 only: write action = "netmap" for IPv4`)
		case !in.IsValid() || !out.IsValid():
			b.errorf(t.line("to"), "source and to need a network of each family or of none, and one of them lacks %s: add it", family)
		case in.Bits() != out.Bits():
			b.errorf(t.line("to"), "%s maps one to one, and %s in source (line %d) and %s differ in size: write two of the same length",
				name, in, t.line("source"), out)
		case in.Overlaps(out):
			b.errorf(t.line("to"), "%s would map %s onto itself: write another network in to", name, in)
		case r.Action == nat.NPTv6 && in.Bits() > 64:
			b.errorf(t.line("to"), "nptv6 takes prefixes of at most /64 (RFC 6296, section 3.5), not /%d: write shorter ones", in.Bits())
		}
	}
}

// onePerFamily returns the IPv4 and the IPv6 network of a key; either may be missing.
func (b *builder) onePerFamily(t *table, name string, ranges []conntrack.AddrRange) (nets [2]netip.Prefix, ok bool) {
	for i, r := range ranges {
		p, isNet := rangePrefix(r)
		family := 0
		if r.First.Is6() {
			family = 1
		}
		switch {
		case !isNet:
			b.errorf(t.item(name, i), `%s: %s-%s is no network: write one, as in "10.77.1.0/24"`, name, r.First, r.Last)
			return nets, false
		case nets[family].IsValid():
			b.errorf(t.item(name, i), "%s: one network a family: write a rule of its own for %s", name, p)
			return nets, false
		}
		nets[family] = p
	}
	return nets, true
}

// checkTargets warns of dnat targets that nothing leads to.
func (b *builder) checkTargets(cfg *router.Config, tables []*table) {
	reached := func(a netip.Addr) bool {
		for _, i := range cfg.Interfaces {
			if slices.ContainsFunc(i.Address, func(p netip.Prefix) bool { return p.Contains(a) }) {
				return true
			}
		}
		return slices.ContainsFunc(cfg.Routes, func(r router.Route) bool { return r.To.Contains(a) })
	}
	for n, r := range cfg.NAT {
		for i, to := range r.To {
			if r.Action == nat.DNAT && !reached(to.First) {
				b.warnf(tables[n].item("to", i), "to: no route leads to %s: add a [[route]] to it", to.First)
			}
		}
	}
}
