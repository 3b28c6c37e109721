package nat

import (
	"net/netip"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/ruleset"
)

// check says what is wrong with a configuration: what can't mean anything, and rules that clash.
func check(cfg *Config) *checker {
	k := &checker{cfg: cfg}
	k.interfaces()
	k.defaults()
	names := cfg.interfaceNames()
	for i := range cfg.Rules {
		k.rule(i, &cfg.Rules[i], names)
	}
	if k.Err() == nil { // clashes of broken rules say nothing
		k.clashes()
	}
	return k
}

func (k *checker) interfaces() {
	seen := map[string]int{}
	for i, f := range k.cfg.Interfaces {
		if first, twice := seen[f.Name]; twice {
			k.Mistakef(ruleset.Key("interface", i, "name"), ruleset.Key("interface", first, "name"),
				"give this one another name, or put its keys there", "interface %q stands already", f.Name)
			continue
		}
		seen[f.Name] = i
	}
}

func (k *checker) defaults() {
	if r := k.cfg.Defaults.PortRange; r.First > r.Last || r.First < 1024 {
		k.Mistakef(ruleset.Place{Table: "nat_defaults", Index: -1, Key: "port_range"}, none,
			`write one as in "1024-65535"`,
			"port_range %d-%d must lie in 1024-65535, since ports below 1024 are a class of their own (RFC 4787 REQ-3)", r.First, r.Last)
	}
}

// rule checks one rule by itself.
func (k *checker) rule(i int, r *Rule, names []string) {
	known := true
	for _, use := range []struct{ key, name string }{{"in", r.In}, {"out", r.Out}} {
		if use.name != "" && interfaceIndex(k.cfg.Interfaces, use.name) < 0 {
			k.mistake(i, use.key, ruleset.Suggest(use.name, names), "no [[interface]] has the name %q", use.name)
			known = false
		}
	}
	before := len(k.Problems)
	m := r.match(true, &k.cfg.Defaults)
	m.Source, m.Destination = ruleset.Spans(r.Source), ruleset.Spans(r.Destination)
	m.Check(&k.Problems, func(key string) ruleset.Place { return at(i, key) })
	ruleset.CheckSpans(&k.Problems, at(i, "to"), ruleset.Spans(r.To))
	ruleset.CheckPorts(&k.Problems, at(i, "to_port"), ruleset.PortSpans(r.ToPorts))
	wellFormed := len(k.Problems) == before
	if !k.shape(i, r) || !wellFormed {
		return
	}
	if !oneToOne(r) {
		k.targets(i, r)
	}
	switch r.Action {
	case Masquerade:
		if known {
			k.masquerade(i, r)
		}
	case SNAT, DNAT:
		k.translated(i, r)
	case Netmap, NPTv6:
		k.prefixes(i, r)
	}
	if r.Action == DNAT || r.Action == Redirect {
		k.static(i, r)
	}
	if len(r.ToPorts) > 0 && r.Proto != 0 && !hasPorts(r.Proto) {
		k.mistake(i, "to_port", `remove the port, or write a protocol such as "tcp"`, "protocol %q has no ports", ruleset.ProtocolName(r.Proto))
	}
}

// targets reports addresses that no host has.
func (k *checker) targets(i int, r *Rule) {
	for n, a := range r.To {
		for _, end := range []netip.Addr{a.First, a.Last} {
			if special(end) && !end.IsUnspecified() {
				k.Warnf(at(i, "to").Element(n), none, "write addresses of hosts", "to: nothing is forwarded to %s", ruleset.Span(a))
				break
			}
			if end.IsUnspecified() || end.IsMulticast() {
				k.Mistakef(at(i, "to").Element(n), none, "write addresses of hosts", "to: %s can't be translated to", ruleset.Span(a))
				break
			}
		}
	}
}

// special reports whether an address is of this network, loopback or class E, which nobody forwards to (RFC 6890, table 1).
func special(a netip.Addr) bool {
	first := a.As16()[12]
	return a.IsLoopback() || a.Is4() && (first == 0 || first >= 240)
}

// masquerade warns of an interface that has no address to give. It may get one while the router runs.
func (k *checker) masquerade(i int, r *Rule) {
	var has ruleset.Families
	for _, p := range k.cfg.Interfaces[interfaceIndex(k.cfg.Interfaces, r.Out)].Addresses {
		has = has.With(p.Addr())
	}
	wants := ruleset.FamiliesOf(ruleset.Spans(r.Source))
	switch {
	case has.None():
		k.Warnf(at(i, "out"), none, `add address = ["203.0.113.1/24"] to it`, "interface %q has no address to masquerade with", r.Out)
	case wants.And(has).None():
		k.Warnf(at(i, "source"), none, "add one to it", "source is %s, but interface %q has only an %s address", wants, r.Out, has)
	case len(r.Source) > 0 && wants.And(has) != wants:
		k.Warnf(at(i, "source"), none, "add an address to it",
			"source is %s, but interface %q has only an %s address, so the others leave untranslated or not at all", wants, r.Out, has)
	}
}

