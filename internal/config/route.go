package config

import (
	"net/netip"

	"github.com/natrouter/natrouter/router"
)

// route builds the routes of one [[route]].
func (b *builder) route(cfg *router.Config, t *table) {
	out := b.iface(t, "interface")
	via := value[netip.Addr](t, "via")
	if via.IsValid() {
		b.checkVia(cfg, t, via)
	}
	for i, to := range value[list[netip.Prefix]](t, "to") {
		line := t.item("to", i)
		switch {
		case to.Addr().IsMulticast():
			b.errorf(line, "to: %s is multicast, which this router doesn't forward: remove it", to)
		case to.Bits() > 0 && (to.Addr().IsLoopback() || to.Addr().IsLinkLocalUnicast() && to.Addr().Is6()):
			b.errorf(line, "to: %s never leaves its host or link: remove it", to)
		case via.IsValid() && via.Is4() != to.Addr().Is4():
			b.errorf(line, "to: %s can't go via %s, which is of the other family: write a [[route]] for each family", to, via)
		}
		if out != nil {
			out.routed = out.routed.add(to.Addr())
		}
		cfg.Routes = append(cfg.Routes, router.Route{To: to, Interface: value[string](t, "interface"), Via: via, Line: line})
	}
}

// checkVia reports a gateway that can't be one.
func (b *builder) checkVia(cfg *router.Config, t *table, via netip.Addr) {
	if via.IsUnspecified() || via.IsMulticast() || via.IsLoopback() {
		b.errorf(t.line("via"), "via: %s can't be a gateway: write the address of one, or leave via out: a TUN needs none", via)
	}
	for _, i := range cfg.Interfaces {
		for _, p := range i.Address {
			if p.Addr() == via {
				b.errorf(t.line("via"), "via: %s is this router's own address, on interface %q: leave via out: a TUN needs none", via, i.Name)
			}
		}
	}
}

// checkRoutes reports routes that stand twice, and those that an interface's own network contradicts.
func (b *builder) checkRoutes(cfg *router.Config) {
	first := map[netip.Prefix]router.Route{}
	for _, r := range cfg.Routes {
		if f, ok := first[r.To]; ok {
			if f.Interface == r.Interface && f.Via == r.Via {
				b.errorf(r.Line, "route to %s stands already on line %d: remove one of the two", r.To, f.Line)
			} else {
				b.errorf(r.Line, "route to %s goes by %q already (line %d): remove one of the two", r.To, f.Interface, f.Line)
			}
			continue
		}
		first[r.To] = r
	}
	for _, i := range cfg.Interfaces {
		for _, p := range i.Address {
			if r, ok := first[p.Masked()]; ok && r.Interface != i.Name {
				b.errorf(r.Line, "route to %s contradicts interface %q, whose own network it is: remove the route, or change that address",
					r.To, i.Name)
			}
		}
	}
}
