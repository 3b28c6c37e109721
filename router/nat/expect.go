package nat

import (
	"net/netip"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// Reserve takes an endpoint at an outside address for expectations of connections to an inside one, whose port is kept
// if it is free. What connections to the same inside endpoint still hold is taken again (RFC 4787, REQ-1): a host that
// listens where it listened before must not become another one while its last connection is closing. While an endpoint
// is reserved no mapping gets it; connections that come of it hold it on after [NAT.Unreserve]. Of packet.ProtoGRE it is
// a call ID that no other peer's calls have, see [NAT.ReserveCallID].
func (n *NAT) Reserve(now conntrack.Time, proto uint8, addr netip.Addr, inside netip.AddrPort) (port uint16, ok bool) {
	if proto == packet.ProtoGRE {
		return n.ReserveCallID(now, addr, netip.Addr{}, inside.Port())
	}
	a := allocator{portsKey: portsKey{addr.As16(), proto}}
	own := mapping{inside: inside.Addr().As16(), insidePort: inside.Port()}
	return n.reserve(now, &a, &request{proto: proto, want: inside.Port()}, own)
}

// reserve takes an endpoint of an allocator for the inside endpoint of own, if that has one.
func (n *NAT) reserve(now conntrack.Time, a *allocator, q *request, own mapping) (port uint16, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	own.outside, own.remote, own.proto, own.conns, own.reserved = a.addr, a.peer, a.proto, 1, true
	own.flags, own.pool = flagExpectation|mappingFlags(EndpointIndependent)<<2, n.implicitPool()
	switch slot, found := n.mappings.findInside(&own); {
	case own.inside == [16]byte{}:
		own.flags |= flagUnlisted
	case found && !n.mappings.at(slot).reserved:
		m := n.mappings.at(slot)
		m.conns, m.reserved = m.conns+1, true
		return m.outsidePort, true
	case found:
		own.flags |= flagUnlisted // the one that is listed is another control connection's
	}
	n.sweep(now, sweepStep)
	n.endRests(now)
	if n.mappings.used >= n.max {
		if n.sweep(now, sweepFull); n.mappings.used >= n.max {
			return 0, false
		}
	}
	p := n.portsOf(a)
	p.expire(seconds(now))
	port, ok = n.choose(p, q)
	for try := 0; !ok && q.callID != nil && try < callIDTries; try++ {
		p.expireOldest() // a call is worth more than the rest of another's ID
		port, ok = n.choose(p, q)
	}
	if !ok {
		n.dropPorts(a)
		return 0, false
	}
	own.outsidePort = port
	n.mappings.insert(&own)
	return port, true
}

// Unreserve gives back what Reserve took. A call ID rests, see [NAT.UnreserveCallID].
func (n *NAT) Unreserve(now conntrack.Time, proto uint8, addr netip.Addr, port uint16) {
	n.unreserve(now, &allocator{portsKey: portsKey{addr.As16(), proto}}, port)
}

func (n *NAT) unreserve(now conntrack.Time, a *allocator, port uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slot, ok := n.reservation(a, port); ok {
		if m := n.mappings.at(slot); m.reserved && m.conns > 0 {
			m.conns, m.reserved = m.conns-1, false
			n.endUnused(now, slot)
		}
	}
}

// reservation returns the slot of a reserved endpoint.
func (n *NAT) reservation(a *allocator, port uint16) (slot uint32, ok bool) {
	n.mappings.eachOutside(&a.addr, a.proto, port, func(s uint32, m *mapping) bool {
		slot, ok = s, m.flags&flagExpectation != 0 && m.remote == a.peer
		return !ok
	})
	return slot, ok
}

// holdReserved makes the connection a holder of a reserved endpoint, if it is one.
func (n *NAT) holdReserved(now conntrack.Time, c *conntrack.Conn, side int, addr *[16]byte, port uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := allocator{portsKey: portsKey{*addr, c.Tuples[conntrack.Original].Proto}}
	slot, ok := n.reservation(&a, port)
	if !ok && a.proto == packet.ProtoGRE {
		a.peer = *remoteOf(side, &c.Tuples)
		slot, ok = n.reservation(&a, port)
	}
	if ok {
		n.hold(now, n.mappings.at(slot))
		c.Mapping[side] = slot + 1
	}
}

// master returns the tuple that the master's packets of the expectation's direction leave with.
func (n *NAT) master(now conntrack.Time, c *conntrack.Conn) (src, dst [16]byte, ok bool) {
	if n.table == nil || !c.NAT.Follow {
		return src, dst, false
	}
	m, ok := n.table.Lookup(now, c.Master)
	other := &m.Tuples[1-c.NAT.Dir&1]
	return other.Dst, other.Src, ok
}

// expectedDestination binds an expected connection as its expectation says, before any rule.
func (n *NAT) expectedDestination(now conntrack.Time, c *conntrack.Conn) packet.DropReason {
	orig, reply := &c.Tuples[conntrack.Original], &c.Tuples[conntrack.Reply]
	addr, id := reply.Src, reply.SrcID
	if c.NAT.Dst.HasAddr {
		addr = c.NAT.Dst.Addr
	} else if _, dst, ok := n.master(now, c); ok {
		addr = dst
	}
	if c.NAT.Dst.HasKey {
		id = c.NAT.Dst.Key
	}
	n.holdReserved(now, c, 1, &orig.Dst, orig.DstID)
	setDestination(c, &addr, id)
	return packet.NotDropped
}

// expectedSource is expectedDestination for the source. An outside port that the expectation does not name is
// chosen as for any connection. Where it says nothing of the source, for it lets anybody come, an inside host may come
// by the outside address: a hairpin as any other, whose answers must come back through us (RFC 4787, REQ-9a).
func (n *NAT) expectedSource(now conntrack.Time, in, out int, c *conntrack.Conn) packet.DropReason {
	orig, reply := &c.Tuples[conntrack.Original], &c.Tuples[conntrack.Reply]
	addr, free := reply.Dst, false
	if c.NAT.Src.HasAddr {
		addr = c.NAT.Src.Addr
	} else if src, _, ok := n.master(now, c); ok {
		addr = src
	} else {
		free = !c.NAT.Follow
	}
	f := sourceFlow(in, out, c)
	switch {
	case c.NAT.Src.HasKey:
		n.holdReserved(now, c, 0, &addr, c.NAT.Src.Key)
		setSource(c, &addr, c.NAT.Src.Key)
	case free && n.hairpin(&f, c):
		return n.bindHairpin(now, &f, c)
	case addr == reply.Dst:
		return n.nullBinding(c)
	case hasPorts(orig.Proto):
		return n.bindTo(now, true, addr, c)
	default:
		setSource(c, &addr, currentSource(reply))
	}
	return packet.NotDropped
}
