package ruleset

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func spans(t testing.TB, list ...string) (out []Span) {
	t.Helper()
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, SpanOf(p))
			continue
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, Span{a, a})
	}
	return out
}

// The universe of the property: few enough connections to try each of them.
var (
	someAddrs = []netip.Addr{
		netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3"),
		netip.MustParseAddr("fd00::"), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"),
	}
	someNames  = []string{"", "a", "b"}
	someProtos = []uint8{0, 6, 17, 58}
)

func drawSpans(t *rapid.T, name string) (list []Span) {
	for range rapid.IntRange(0, 3).Draw(t, name) {
		i := rapid.IntRange(0, len(someAddrs)-1).Draw(t, "first")
		j := i
		for j+1 < len(someAddrs) && someAddrs[j+1].Is4() == someAddrs[i].Is4() && rapid.Bool().Draw(t, "more") {
			j++
		}
		list = append(list, Span{someAddrs[i], someAddrs[j]})
	}
	return list
}

func drawMatch(t *rapid.T) Match {
	m := Match{
		In: rapid.SampledFrom(someNames).Draw(t, "in"), Out: rapid.SampledFrom(someNames).Draw(t, "out"),
		Proto: rapid.SampledFrom(someProtos).Draw(t, "proto"), Source: drawSpans(t, "source"), Destination: drawSpans(t, "destination"),
		States: rapid.Uint8Range(0, 3).Draw(t, "states"),
	}
	if m.States == 3 {
		m.States = 0 // all that there are
	}
	for range rapid.IntRange(0, 2).Draw(t, "ports") {
		first := rapid.Uint16Range(1, 4).Draw(t, "port")
		m.Ports = append(m.Ports, PortSpan{first, rapid.Uint16Range(first, 5).Draw(t, "last")})
	}
	return m
}

// connection is one connection of the universe.
type connection struct {
	in, out  string
	src, dst netip.Addr
	proto    uint8
	port     uint16
	state    uint8
}

// takes is what a rule means, said plainly.
func (m *Match) takes(c connection) bool {
	holds := func(list []Span, a netip.Addr) bool {
		for _, s := range list {
			if s.Contains(a) {
				return true
			}
		}
		return len(list) == 0
	}
	port := len(m.Ports) == 0
	for _, p := range m.Ports {
		port = port || p.First <= c.port && c.port <= p.Last
	}
	return (m.In == "" || m.In == c.in) && (m.Out == "" || m.Out == c.out) && (m.Proto == 0 || m.Proto == c.proto) &&
		(m.States == 0 || m.States&c.state != 0) && port && holds(m.Source, c.src) && holds(m.Destination, c.dst)
}

func universe(visit func(connection)) {
	for _, in := range someNames[1:] {
		for _, out := range someNames[1:] {
			for _, src := range someAddrs {
				for _, dst := range someAddrs {
					for _, proto := range someProtos[1:] {
						if src.Is4() != dst.Is4() || ProtocolFamilies(proto).And(Families{}.With(src)).None() {
							continue
						}
						for port := uint16(1); port <= 6; port++ {
							visit(connection{in, out, src, dst, proto, port, 1})
							visit(connection{in, out, src, dst, proto, port, 2})
						}
					}
				}
			}
		}
	}
}

// TestIndex: what the index calls unreachable takes no connection that the rule it names does not take, by trying all of
// them; it names the first rule of which comparing each pair says the same; and every copy of a rule is unreachable.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Custom(drawMatch), 1, 12).Draw(t, "rules")
		rules = append(rules, rules[rapid.IntRange(0, len(rules)-1).Draw(t, "copied")])
		var x Index
		for i := range rules {
			got, want := x.Add(&rules[i]), -1
			b := rules[i].compile()
			for j := range i {
				if a := rules[j].compile(); !b.families.None() && !a.families.None() && a.covers(&b) {
					want = j
					break
				}
			}
			if got != want {
				t.Fatalf("rule %d %+v is covered by %d, want %d", i, rules[i], got, want)
			}
			if i == len(rules)-1 && got < 0 && !b.families.None() {
				t.Fatalf("a copy of a rule is reachable: %+v", rules[i])
			}
			if got < 0 {
				continue
			}
			universe(func(c connection) {
				if rules[i].takes(c) && !rules[got].takes(c) {
					t.Fatalf("rule %+v takes %+v, and %+v does not", rules[i], c, rules[got])
				}
			})
		}
	})
}