// translated reports targets in another family than what they are for.
func (k *checker) translated(i int, r *Rule) {
	to := ruleset.FamiliesOf(ruleset.Spans(r.To))
	sides := []struct {
		key      string
		families ruleset.Families
	}{
		{"source", ruleset.FamiliesOf(ruleset.Spans(r.Source))},
		{"protocol", ruleset.ProtocolFamilies(r.Proto)},
		{"destination", ruleset.FamiliesOf(ruleset.Spans(r.Destination))},
	}
	if r.Action == SNAT {
		sides = sides[:2] // its destination has been translated, and netmap may do that
	}
	for _, s := range sides {
		if !overlapping(to, s.families) {
			k.mistake(i, "to", "write both in one family", "to is %s and %s is %s, so the rule does nothing", to, s.key, s.families)
		}
	}
}

// static checks dnat and redirect.
func (k *checker) static(i int, r *Rule) {
	if r.Action == DNAT && r.In == "" && len(r.Destination) == 0 && len(r.Source) == 0 && r.Proto == 0 {
		k.mistake(i, "", `add destination = "203.0.113.1", or in = "wan0"`, "this dnat rule catches every connection")
	}
	if r.Action == Redirect && len(r.To) > 0 {
		k.Mistakef(at(i, "to").Element(0), none, `write the port alone, as in ":3128", or action = "dnat"`,
			"to: %s is an address, and redirect goes to the router's own", ruleset.Span(r.To[0]))
	}
	from, to := portCount(r.Ports), portCount(r.ToPorts)
	if from > 1 && to > 1 && from != to {
		k.mistake(i, "to", "write ranges of one size, or a single port in to", "%d ports can't be shifted to %d", from, to)
	}
}

// maxNPTv6 is the longest prefix that can be mapped without touching the checksum (RFC 6296, section 3.5, leaves
// room in the interface identifier).
const maxNPTv6 = 64

// prefixes checks netmap and nptv6.
func (k *checker) prefixes(i int, r *Rule) {
	inside, key := r.Source, "source"
	if len(inside) == 0 {
		inside, key = r.Destination, "destination"
	}
	switch {
	case len(r.Source) > 0 && len(r.Destination) > 0:
		k.mistake(i, "destination", "remove destination: the other side is to", "%s rule has source or destination, not both", r.Action.article())
	case len(inside) == 0:
		k.mistake(i, "source", `write the inside network, as in source = "10.77.1.0/24"`, "%s rule needs source", r.Action.article())
	case len(inside) != len(r.To):
		k.mistake(i, "to", "write as many networks in both, pair by pair", "%d networks in %s can't be mapped to %d in to", len(inside), key, len(r.To))
	default:
		for n := range inside {
			k.prefixPair(i, n, r, inside[n], r.To[n])
		}
	}
}

func (k *checker) prefixPair(i, n int, r *Rule, a, b conntrack.AddrRange) {
	to, in, out := at(i, "to").Element(n), ruleset.Span(a), ruleset.Span(b)
	bitsA, okA := prefixBits(a)
	bitsB, okB := prefixBits(b)
	switch {
	case a.First.Is4() != b.First.Is4():
		k.Mistakef(to, none, "write pairs of one family", "%s and %s are of two families", in, out)
	case in.Overlaps(out):
		k.Mistakef(to, none, "write another network in to", "%s would map %s onto itself", r.Action, in)
	case r.Action == Netmap && spanOf(a).last.sub(spanOf(a).first) != spanOf(b).last.sub(spanOf(b).first):
		k.Mistakef(to, none, "write two of the same length", "netmap maps one to one, and %s and %s differ in size", in, out)
	case r.Action == Netmap:
	case a.First.Is4():
		k.Mistakef(to, none, `write action = "netmap" for IPv4`, "nptv6 translates IPv6 only")
	case !okA || !okB:
		k.Mistakef(to, none, "write prefixes", "nptv6 maps prefixes, and %s or %s is none", in, out)
	case bitsA != bitsB:
		k.Mistakef(to, none, "write two of the same length", "nptv6 maps one to one, and %s and %s differ in size", in, out)
	case bitsA > maxNPTv6:
		k.Mistakef(to, none, "write shorter ones", "nptv6 takes prefixes of at most /%d (RFC 6296, section 3.5), not /%d", maxNPTv6, bitsA)
	}
}

// prefixBits returns the length of the prefix that a range is; ok is false where it is none.
func prefixBits(r conntrack.AddrRange) (bits int, ok bool) {
	p, ok := ruleset.Span(r).Prefix()
	return p.Bits(), ok
}
