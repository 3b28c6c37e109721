package plain

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// find returns the connection of a packet and the direction.
func (r *Router) find(proto int, p pair) (*conn, int) {
	for _, c := range r.conns {
		for dir := range 2 {
			if c.proto == proto && same(proto, c.tuples[dir], p) {
				return c, dir
			}
		}
	}
	return nil, 0
}

// begin makes the connection of a packet that belongs to none, if there may be one; nothing keeps it yet. The port
// of a new mapping is the one that came out.
func (r *Router) begin(in Side, p *packet, out [2][][]byte) *conn {
	c := &conn{proto: p.proto, begun: in, tuples: [2]pair{p.pair, p.pair.inverse()}}
	if !p.mayBegin() || !c.tcp.begin(p) {
		return nil
	}
	switch e := r.takes(p); {
	case p.proto == gre && r.callOf(c, p):
	case e != nil:
		r.follow(c, e, in, p, out)
	case !r.destination(c, in):
		return nil
	case in == Inside:
		r.source(c, p, out)
	}
	r.assign(c)
	c.hairpin = in == Inside && r.isInside(c.tuples[1].src.Addr())
	if c.clash = !r.differ(c, out); c.clash {
		return c
	}
	c.deadline = r.now + c.timeout()
	return c
}

// destination decides where a connection that is for an outside address of the router goes.
func (r *Router) destination(c *conn, in Side) bool {
	dst := c.tuples[0].dst
	if dst.Addr() != r.public(dst.Addr()) {
		return in == Inside // nobody outside knows another address
	}
	for _, f := range r.cfg.Forwards {
		if f.Proto == c.proto && f.Port == dst.Port() && f.To.Addr().Is4() == dst.Addr().Is4() {
			c.tuples[1].src = f.To
			return true
		}
	}
	m := r.mapped(func(m *mapping) bool { return m.proto == c.proto && m.outside == dst && m.kind == "" })
	if m == nil || !r.letsIn(m, c.tuples[0].src.Addr(), in) {
		return false
	}
	c.tuples[1].src, c.mappings[1] = m.inside, m
	return true
}

// letsIn is address-dependent filtering (RFC 4787, section 5): only whom the inside host has sent to. It is about the
// outside, so neighbours pass.
func (r *Router) letsIn(m *mapping, from netip.Addr, in Side) bool {
	return in == Inside || slices.ContainsFunc(r.conns, func(c *conn) bool {
		return c.mappings[0] == m && c.tuples[0].dst.Addr() == from || c.mappings[1] == m && c.tuples[0].src.Addr() == from
	})
}

// source gives a connection from inside its outside endpoint (RFC 4787, REQ-1: the one that the inside endpoint has).
func (r *Router) source(c *conn, p *packet, out [2][][]byte) {
	r.sourceAt(c, r.public(c.tuples[0].src.Addr()), "", p, out)
}

// sourceAt is source for an outside address and a kind of mapping. GRE has no ports: its address alone changes.
func (r *Router) sourceAt(c *conn, outside netip.Addr, kind string, p *packet, out [2][][]byte) {
	inside := c.tuples[0].src
	if c.proto == gre {
		c.tuples[1].dst = netip.AddrPortFrom(outside, inside.Port())
		return
	}
	m := r.mapped(func(m *mapping) bool { return m.proto == c.proto && m.inside == inside && m.kind == kind })
	if m == nil {
		m = &mapping{proto: c.proto, kind: kind, inside: inside, outside: netip.AddrPortFrom(outside, inside.Port())}
		if chosen, ok := cameOut(out); ok && p.ttl > 1 {
			m.outside = netip.AddrPortFrom(m.outside.Addr(), chosen)
		}
	}
	c.mappings[0], c.tuples[1].dst = m, m.outside
}

// differ gives a connection that is not translated at its source another source port where its answers would look like
// those of one that is there. With a mapping it can't have another (RFC 4787, REQ-1): false.
func (r *Router) differ(c *conn, out [2][][]byte) bool {
	if o, _ := r.find(c.proto, c.tuples[1]); o == nil {
		return true
	}
	if c.proto == gre {
		return false
	}
	if m := c.mappings[0]; m != nil {
		return r.mapped(func(o *mapping) bool { return o == m }) == nil // a new one has a port that nobody has
	}
	if chosen, ok := cameOut(out); ok {
		c.tuples[1].dst = netip.AddrPortFrom(c.tuples[1].dst.Addr(), chosen)
	}
	return true
}

// mapped returns the mapping that a live connection uses and that fits.
func (r *Router) mapped(fits func(*mapping) bool) *mapping {
	for _, c := range r.conns {
		for _, m := range c.mappings {
			if m != nil && fits(m) {
				return m
			}
		}
	}
	for _, e := range r.awaits {
		if e.holds != nil && fits(e.holds) {
			return e.holds
		}
	}
	return nil
}

// Allowed checks the choice of every outside port that is in use: no two mappings of a protocol share one (RFC 4787,
// REQ-3), none is that of a port forward, each is in the class of its inside port (REQ-3a), for UDP with its
// parity (REQ-4).
func (r *Router) Allowed() error {
	seen := map[string]*mapping{}
	var wrong error
	r.mapped(func(m *mapping) bool {
		name := fmt.Sprint(m.proto, m.outside)
		if o := seen[name]; o != nil && o != m {
			wrong = fmt.Errorf("%s stands for %s and for %s", name, o.inside, m.inside)
		}
		seen[name] = m
		if err := r.fair(m); err != nil {
			wrong = fmt.Errorf("%s for %s: %w", name, m.inside, err)
		}
		return wrong != nil
	})
	if wrong == nil {
		wrong = r.callIDs()
	}
	return wrong
}

func (r *Router) fair(m *mapping) error {
	in, out := m.inside.Port(), m.outside.Port()
	if m.proto == icmp || m.proto == icmp6 {
		return nil // identifiers have neither class nor parity
	}
	for _, f := range r.cfg.Forwards {
		if f.Proto == m.proto && f.Port == out {
			return fmt.Errorf("port %d is forwarded", out)
		}
	}
	if (in < 1024) != (out < 1024) || m.proto == udp && in%2 != out%2 {
		return fmt.Errorf("port %d became %d", in, out)
	}
	return nil
}

// Connection is a connection as it is compared: what comes in by direction, and when it ends.
type Connection struct {
	Proto           int
	Original, Reply [2]netip.AddrPort // from, to
	Ends            time.Duration     // from now
	TCP             string            // state
}

// Connections returns all, in no order.
func (r *Router) Connections() (all []Connection) {
	r.expire()
	for _, c := range r.conns {
		all = append(all, Connection{
			Proto:    c.proto,
			Original: [2]netip.AddrPort{c.tuples[0].src, c.tuples[0].dst}, Reply: [2]netip.AddrPort{c.tuples[1].src, c.tuples[1].dst},
			Ends: c.deadline - r.now, TCP: c.tcp.state,
		})
	}
	return all
}
