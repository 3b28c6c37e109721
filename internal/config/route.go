package config

import (
	"net/netip"

	"github.com/natrouter/natrouter/router"
)

// route builds the routes of one [[route]].
func (b *builder) route(cfg *router.Config, t *table) {
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
		b.routes = append(b.routes, t)
		cfg.Routes = append(cfg.Routes, router.Route{To: to, Interface: value[string](t, "interface"), Via: via, Line: line})
	}
}

// checkVia reports a gateway that can't be one.
func (b *builder) checkVia(cfg *router.Config, t *table, via netip.Addr) {
	if via.IsUnspecified() || via.IsMulticast() || via.IsLoopback() {
		b.errorf(t.line("via"), "via: %s can't be a gateway: write the address of one, or leave via out: a TUN needs none", via)
	}
}
