package nat

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/ruleset"
)

// clashes checks the rules against the router's addresses and against each other. They are well formed. Nothing here
// compares each rule with each other one: unreachable rules are found by an index, overlapping networks by sorting.
func (k *checker) clashes() {
	k.ownAddresses()
	k.shadows()
	k.outsidePrefixes()
	k.insidePrefixes()
	k.tooManyPools()
}

// maxPools is how many rules with outside addresses of their own there may be: a mapping holds their number in 16 bits,
// and one is that of no rule.
const maxPools = 1<<16 - 1

func (k *checker) tooManyPools() {
	pools := map[string]bool{}
	for i := range k.cfg.Rules {
		r := &k.cfg.Rules[i]
		if r.Action != Masquerade && r.Action != SNAT {
			continue
		}
		if pools[r.Out+fmt.Sprint(r.To)] = true; len(pools) > maxPools {
			k.mistake(i, "to", "give hosts that share addresses one rule", "there are more than %d pools of outside addresses", maxPools)
			return
		}
	}
}

// ownAddresses refuses pools that have addresses of the router. A single address of an outside interface is no
// pool: translating to one's own address by its number is masquerading without the name.
func (k *checker) ownAddresses() {
	type own struct {
		addr  netip.Addr
		iface int
	}
	var all []own
	for i := range k.cfg.Interfaces {
		for _, p := range k.cfg.Interfaces[i].Addresses {
			all = append(all, own{p.Addr(), i})
		}
	}
	slices.SortFunc(all, func(a, b own) int { return a.addr.Compare(b.addr) })
	for i := range k.cfg.Rules {
		r := &k.cfg.Rules[i]
		if r.Action != SNAT && r.Action != Netmap {
			continue
		}
		key := "to"
		if r.Action == Netmap && len(r.Source) == 0 {
			key = "destination"
		}
		for n, a := range outsideRanges(r) {
			first, _ := slices.BinarySearchFunc(all, a.First, func(o own, at netip.Addr) int { return o.addr.Compare(at) })
			for _, o := range all[first:] {
				k.steps++
				if a.Last.Less(o.addr) {
					break
				}
				f := &k.cfg.Interfaces[o.iface]
				if single := a.First == a.Last && f.Outside && r.Action == SNAT; !single {
					k.Mistakef(at(i, key).Element(n), ruleset.Key("interface", o.iface, "address"),
						"leave it out of the range", "%s has the router's own address %s of %s", ruleset.Span(a), o.addr, f.Name)
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

// shadows reports rules all of whose packets earlier ones take. Two forwards of one outside endpoint, or a general one
// before a special one, are refused; of the others the router is told what they do not do.
func (k *checker) shadows() {
	var inward, outward ruleset.Index
	var inwardRules, outwardRules []int // indices in Config.Rules
	for i := range k.cfg.Rules {
		r := &k.cfg.Rules[i]
		in, out := r.positions()
		first := [2]int{-1, -1} // the earlier rule in each position
		if in {
			m := r.match(true, &k.cfg.Defaults)
			if e := inward.Find(&m); e >= 0 {
				first[0] = inwardRules[e]
			}
			if !oneToOne(r) { // these leave the router's own addresses to later rules
				inward.Add(&m)
				inwardRules = append(inwardRules, i)
			}
		}
		if out {
			m := r.match(false, &k.cfg.Defaults)
			if e := outward.Add(&m); e >= 0 {
				first[1] = outwardRules[e]
			}
			outwardRules = append(outwardRules, i)
		}
		if in && first[0] < 0 || out && first[1] < 0 {
			continue
		}
		k.shadow(max(first[0], first[1]), i)
	}
	k.steps += inward.Steps() + outward.Steps()
}

// shadow reports that rule j takes all that rule i is for.
func (k *checker) shadow(j, i int) {
	static := func(r *Rule) bool { return r.Action == DNAT || r.Action == Redirect }
	p := ruleset.Problem{
		Severity: ruleset.Warning, At: at(i, ""), Other: at(j, ""),
		Text: "the rule never applies, because an earlier one takes all that it is for", Remedy: "remove it, or put it before that one",
	}
	if static(&k.cfg.Rules[i]) && static(&k.cfg.Rules[j]) {
		p.Severity = ruleset.Mistake
	}
	k.Problems = append(k.Problems, p)
}

// network is a range of a rule.
type network struct {
	addrSpan
	rule, item int
	oneToOne   bool
	out        string
}

func oneToOne(r *Rule) bool { return r.Action == Netmap || r.Action == NPTv6 }

// outsidePrefixes refuses one-to-one maps whose outside addresses another rule uses too.
func (k *checker) outsidePrefixes() {
	var all []network
	for i := range k.cfg.Rules {
		r := &k.cfg.Rules[i]
		for n, a := range outsideRanges(r) {
			all = append(all, network{spanOf(a), i, n, oneToOne(r), ""})
		}
	}
	k.overlaps(all, func(later, earlier network) {
		key := "to"
		if r := &k.cfg.Rules[later.rule]; r.Action == Netmap && len(r.Source) == 0 {
			key = "destination"
		}
		k.Mistakef(at(later.rule, key).Element(later.item), at(earlier.rule, ""), "write addresses that no other rule has",
			"%s and %s overlap, and one of them is mapped one to one", later.shown(), earlier.shown())
	})
}

// insidePrefixes refuses nptv6 and netmap rules that map one inside prefix twice by one interface.
func (k *checker) insidePrefixes() {
	var all []network
	for i := range k.cfg.Rules {
		if r := &k.cfg.Rules[i]; oneToOne(r) {
			for n, a := range r.Source {
				all = append(all, network{spanOf(a), i, n, true, r.Out})
			}
		}
	}
	byOut := map[string][]network{}
	for _, n := range all {
		byOut[n.out] = append(byOut[n.out], n)
	}
	for _, i := range append([]Interface{{}}, k.cfg.Interfaces...) {
		k.overlaps(byOut[i.Name], func(later, earlier network) {
			k.Mistakef(at(later.rule, "source").Element(later.item), at(earlier.rule, ""), "write another network, or another out",
				"%s and %s are inside prefixes of two maps", later.shown(), earlier.shown())
		})
	}
}

func (n network) shown() ruleset.Span {
	return ruleset.Span{First: netip.AddrFrom16(n.first.bytes()).Unmap(), Last: netip.AddrFrom16(n.last.bytes()).Unmap()}
}

// overlaps calls found for networks that share an address with one of another rule, where one of the two is mapped one
// to one: at least once for each overlap of a network with what begins before it.
func (k *checker) overlaps(all []network, found func(later, earlier network)) {
	slices.SortFunc(all, func(a, b network) int {
		switch {
		case a.first.less(b.first):
			return -1
		case b.first.less(a.first):
			return 1
		}
		return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.item, b.item))
	})
	// Of what began before, the two that reach furthest, of different rules: of all, and of the one-to-one ones.
	var any, mapped reach
	for _, n := range all {
		k.steps++
		r := &mapped
		if n.oneToOne {
			r = &any
		}
		if o, ok := r.beyond(&n); ok {
			if n.rule > o.rule {
				found(n, o)
			} else {
				found(o, n)
			}
		}
		any.add(n)
		if n.oneToOne {
			mapped.add(n)
		}
	}
}

// reach is the network that ends last, and the one of another rule that ends last.
type reach struct {
	best, second network
	n            int
}

func (r *reach) add(n network) {
	switch {
	case r.n == 0:
		r.best, r.n = n, 1
	case n.rule == r.best.rule:
		if r.best.last.less(n.last) {
			r.best = n
		}
	case r.best.last.less(n.last):
		r.best, r.second, r.n = n, r.best, 2
	case r.n == 1 || r.second.last.less(n.last):
		r.second, r.n = n, 2
	}
}

// beyond returns a network of another rule than n's that reaches n.
func (r *reach) beyond(n *network) (o network, ok bool) {
	if r.n > 0 && r.best.rule != n.rule && !r.best.last.less(n.first) {
		return r.best, true
	}
	if r.n > 1 && r.second.rule != n.rule && !r.second.last.less(n.first) {
		return r.second, true
	}
	return o, false
}
