package ruleset

import (
	"net/netip"
	"slices"
)

// Match is which connections a rule takes. Empty lists and zero values take all.
type Match struct {
	In, Out             string // names of interfaces
	Source, Destination []Span
	Proto               uint8 // IANA number
	Ports               []PortSpan
	States              uint8 // bits, one a state
	Helper              string
	Hairpins            bool     // with In: it takes also what inside hosts send to In's outside addresses
	Acts                Families // in which it does something; zero: both
}

// Families returns the families of the connections that a rule takes.
func (m *Match) Families() Families {
	f := FamiliesOf(m.Source).And(FamiliesOf(m.Destination)).And(ProtocolFamilies(m.Proto))
	if !m.Acts.None() {
		f = f.And(m.Acts)
	}
	return f
}

// compiled is a Match made ready for comparing: without what is of a family that it never takes, lists in order.
type compiled struct {
	Match
	families Families
}

func (m *Match) compile() compiled {
	c := compiled{Match: *m, families: m.Families()}
	c.Source, c.Destination = narrowing(m.Source, c.families), narrowing(m.Destination, c.families)
	c.Ports = joinedPorts(m.Ports)
	return c
}

// narrowing returns what a list leaves of some families: joined, and nothing where it leaves all of them.
func narrowing(list []Span, f Families) []Span {
	list = joined(list, f)
	if all := joined([]Span{SpanOf(all4), SpanOf(all6)}, f); slices.Equal(list, all) {
		return nil
	}
	return list
}

var (
	all4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	all6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// covers reports whether a takes all that b takes.
func (a *compiled) covers(b *compiled) bool {
	anyHelper := a.Helper == "" || a.Helper == b.Helper
	return b.families.And(a.families) == b.families &&
		(a.In == "" || a.In == b.In && (a.Hairpins || !b.Hairpins)) &&
		(a.Out == "" || a.Out == b.Out) &&
		(a.Proto == 0 || a.Proto == b.Proto) && anyHelper &&
		(a.States == 0 || b.States != 0 && b.States&^a.States == 0) &&
		coversPorts(a.Ports, b.Ports) && coversSpans(a.Source, b.Source) && coversSpans(a.Destination, b.Destination)
}

// coversSpans reports whether every address of b is one of a; an empty list has all. Both are joined.
func coversSpans(a, b []Span) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == 0
	}
	for _, s := range b {
		i, found := slices.BinarySearchFunc(a, s.First, func(x Span, at netip.Addr) int { return x.First.Compare(at) })
		if !found {
			i--
		}
		if i < 0 || !a[i].Contains(s.First) || !a[i].Contains(s.Last) {
			return false
		}
	}
	return true
}

// coversPorts is coversSpans for ports.
func coversPorts(a, b []PortSpan) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == 0
	}
	for _, s := range b {
		if !slices.ContainsFunc(a, func(x PortSpan) bool { return x.First <= s.First && s.Last <= x.Last }) {
			return false
		}
	}
	return true
}

// Index finds, for each rule of an ordered list, an earlier one that takes all it is for. The zero value is empty.
//
// It is a tuple space: a rule is entered under the conditions that it has (its interfaces, its protocol, and for each of
// its ranges the smallest prefix around it), and rules with conditions of one shape share a hash table. Looking up costs
// one probe a shape, whatever the number of rules; lists of rules have few shapes. (Srinivasan, Suri, Varghese: "Packet
// Classification using Tuple Space Search", SIGCOMM 1999.)
type Index struct {
	rules  []compiled
	shapes map[shape]int
	tables []map[entry][]int32
	order  []shape
	steps  int // probes and comparisons
}

// shape says which conditions the rules of one table have. Prefix lengths are -1 where a rule has no such condition.
type shape struct {
	in, out, proto bool
	source, dest   int16 // bits of prefix, IPv6 from 200 on
	port           int8
	helper         bool
}

// entry is the conditions of a rule, as far as its shape has them.
type entry struct {
	in, out, helper string
	proto           uint8
	source, dest    netip.Prefix
	port            uint16
}

// maxEntries is under how many entries one rule stands at most: of lists whose product is larger some conditions are
// left out, and found out by comparing.
const maxEntries = 16

// Add adds the next rule. It returns the index, in the order of adding, of the first earlier rule that takes all
// connections of this one, -1 if there is none. A rule that takes no connection at all covers nothing and is covered by
// nothing.
func (x *Index) Add(m *Match) (earlier int) {
	c := m.compile()
	id := len(x.rules)
	x.rules = append(x.rules, c)
	if c.families.None() {
		return -1
	}
	earlier = x.find(&c)
	x.enter(int32(id), &c)
	return earlier
}

// Find is what Add returns, without adding.
func (x *Index) Find(m *Match) (earlier int) {
	c := m.compile()
	if c.families.None() {
		return -1
	}
	return x.find(&c)
}

