package router

import (
	"slices"

	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/ruleset"
)

// match is which packets a filter rule takes.
func (r *FilterRule) match() ruleset.Match {
	m := ruleset.Match{
		In: r.In, Out: r.Out, Source: ruleset.Spans(r.Source), Destination: ruleset.Spans(r.Destination), Proto: r.Proto,
		Ports: ruleset.PortSpans(r.Ports), Helper: r.Helper,
	}
	for _, name := range r.State {
		m.States |= uint8(stateNames[name])
	}
	if m.States == uint8(stateNew|stateEstablished|stateRelated) {
		m.States = 0
	}
	return m
}

// filter checks filter rules by themselves and against each other.
func (k *checker) filter() {
	var names []string
	for i := range k.cfg.Interfaces {
		names = append(names, k.cfg.Interfaces[i].Name)
	}
	for i := range k.cfg.Filter.Rules {
		r := &k.cfg.Filter.Rules[i]
		for _, p := range []passage{{"in", r.In}, {"out", r.Out}} {
			if p.name != "" && !slices.Contains(names, p.name) {
				k.Mistakef(ruleset.Key("filter.rule", i, p.key), none, ruleset.Suggest(p.name, names), "no [[interface]] has the name %q", p.name)
			}
		}
		for j, s := range r.State {
			at := ruleset.Key("filter.rule", i, "state").Element(j)
			if s == "invalid" || s == "untracked" {
				k.Mistakef(at, none, "remove it", "state: %q packets are never forwarded, so no rule sees them", s)
			} else if _, ok := stateNames[s]; !ok {
				k.Mistakef(at, none, ruleset.Suggest(s, []string{"new", "established", "related"}), "state: does not know %q", s)
			}
		}
		m := r.match()
		k.Problems = append(k.Problems, k.rules.Check("filter.rule", i, &m, "")...)
	}
}

// filterRules warns of filter rules that let strangers in, and of those that the routes and helpers make useless.
func (k *checker) filterRules() {
	accepts := false
	for i := range k.cfg.Filter.Rules {
		r := &k.cfg.Filter.Rules[i]
		accepts = accepts || r.Action == FilterAccept
		at := func(key string) ruleset.Place { return ruleset.Key("filter.rule", i, key) }
		m := r.match()
		k.carried(at, m.Families(), passage{"in", r.In})
		k.carried(at, m.Families(), passage{"out", r.Out})
		if in := k.passage(r.In); in >= 0 {
			k.sources(at("source"), r.Source, r.In, func(j int) bool { return j == in }, func(int) bool { return false })
		}
		k.filtered(at, r)
		k.announced(at, r)
	}
	if k.cfg.Filter.Forward == FilterDrop && !accepts && len(k.cfg.Interfaces) > 1 {
		k.Warnf(ruleset.Place{Table: "filter", Index: -1, Key: "forward"}, none, `add a [[filter.rule]] with action = "accept", or write forward = "accept"`,
			`forward = "drop" and no rule accepts, so no connection is forwarded at all`)
	}
	k.wideOpen()
}

// filtered warns of a destination that no forwarded packet has: one of the router's own addresses. A forward has changed
// it by then.
func (k *checker) filtered(at func(string) ruleset.Place, r *FilterRule) {
	for _, d := range r.Destination {
		if _, own := k.ways.own[d.First]; !own || d.First != d.Last {
			return
		}
	}
	if len(r.Destination) > 0 {
		k.Warnf(at("destination"), none, "write the host inside to which the dnat rule leads; [filter] input is for the router itself",
			"%s is the router's own address, and rules see where a packet is forwarded to, after dnat", r.Destination[0].First)
	}
}

// announced warns of a rule for connections that no helper announces.
func (k *checker) announced(at func(string) ruleset.Place, r *FilterRule) {
	if r.Helper == "" || k.cfg.AutoHelper || slices.ContainsFunc(k.cfg.Helpers, func(h HelperRule) bool { return h.Name == r.Helper }) {
		return
	}
	k.Warnf(at("helper"), none, "add a [[helper]] with name = \""+r.Helper+"\"", "no connection has the helper %q, so the rule never applies", r.Helper)
}

