package nat

import (
	"slices"
	"strings"

	"github.com/natrouter/natrouter/router/ruleset"
)

// names are the words for actions, as in the configuration file.
var names = map[Action]string{
	Masquerade: "masquerade", SNAT: "snat", DNAT: "dnat", Redirect: "redirect", Netmap: "netmap", NPTv6: "nptv6", Accept: "accept",
}

// String returns the word for an action, as in the configuration file.
func (a Action) String() string { return names[a] }

// article returns the action's word with its article.
func (a Action) article() string {
	if a == NPTv6 || strings.ContainsRune("aeiou", rune(names[a][0])) {
		return "an " + names[a]
	}
	return "a " + names[a]
}

// remedy is a key, and what to write when it is missing or out of place.
type remedy struct{ key, text string }

// Why an action refuses a key.
var (
	noMapping  = remedy{"mapping", "mappings belong to masquerade and snat: remove it"}
	noFilter   = remedy{"filtering", "filtering belongs to masquerade and snat: remove it"}
	noHairpin  = remedy{"hairpin", "nothing is translated to an outside address here: remove it"}
	noChange   = remedy{"on_address_change", "only masquerade follows an address that changes: remove it"}
	noOut      = remedy{"out", "the way out isn't known before routing: use in"}
	noStateful = []remedy{noMapping, noFilter, noChange}
)

// shape says which keys a rule with an action must have and may not have. Those that all rules may have aren't named.
type shape struct{ needs, refuses []remedy }

var shapes = map[Action]shape{
	Masquerade: {
		needs:   []remedy{{"out", `name the outside interface, as in out = "wan0"`}},
		refuses: []remedy{{"to", `masquerade takes the address of the out interface: remove to, or write action = "snat"`}},
	},
	SNAT: {
		needs:   []remedy{{"to", `write the outside address or pool, as in to = ["198.51.100.0/27"]`}},
		refuses: []remedy{noChange},
	},
	DNAT: {
		needs:   []remedy{{"to", `write the inside target, as in to = "10.77.1.2:80"`}},
		refuses: append([]remedy{noOut}, noStateful...),
	},
	Redirect: {
		refuses: append([]remedy{noOut, noHairpin}, noStateful...),
	},
	Netmap: {
		needs:   []remedy{{"to", `write the outside network of the same size, as in to = "203.0.113.0/24"`}},
		refuses: append([]remedy{{"to_port", "netmap keeps ports: remove it"}}, noStateful...),
	},
	NPTv6: {
		needs: []remedy{
			{"out", `name the outside interface, as in out = "wan0"`},
			{"source", `write the inside prefix, as in source = "fd77:1:2::/48"`},
			{"to", `write the outside prefix of the same length, as in to = "2001:db8:77::/48"`},
		},
		refuses: append([]remedy{
			{"to_port", "nptv6 keeps ports: remove it"},
			{"protocol", "nptv6 translates prefixes whatever the protocol (RFC 6296): remove it"},
			{"port", "nptv6 translates prefixes whatever the port (RFC 6296): remove it"},
		}, noStateful...),
	},
	Accept: {
		refuses: append([]remedy{
			{"to", "accept leaves packets as they are: remove it"},
			{"to_port", "accept leaves packets as they are: remove it"},
			noHairpin,
		}, noStateful...),
	},
}

// has reports whether a rule sets a key.
func (r *Rule) has(key string) bool {
	switch key {
	case "in":
		return r.In != ""
	case "out":
		return r.Out != ""
	case "source":
		return len(r.Source) > 0
	case "destination":
		return len(r.Destination) > 0
	case "protocol":
		return r.Proto != 0
	case "port":
		return len(r.Ports) > 0
	case "to":
		return len(r.To) > 0
	case "to_port":
		return len(r.ToPorts) > 0
	case "mapping":
		return r.Mapping != DefaultBehaviour
	case "filtering":
		return r.Filtering != DefaultBehaviour
	case "hairpin":
		return r.Hairpin != DefaultSwitch
	case "on_address_change":
		return r.KeepOnChange
	}
	return false
}

// shape reports keys that the action needs and the rule lacks, and those that have no meaning in it. ok is false where
// there is nothing else to say of the rule.
func (k *checker) shape(i int, r *Rule) (ok bool) {
	s, known := shapes[r.Action]
	if !known {
		k.mistake(i, "action", "write masquerade, snat, dnat, redirect, netmap, nptv6 or accept", "a rule needs an action")
		return false
	}
	ok = true
	for _, need := range s.needs {
		if !r.has(need.key) {
			k.mistake(i, need.key, need.text, "%s rule needs %s", r.Action.article(), need.key)
			ok = false
		}
	}
	for _, no := range s.refuses {
		if r.has(no.key) {
			k.mistake(i, no.key, no.text, "%s has no meaning in %s rule", no.key, r.Action.article())
			ok = false
		}
	}
	return ok
}

// match is which connections a rule takes, where it stands among those before routing (inward) or after it.
func (r *Rule) match(inward bool, d *Defaults) ruleset.Match {
	m := ruleset.Match{
		In: r.In, Out: r.Out, Proto: r.Proto, Ports: ruleset.PortSpans(r.Ports),
		Source: ruleset.Spans(r.Source), Destination: ruleset.Spans(r.Destination),
	}
	m.Hairpins = inward && (r.Hairpin == On || r.Hairpin == DefaultSwitch && !d.NoHairpin)
	switch r.Action {
	case SNAT, DNAT:
		m.Acts = ruleset.FamiliesOf(ruleset.Spans(r.To))
	case Netmap, NPTv6:
		inside, outside := ruleset.Spans(r.Source), ruleset.Spans(r.To)
		in, out := r.In, r.Out
		if len(r.Source) == 0 { // written from the other side
			inside, outside, in, out = outside, ruleset.Spans(r.Destination), "", in
		}
		m.Source, m.Destination, m.In, m.Out = inside, nil, in, out
		if inward {
			m.Source, m.Destination, m.In, m.Out = nil, outside, out, ""
		}
	}
	return m
}

// positions says where a rule stands: among those asked before routing, and among those asked after it.
func (r *Rule) positions() (inward, outward bool) {
	switch r.Action {
	case DNAT, Redirect:
		return true, false
	case Netmap, NPTv6:
		return true, true
	case Accept:
		return r.Out == "", true // before routing no egress interface is known
	}
	return false, true
}

// overlapping reports whether two lists share a family.
func overlapping(a, b ruleset.Families) bool { return !a.And(b).None() }

// interfaceNames lists the names that rules may use.
func (c *Config) interfaceNames() (names []string) {
	for _, i := range c.Interfaces {
		if !slices.Contains(names, i.Name) {
			names = append(names, i.Name)
		}
	}
	return names
}
