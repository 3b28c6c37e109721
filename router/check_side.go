package router

import (
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/ruleset"
)

// translates reports whether a rule gives what leaves an outside source.
func translates(a nat.Action) bool {
	return a == nat.Masquerade || a == nat.SNAT || a == nat.Netmap || a == nat.NPTv6
}

// forwards reports whether a rule leads what comes from outside to a host.
func forwards(r *nat.Rule) bool { return r.Action == nat.DNAT || r.Action == nat.Redirect }

// sides warns of sides by which strangers get in, or by which nobody gets out.
func (k *checker) sides() {
	var inside, outside int
	for i := range k.cfg.Interfaces {
		if k.ways.outside(i) {
			outside++
		} else {
			inside++
		}
	}
	at := ruleset.Key("interface", 0, "side")
	switch {
	case inside+outside < 2:
	case outside == 0 && k.cfg.Filter.Forward == FilterAccept:
		k.Warnf(at, none, `write side = "outside" at the interface where strangers are, or forward = "drop" in [filter] and rules for what may begin`,
			"no interface is outside, so hosts behind any of them may begin connections to those behind all others")
	case inside == 0 && !slices.ContainsFunc(k.cfg.Filter.Rules, func(r FilterRule) bool { return r.Action == FilterAccept }) &&
		!slices.ContainsFunc(k.cfg.NAT, func(r nat.Rule) bool { return forwards(&r) || r.Action == nat.Netmap }):
		k.Warnf(at, none, `write side = "inside" where your own hosts are`, "no interface is inside, so nobody may begin a connection")
	}
}

// wayOut warns where hosts inside can't reach what is outside: no route leads there, or nothing translates them.
func (k *checker) wayOut() {
	for _, f := range []ruleset.Families{{V4: true}, {V6: true}} {
		k.routeOut(f)
		k.untranslated(f)
	}
}

// everywhere is all addresses of a family.
func everywhere(f ruleset.Families) netip.Prefix {
	if f.V4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// networks returns the networks of a family that the interfaces of one side have.
func (k *checker) networks(f ruleset.Families, side Side) (list []netip.Prefix) {
	for i := range k.cfg.Interfaces {
		for _, p := range k.cfg.Interfaces[i].Address {
			if k.cfg.Interfaces[i].Side == side && f.Has(p.Addr()) {
				list = append(list, p.Masked())
			}
		}
	}
	return list
}

// routeOut warns of a family whose hosts inside reach no more outside than the networks of the interfaces themselves. A
// configuration that translates for named destinations only, means that.
func (k *checker) routeOut(f ruleset.Families) {
	near := k.networks(f, Outside)
	if len(k.networks(f, Inside)) == 0 || len(near) == 0 {
		return
	}
	if slices.ContainsFunc(k.cfg.Routes, func(r Route) bool { return f.Has(r.To.Addr()) && k.ways.outside(k.ways.index[r.Interface]) }) {
		return
	}
	named := func(r nat.Rule) bool { return translates(r.Action) && len(r.Destination) > 0 }
	if slices.ContainsFunc(k.cfg.NAT, named) {
		return
	}
	i := slices.IndexFunc(k.cfg.Interfaces, func(i Interface) bool { return i.Side == Outside })
	k.Warnf(ruleset.Key("interface", i, ""), none, "add a [[route]] with to = \""+everywhere(f).String()+"\" and interface = "+k.ways.name(i),
		"no route of %s leads outside, so hosts inside reach only %s", f, near[0])
}

// untranslated warns of a configuration that translates nothing of a family though its hosts inside have private
// addresses: what they send outside is dropped. With forwards it may be meant: only answers leave then.
func (k *checker) untranslated(f ruleset.Families) {
	private := func(p netip.Prefix) bool { return p.Addr().IsPrivate() }
	inside := k.networks(f, Inside)
	if !slices.ContainsFunc(inside, private) || len(k.networks(f, Outside)) == 0 {
		return
	}
	for i := range k.cfg.NAT {
		r := &k.cfg.NAT[i]
		if forwards(r) || r.Action == nat.Accept || translates(r.Action) && f.And(k.families(r)) == f {
			return
		}
	}
	n := slices.IndexFunc(inside, private)
	i := slices.IndexFunc(k.cfg.Interfaces, func(i Interface) bool { return i.Side == Outside })
	k.Warnf(ruleset.Key("interface", i, ""), none, "add a [[nat]] rule with action = \"masquerade\" and out = "+k.ways.name(i),
		"no rule translates %s towards %s, so what %s sends there is dropped, since its addresses mean nothing outside", f, k.ways.name(i), inside[n])
}

// families returns the families in which a nat rule does something.
func (k *checker) families(r *nat.Rule) ruleset.Families {
	f := ruleset.FamiliesOf(ruleset.Spans(r.Source)).And(ruleset.ProtocolFamilies(r.Proto))
	if len(r.To) > 0 {
		f = f.And(ruleset.FamiliesOf(ruleset.Spans(r.To)))
	}
	if r.Action != nat.Netmap {
		f = f.And(ruleset.FamiliesOf(ruleset.Spans(r.Destination)))
	}
	return f
}