func TestCovers(t *testing.T) {
	for name, tt := range map[string]struct {
		a, b Match
		want bool
	}{
		"all, all":                    {Match{}, Match{}, true},
		"a network, its host":         {Match{Source: spans(t, "10.0.0.0/8")}, Match{Source: spans(t, "10.1.1.1")}, true},
		"a host, its network":         {Match{Source: spans(t, "10.1.1.1")}, Match{Source: spans(t, "10.0.0.0/8")}, false},
		"two halves":                  {Match{Source: spans(t, "10.128.0.0/9", "10.0.0.0/9")}, Match{Source: spans(t, "10.0.0.0/8")}, true},
		"halves of a range of ports":  {Match{Ports: []PortSpan{{1, 5}, {6, 9}}}, Match{Ports: []PortSpan{{2, 8}}}, true},
		"a family":                    {Match{Source: spans(t, "0.0.0.0/0")}, Match{}, false},
		"what the protocol leaves":    {Match{Source: spans(t, "0.0.0.0/0")}, Match{Proto: 1}, true},
		"what the target leaves":      {Match{Source: spans(t, "0.0.0.0/0")}, Match{Acts: Families{V4: true}}, true},
		"hairpins":                    {Match{In: "a"}, Match{In: "a", Hairpins: true}, false},
		"hairpins of any interface":   {Match{}, Match{In: "a", Hairpins: true}, true},
		"a state":                     {Match{States: 1}, Match{States: 3}, false},
		"states":                      {Match{States: 3}, Match{States: 1}, true},
		"a helper":                    {Match{Helper: "ftp"}, Match{}, false},
		"the last of all":             {Match{Source: spans(t, "::/0")}, Match{Source: spans(t, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}, true},
		"between the ranges":          {Match{Source: spans(t, "10.0.0.0/24", "10.0.2.0/24")}, Match{Source: spans(t, "10.0.0.0/22")}, false},
		"ranges of the other family":  {Match{Destination: spans(t, "10.0.0.0/8", "fd00::/8")}, Match{Destination: spans(t, "fd01::/64")}, true},
		"more ranges than entries":    {Match{Source: many(t)}, Match{Source: spans(t, "10.0.19.7")}, true},
		"beside all of these entries": {Match{Source: many(t)}, Match{Source: spans(t, "10.0.19.7", "10.1.0.1")}, false},
	} {
		var x Index
		x.Add(&tt.a)
		if got := x.Add(&tt.b) == 0; got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// many is more networks than a rule has entries.
func many(t testing.TB) (list []Span) {
	for i := range maxEntries + 10 {
		list = append(list, spans(t, fmt.Sprintf("10.0.%d.0/25", 2*i), fmt.Sprintf("10.0.%d.0/24", 2*i+1))...)
	}
	return list
}

// TestIndexIsLinear counts: with ten times the rules there is about ten times the work, for lists as people write them.
func TestIndexIsLinear(t *testing.T) {
	host := func(i int) Span {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		return Span{a, a}
	}
	for name, rule := range map[string]func(i int) Match{
		"a port each": func(i int) Match { return Match{In: "wan0", Proto: 6, Ports: []PortSpan{{uint16(i), uint16(i)}}} },
		"a host each": func(i int) Match { return Match{In: "wan0", Destination: []Span{host(i)}} },
		"a host and a port": func(i int) Match {
			return Match{Proto: 6, Destination: []Span{host(i / 200)}, Ports: []PortSpan{{uint16(i % 200), uint16(i % 200)}}}
		},
		"a source each":    func(i int) Match { return Match{Source: []Span{host(i)}, Ports: []PortSpan{{80, 80}}, Proto: 6} },
		"a range of hosts": func(i int) Match { return Match{Source: []Span{{host(5 * i).First, host(5*i + 4).First}}} },
		"a range of ports": func(i int) Match {
			return Match{Destination: []Span{host(i / 50)}, Ports: []PortSpan{{uint16(1 + 7*(i%50)), uint16(7 + 7*(i%50))}}}
		},
		"one of each of twice": func(i int) Match {
			return Match{Destination: []Span{host(i / 2), host(i/2 + 100000)}, Proto: uint8(6 + i%2)}
		},
	} {
		work := func(n int) int {
			var x Index
			for i := range n {
				m := rule(i)
				x.Add(&m)
			}
			return x.Steps()
		}
		if few, all := work(2000), work(20000); all > 15*few {
			t.Errorf("%s: %d steps for 2000 rules, %d for 20000", name, few, all)
		}
	}
}

// TestProblem: a problem says where, what, and what to do, and the mistakes of a list are an error.
func TestProblem(t *testing.T) {
	var l Problems
	l.Warnf(Key("nat", 3, "to").Element(0), Place{}, "write another", "it is %d", 7)
	if err := l.Err(); err != nil {
		t.Errorf("a warning is the error %v", err)
	}
	l.Mistakef(Place{Table: "nat_defaults", Index: -1, Key: "mapping"}, Key("nat", 1, ""), "", "it clashes")
	want := "nat[3].to[0]: it is 7: write another\nnat_defaults.mapping: it clashes (nat[1])"
	if got := l.Error(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := l.Err(); err == nil || err.Error() != "nat_defaults.mapping: it clashes (nat[1])" || len(l.Warnings()) != 1 {
		t.Errorf("%v, %v", err, l.Warnings())
	}
}