// Steps returns how many probes and comparisons were made: the work of the index, for tests.
func (x *Index) Steps() int { return x.steps }

func (x *Index) find(c *compiled) int {
	first := -1
	for i, s := range x.order {
		x.steps++
		e, ok := s.project(c)
		if !ok {
			continue
		}
		for _, id := range x.tables[i][e] {
			if first >= 0 && int(id) >= first {
				break
			}
			x.steps++
			if x.rules[id].covers(c) {
				first = int(id)
				break
			}
		}
	}
	return first
}

// project returns the entry under which a rule of this shape that covers c would stand; ok is false where none can.
func (s *shape) project(c *compiled) (e entry, ok bool) {
	if s.in && c.In == "" || s.out && c.Out == "" || s.proto && c.Proto == 0 || s.helper && c.Helper == "" {
		return e, false
	}
	if s.in {
		e.in = c.In
	}
	if s.out {
		e.out = c.Out
	}
	if s.proto {
		e.proto = c.Proto
	}
	if s.helper {
		e.helper = c.Helper
	}
	var ok2 bool
	if e.source, ok = project(s.source, c.Source); !ok {
		return e, false
	}
	if e.dest, ok2 = project(s.dest, c.Destination); !ok2 {
		return e, false
	}
	if s.port >= 0 {
		if len(c.Ports) == 0 {
			return e, false
		}
		e.port = masked(c.Ports[0].First, int(s.port))
	}
	return e, true
}

// project returns the prefix of a length that has the first address of a list: whatever covers the list has it.
func project(length int16, list []Span) (p netip.Prefix, ok bool) {
	if length < 0 {
		return p, true
	}
	if len(list) == 0 {
		return p, false
	}
	a := list[0].First
	bits := int(length)
	if (bits >= sixth) != a.Is6() {
		return p, false
	}
	if a.Is6() {
		bits -= sixth
	}
	p, err := a.Prefix(bits)
	return p, err == nil
}

// sixth is added to the prefix lengths of IPv6 in a shape.
const sixth = 200

// masked returns a port without what follows its first bits.
func masked(port uint16, bits int) uint16 { return port &^ (0xffff >> bits) }

// enter puts a rule under each of its entries.
func (x *Index) enter(id int32, c *compiled) {
	if x.shapes == nil {
		x.shapes = map[shape]int{}
	}
	sources, dests, ports := len(c.Source), len(c.Destination), len(c.Ports)
	for max(sources, 1)*max(dests, 1)*max(ports, 1) > maxEntries { // leave out the longest list
		switch max(sources, dests, ports) {
		case sources:
			sources = 0
		case dests:
			dests = 0
		default:
			ports = 0
		}
	}
	for i := range max(sources, 1) {
		for j := range max(dests, 1) {
			for k := range max(ports, 1) {
				s := shape{in: c.In != "", out: c.Out != "", proto: c.Proto != 0, helper: c.Helper != "", source: -1, dest: -1, port: -1}
				e := entry{in: c.In, out: c.Out, proto: c.Proto, helper: c.Helper}
				if sources > 0 {
					e.source = c.Source[i].Enclosing()
					s.source = length(e.source)
				}
				if dests > 0 {
					e.dest = c.Destination[j].Enclosing()
					s.dest = length(e.dest)
				}
				if ports > 0 {
					s.port = int8(c.Ports[k].bitLen())
					e.port = masked(c.Ports[k].First, int(s.port))
				}
				x.put(s, e, id)
			}
		}
	}
}

func length(p netip.Prefix) int16 {
	if p.Addr().Is6() {
		return int16(p.Bits()) + sixth
	}
	return int16(p.Bits())
}

func (x *Index) put(s shape, e entry, id int32) {
	at, ok := x.shapes[s]
	if !ok {
		at = len(x.tables)
		x.shapes[s] = at
		x.tables, x.order = append(x.tables, map[entry][]int32{}), append(x.order, s)
	}
	if list := x.tables[at][e]; len(list) == 0 || list[len(list)-1] != id {
		x.tables[at][e] = append(list, id)
	}
}

// Check checks the next rule of a table whose rules are all given to this index, in order: its own conditions, and
// whether an earlier rule takes all of it. why, if it isn't empty, says what is special of such rules. A rule with
// mistakes stands in the index but covers nothing.
func (x *Index) Check(table string, i int, m *Match, why string) Problems {
	var l Problems
	m.Check(&l, func(key string) Place { return Key(table, i, key) })
	if len(l) > 0 {
		x.rules = append(x.rules, compiled{})
		return l
	}
	if earlier := x.Add(m); earlier >= 0 {
		if why != "" {
			why = "; " + why
		}
		l.Warnf(Key(table, i, ""), Key(table, earlier, ""), "remove it, or put it before that one",
			"the rule never applies, because an earlier one takes all that it is for%s", why)
	}
	return l
}
