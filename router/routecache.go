package router

import (
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/router/packet"
)

// maxRoutes bounds a lane's routeCache: of more, all are asked for anew.
const maxRoutes = 1024

// routeCache is what netstack has answered, route by route, so that a first packet need not be injected and take
// netstack's lock. netstack has the fib's routes and no others, so the longest prefix decides for all destinations
// in it, but for those that netstack treats by themselves: see asksNetstack. One lane uses it.
type routeCache struct {
	generation uint32 // of what is in it
	routes     map[netip.Prefix]*netInterface
}

// get returns netstack's answer for a route, nil where it is not known in this generation.
func (c *routeCache) get(generation uint32, route netip.Prefix) *netInterface {
	if c.generation != generation {
		return nil
	}
	return c.routes[route]
}

func (c *routeCache) put(generation uint32, route netip.Prefix, out *netInterface) {
	if c.generation != generation || len(c.routes) >= maxRoutes {
		c.generation, c.routes = generation, map[netip.Prefix]*netInterface{}
	}
	c.routes[route] = out
}

// match returns the longest prefix that addr is in, with its interface; nil where there is no route.
func (f *fib) match(addr netip.Addr) (netip.Prefix, *netInterface) {
	route, nif, _ := f.routes.LookupPrefixLPM(netip.PrefixFrom(addr, addr.BitLen()))
	return route, nif
}

// asksNetstack reports whether more than the destination's route decides about p: netstack looks at options and
// extension headers, refuses some destinations, and takes those that are its own.
func (p *Packet) asksNetstack(to netip.Addr) bool {
	return p.H.Options || p.H.FragHdr != 0 || p.Conn.ErrorL3 != 0 || slices.Contains(dummyAddresses, to) ||
		p.lane.router.fib.refusesTo(to) != packet.NotDropped
}

// route sets p.out for a first packet: as netstack has answered for its route before, or else by asking.
func (l *lane) route(p *Packet, route netip.Prefix, to netip.Addr) packet.DropReason {
	asks, generation := p.asksNetstack(to), l.router.generation
	if !asks {
		if out := l.routes.get(generation, route); out != nil {
			p.out = out
			return packet.NotDropped
		}
	}
	reason := l.worker.stack.route(p)
	if reason == packet.NotDropped && !asks {
		l.routes.put(generation, route, p.out)
	}
	return reason
}