// wideOpen warns of accept rules by which everybody outside may begin connections to everybody inside. One that an
// earlier rule has closed again is none.
func (k *checker) wideOpen() {
	var told []int
	for i := range k.cfg.Interfaces {
		if !k.ways.outside(i) {
			continue
		}
		for o := range k.cfg.Interfaces {
			in, out := k.cfg.Interfaces[i].Name, k.cfg.Interfaces[o].Name
			n := k.rules.Find(&ruleset.Match{In: in, Out: out, States: uint8(stateNew)})
			if k.ways.outside(o) || n < 0 || k.cfg.Filter.Rules[n].Action != FilterAccept || slices.Contains(told, n) {
				continue
			}
			told = append(told, n)
			k.Warnf(ruleset.Key("filter.rule", n, ""), none, `name a destination or a port, or write state = ["established", "related"]`,
				"everybody behind %q, which is outside, may begin connections to all hosts behind %q", in, out)
		}
	}
}

// Access says what hosts behind one interface may begin towards those behind another, as far as the configuration
// decides: a mapping may let in more.
type Access struct {
	In, Out    string // names of interfaces
	All        bool   // connections of every kind, but for what Refused takes out
	Filter     int    // index of the filter rule that decides for all that none before it took; -1: the default
	Accepted   []int  // without All: indices of the filter rules that accept some connections
	Refused    []int  // indices of the filter rules that refuse some connections
	Forwards   []int  // without All: indices of the nat rules that lead some connections there
	Translated []int  // indices of the nat rules that give what leaves by Out another source
}

// Access returns what may begin between each two interfaces, in their order. c has passed [Config.Check].
func (c *Config) Access() (list []Access) {
	k := accessor{cfg: c, forwards: make([][]int, len(c.Interfaces))}
	for i := range c.Filter.Rules {
		m := c.Filter.Rules[i].match()
		k.rules.Add(&m)
	}
	k.leads()
	for i := range c.Interfaces {
		for o := range c.Interfaces {
			if i != o {
				list = append(list, k.access(i, o))
			}
		}
	}
	return list
}

// accessor is what Access needs of all pairs.
type accessor struct {
	cfg      *Config
	rules    ruleset.Index
	forwards [][]int // nat rules that lead to hosts behind an interface
}

// leads finds where forwards lead to.
func (k *accessor) leads() {
	w := newWays(k.cfg)
	for n := range k.cfg.NAT {
		r := &k.cfg.NAT[n]
		to := map[int]bool{}
		switch r.Action {
		case nat.DNAT:
			for _, host := range r.To {
				if o, ok := w.to.Lookup(host.First); ok {
					to[o] = true
				}
			}
		case nat.Netmap, nat.NPTv6:
			for _, s := range r.Source {
				for o := range k.forwards {
					if w.reaches(ruleset.Span(s), func(int) bool { return false }, func(j int) bool { return j == o }) {
						to[o] = true
					}
				}
			}
		}
		for o := range to {
			k.forwards[o] = append(k.forwards[o], n)
		}
	}
}

func (k *accessor) access(i, o int) Access {
	c := k.cfg
	in, out := &c.Interfaces[i], &c.Interfaces[o]
	a := Access{In: in.Name, Out: out.Name}
	a.Filter = k.rules.Find(&ruleset.Match{In: in.Name, Out: out.Name, States: uint8(stateNew)})
	if a.Filter >= 0 {
		a.All = c.Filter.Rules[a.Filter].Action == FilterAccept
	} else {
		a.All = in.Side != Outside && c.Filter.Forward == FilterAccept
	}
	k.exceptions(&a)
	for n := range c.NAT {
		if r := &c.NAT[n]; translates(r.Action) && (r.Out == "" || r.Out == out.Name) && (r.In == "" || r.In == in.Name) {
			a.Translated = append(a.Translated, n)
		}
	}
	if a.All || a.Filter >= 0 || c.Filter.Forward != FilterAccept {
		return a
	}
	for _, n := range k.forwards[o] {
		r := &c.NAT[n]
		from := r.In
		if r.Action != nat.DNAT {
			from = r.Out
		}
		if from == "" || from == in.Name {
			a.Forwards = append(a.Forwards, n)
		}
	}
	return a
}

// exceptions finds the filter rules that decide for a part of what may begin.
func (k *accessor) exceptions(a *Access) {
	for n := range k.cfg.Filter.Rules {
		r := &k.cfg.Filter.Rules[n]
		switch {
		case a.Filter >= 0 && n >= a.Filter:
			return
		case r.In != "" && r.In != a.In, r.Out != "" && r.Out != a.Out, len(r.State) > 0 && !slices.Contains(r.State, "new"):
		case r.Action != FilterAccept:
			a.Refused = append(a.Refused, n)
		case !a.All:
			a.Accepted = append(a.Accepted, n)
		}
	}
}
