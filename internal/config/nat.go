package config

import (
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
)

// natActions are the words of a rule's action.
var natActions = func() (words []word[nat.Action]) {
	for _, a := range []nat.Action{nat.Masquerade, nat.SNAT, nat.DNAT, nat.Redirect, nat.Netmap, nat.NPTv6, nat.Accept} {
		words = append(words, word[nat.Action]{a.String(), a})
	}
	return words
}()

// natRule builds one [[nat]]. What it may say is for package nat to check: see check. Here are the mistakes that a
// [nat.Rule] can't express.
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
	b.warnBehaviour(t)
	b.targets(t, &r)
	if p := b.interfaces[r.Out]; p != nil && p.outsideBy == 0 && translatesSource(r.Action) {
		p.outsideBy = r.Line
	}
	return r
}

// translatesSource reports whether what leaves by a rule's out interface gets an outside source.
func translatesSource(a nat.Action) bool {
	return slices.Contains([]nat.Action{nat.Masquerade, nat.SNAT, nat.Netmap, nat.NPTv6}, a)
}

// targets reads to and to_port into the rule, and reports what stands in the wrong one of the two.
func (b *builder) targets(t *table, r *nat.Rule) {
	var first *target
	var hosts []netip.Addr
	to := slices.Clone(value[list[target]](t, "to"))
	for i := range to {
		g := &to[i]
		g.line = t.item("to", i)
		if g.hasAddr() {
			r.To = append(r.To, g.addrs)
		}
		if g.hasPorts() && len(r.ToPorts) == 0 && (r.Action == nat.DNAT || r.Action == nat.Redirect) {
			r.ToPorts = []conntrack.PortRange{g.ports}
		}
		switch r.Action {
		case nat.DNAT:
			b.dnatTarget(g, first, hosts)
		case nat.Redirect:
			if i > 0 {
				b.errorf(g.line, `to: redirect takes one port or range: remove %q, or write ":3128-3130"`, g.text)
			}
		case nat.SNAT, nat.Masquerade:
			if g.hasPorts() {
				b.errorf(g.line, "to: %q has a port: a %s rule has its outside ports in to_port", g.text, r.Action)
			}
		case nat.Netmap, nat.NPTv6:
			if g.hasPorts() {
				b.errorf(g.line, "to: %q has a port: %s maps addresses only, write a network", g.text, r.Action)
			}
		}
		if first == nil {
			first = g
		}
		hosts = append(hosts, g.addrs.First)
	}
	if len(r.ToPorts) > 0 {
		b.needPorts(t, "to")
	}
	b.toPort(t, r)
}

// dnatTarget reports a target that dnat can't have, or not beside the first one and the hosts before it.
func (b *builder) dnatTarget(g, first *target, hosts []netip.Addr) {
	sameFamily := func(a netip.Addr) bool { return a.IsValid() && a.Is4() == g.addrs.First.Is4() }
	switch {
	case !g.hasAddr():
		b.errorf(g.line, `to: %q has no address: write one, as in "10.77.1.2%s", or action = "redirect"`, g.text, g.text)
	case !g.single():
		b.errorf(g.line, `to: %q is several hosts: write one address; action = "netmap" maps networks`, g.text)
	case slices.ContainsFunc(hosts, sameFamily):
		b.errorf(g.line, "to: dnat takes one target a family: remove %q, or write a rule of its own for it", g.text)
	case first != nil && first.hasAddr() && g.ports != first.ports:
		b.errorf(g.line, "to: %q has other ports than %q: write a rule for each family", g.text, first.text)
	}
}

// toPort reads to_port.
func (b *builder) toPort(t *table, r *nat.Rule) {
	p := value[portList](t, "to_port")
	switch {
	case len(p) == 0:
	case r.Action == nat.DNAT || r.Action == nat.Redirect:
		b.errorf(t.line("to_port"), `to_port has no meaning in a %s rule: write the port in to, as in "10.77.1.2:80" or ":3128"`, r.Action)
	default:
		r.ToPorts = p
	}
}
