package router

import (
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/ruleset"
)

// Check says what is wrong with a configuration: the mistakes for which [New] refuses it, and warnings of what rarely is
// meant, such as a way in for strangers or a rule that never applies. It opens nothing and knows neither devices nor
// helpers. Places are named as in the configuration file, by table and index: "interface" and "nat" are Interfaces and
// NAT, "filter.rule" is Filter.Rules, "conntrack.policy" and "pass" are those of Conntrack, "helper" is Helpers, and
// "route" is Routes.
func (c *Config) Check() ruleset.Problems {
	k := &checker{cfg: c}
	if len(c.Interfaces) == 0 {
		k.Mistakef(ruleset.Place{Table: "interface", Index: -1}, none, "add one for each side, as in config.toml.example", "there is no [[interface]]")
		return k.Problems
	}
	k.Problems = nat.Check(c.natConfig())
	k.Problems = append(k.Problems, conntrack.Check(&c.Conntrack)...)
	helpers := make([]alg.Rule, len(c.Helpers))
	for i, r := range c.Helpers {
		helpers[i] = alg.Rule(r)
	}
	k.Problems = append(k.Problems, alg.Check(helpers)...)
	k.interfaces()
	k.routes()
	k.filter()
	if k.Err() == nil { // what is broken leads nowhere
		k.ways = newWays(c)
		k.sides()
		k.wayOut()
		k.natRules()
		k.filterRules()
	}
	return k.Problems
}

// natConfig is what nat is told; without a seed.
func (c *Config) natConfig() nat.Config {
	nc := nat.Config{Rules: c.NAT, Defaults: c.Defaults, Max: c.Conntrack.Max}
	for i := range c.Interfaces {
		f := &c.Interfaces[i]
		nc.Interfaces = append(nc.Interfaces, nat.Interface{Name: f.Name, Outside: f.Side == Outside, Addresses: f.Address, Line: f.Line})
	}
	return nc
}

// checker collects what is wrong with a configuration.
type checker struct {
	cfg *Config
	ruleset.Problems
	ways  *ways
	rules ruleset.Index  // of the filter
	pools []ruleset.Span // outside addresses of rules, made when asked for
}

// none is no place.
var none ruleset.Place

// ways is what a configuration says of where addresses are.
type ways struct {
	cfg     *Config
	index   map[string]int               // of an interface in Config.Interfaces, by name
	to      bart.Table[int]              // index of the interface that an address is behind
	behind  []bart.Table[struct{}]       // what is routed by an interface, though a longer prefix may lead elsewhere
	near    []bart.Table[struct{}]       // the same without default routes
	carries []ruleset.Families           // of an interface's addresses and routes
	own     map[netip.Addr]int           // the router's own addresses
	last    map[netip.Addr]ruleset.Place // directed broadcast addresses, and the interface that has the network
}

func newWays(c *Config) *ways {
	w := &ways{
		cfg: c, index: map[string]int{}, own: map[netip.Addr]int{}, last: map[netip.Addr]ruleset.Place{},
		behind: make([]bart.Table[struct{}], len(c.Interfaces)), near: make([]bart.Table[struct{}], len(c.Interfaces)),
		carries: make([]ruleset.Families, len(c.Interfaces)),
	}
	for i := range c.Interfaces {
		f := &c.Interfaces[i]
		w.index[f.Name] = i
		for _, p := range f.Address {
			w.add(p.Masked(), i)
			w.own[p.Addr()] = i
			if b, ok := directedBroadcast(p); ok {
				w.last[netip.AddrFrom4(b)] = ruleset.Key("interface", i, "address")
			}
		}
	}
	for _, r := range c.Routes {
		w.add(r.To.Masked(), w.index[r.Interface])
	}
	return w
}

func (w *ways) add(p netip.Prefix, iface int) {
	w.to.Insert(p, iface)
	w.behind[iface].Insert(p, struct{}{})
	if p.Bits() > 0 {
		w.near[iface].Insert(p, struct{}{})
	}
	w.carries[iface] = w.carries[iface].With(p.Addr())
}

// outside reports whether an interface is an outside one.
func (w *ways) outside(i int) bool { return w.cfg.Interfaces[i].Side == Outside }

// reaches reports whether a part of a span may be behind an interface that is wanted, or near one: by no default route.
func (w *ways) reaches(s ruleset.Span, wanted, near func(i int) bool) bool {
	p := s.Enclosing()
	for i := range w.behind {
		if wanted(i) && w.behind[i].OverlapsPrefix(p) || near(i) && w.near[i].OverlapsPrefix(p) {
			return true
		}
	}
	return false
}

// connected returns the interface in whose own network an address is.
func (w *ways) connected(a netip.Addr) (iface int, ok bool) {
	for i := range w.cfg.Interfaces {
		for _, p := range w.cfg.Interfaces[i].Address {
			if p.Contains(a) {
				return i, true
			}
		}
	}
	return 0, false
}

// name is how an interface is written in texts.
func (w *ways) name(i int) string { return fmt.Sprintf("%q", w.cfg.Interfaces[i].Name) }
