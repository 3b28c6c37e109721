package router

import (
	"fmt"
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/natrouter/natrouter/router/conntrack"
)

// SetAddresses gives an interface other addresses, in place of all that it had: the router answers on them, routes their
// prefixes there, and masquerades behind the first of each family. Connections that stand on an address which is gone
// end, but those of rules with on_address_change = "keep"; when it returns, nothing leaves from such an address that
// is not of a kept connection, but for a packet that a socket of the router's own host was sending at that moment. An
// error leaves all as it was.
//
// It may be called while the router runs. No packet is handled meanwhile: about half a microsecond for each connection
// of the table when an address goes.
func (r *Router) SetAddresses(iface string, addrs []netip.Prefix) error {
	r.pause.Lock()
	defer r.pause.Unlock()
	at := slices.IndexFunc(r.interfaces, func(nif *netInterface) bool { return nif.name == iface })
	if at < 0 {
		return fmt.Errorf("interface %s: no such interface", iface)
	}
	nif := r.interfaces[at]
	if err := r.checkAddresses(nif, addrs); err != nil {
		return err
	}
	gone, come := difference(nif.addresses, addrs), difference(addrs, nif.addresses)
	r.readdress(nif, addrs)
	routes := netstackRoutes(r)
	for _, w := range r.workers {
		if err := w.stack.readdress(gone, come, routes); err != nil {
			return err // checked above: does not happen
		}
	}
	flushed := 0
	if flush := r.nat.SetAddresses(at, addrs); len(gone) > 0 {
		flushed = r.flush(func(s *conntrack.Snapshot) bool {
			return flush != nil && flush(s) || standsOn(s, gone)
		})
	}
	r.log.Info("addresses changed", "interface", iface, "addresses", addrs, "connections_ended", flushed)
	return nil
}

// checkAddresses says what an interface can't have.
func (r *Router) checkAddresses(nif *netInterface, addrs []netip.Prefix) error {
	for i, p := range addrs {
		a := p.Addr()
		other := r.own.set[a]
		switch {
		case !p.IsValid() || !maySend(a):
			return fmt.Errorf("interface %s: %s is no address of a host", nif.name, p)
		case other != nil && other != nif:
			return fmt.Errorf("interface %s: address %s is that of %s too", nif.name, a, other.name)
		case slices.ContainsFunc(addrs[:i], func(q netip.Prefix) bool { return q.Addr() == a }):
			return fmt.Errorf("interface %s: address %s twice", nif.name, a)
		case a.Is6() && nif.mtu < minNICMTU:
			return fmt.Errorf("interface %s: an MTU of %d is too small for %s", nif.name, nif.mtu, a)
		}
	}
	return nil
}

// readdress changes what the hooks read: addresses, routes, and the generation, so that no connection uses a route of
// before. r.pause is held, which stops all lanes but that of the router's own host.
func (r *Router) readdress(nif *netInterface, addrs []netip.Prefix) {
	r.local.mu.Lock()
	defer r.local.mu.Unlock()
	r.cfg.Interfaces = slices.Clone(r.cfg.Interfaces)
	r.cfg.Interfaces[nif.index].Address = slices.Clone(addrs)
	for _, p := range nif.addresses {
		delete(r.own.set, p.Addr())
	}
	nif.addresses = r.cfg.Interfaces[nif.index].Address
	for _, p := range nif.addresses {
		r.own.set[p.Addr()] = nif
	}
	byName := make(map[string]*netInterface, len(r.interfaces))
	for _, nif := range r.interfaces {
		byName[nif.name] = nif
	}
	*r.fib = *newFIB(&r.cfg, byName)
	if r.generation++; r.generation == 0 { // no route's
		r.generation = 1
	}
}

// difference returns the addresses of a that b does not have.
func difference(a, b []netip.Prefix) (only []netip.Addr) {
	for _, p := range a {
		if !slices.ContainsFunc(b, func(q netip.Prefix) bool { return q.Addr() == p.Addr() }) {
			only = append(only, p.Addr())
		}
	}
	return only
}

// standsOn reports whether a connection is the router's own, from or to one of the addresses: what is translated is for
// nat to judge.
func standsOn(s *conntrack.Snapshot, gone []netip.Addr) bool {
	orig := &s.Tuples[conntrack.Original]
	return s.Status&conntrack.SrcNAT == 0 && slices.Contains(gone, orig.SrcAddr()) ||
		s.Status&conntrack.DstNAT == 0 && slices.Contains(gone, orig.DstAddr())
}

// flush ends the connections that f selects, with all that they hold, and returns how many.
func (r *Router) flush(f func(*conntrack.Snapshot) bool) int {
	now := r.now()
	var selected []conntrack.Handle
	r.table.Walk(now, func(s *conntrack.Snapshot) bool {
		if f(s) {
			selected = append(selected, s.ID)
		}
		return true
	})
	for _, id := range selected {
		r.table.Delete(now, id)
	}
	for _, w := range r.workers {
		r.expire(w.index, now, 0)
	}
	return len(selected)
}

// readdress gives the stack other addresses and routes.
func (n *netstack) readdress(gone, come []netip.Addr, routes []tcpip.Route) error {
	for _, addr := range gone {
		if err := n.stack.RemoveAddress(internalNIC, tcpip.AddrFromSlice(addr.AsSlice())); err != nil {
			return fmt.Errorf("netstack: remove address %s: %s", addr, err)
		}
	}
	for _, addr := range come {
		if err := n.addAddress(addr); err != nil {
			return err
		}
	}
	n.stack.SetRouteTable(routes)
	return nil
}
