package nat

import (
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// hairpin reports whether an inside host talks to an inside host by an outside address. f then becomes the flow
// as rules of the outside interface see it: the peer must find the sender's outside endpoint (RFC 4787, REQ-9a),
// or its answers would not come back through us.
func (n *NAT) hairpin(f *flow, c *conntrack.Conn) bool {
	if c.Status&conntrack.DstNAT == 0 || !n.inside(f.in) || !n.inside(f.out) {
		return false
	}
	orig := &c.Tuples[conntrack.Original]
	owner, _ := n.outside(&orig.Dst)
	if owner < 0 {
		return false
	}
	if c.Mapping[1] == 0 && !c.NAT.Set() { // a rule did it: not where that rule says otherwise
		d := n.destinationFlow(f.in, orig)
		if r := n.matchDestination(&d); r == nil || !r.hairpinned {
			return false
		}
	}
	f.out, f.owner, f.hairpin, f.dst, f.port = owner, owner, true, addressOf(&orig.Dst), orig.DstID
	return true
}

// bindHairpin gives a hairpin the source that its sender has outside, by no rule's leave where none translates it.
func (n *NAT) bindHairpin(now conntrack.Time, f *flow, c *conntrack.Conn) packet.DropReason {
	n.hairpins.Add(1)
	if r := n.matchSource(f); r != nil {
		return n.bindSource(now, r, f, c)
	}
	return n.bindTo(now, false, c.Tuples[conntrack.Original].Dst, c)
}

// bindSource applies a rule of the SRC position.
func (n *NAT) bindSource(now conntrack.Time, r *rule, f *flow, c *conntrack.Conn) packet.DropReason {
	orig, reply := &c.Tuples[conntrack.Original], &c.Tuples[conntrack.Reply]
	switch r.Action {
	case Netmap, NPTv6:
		to, ok := r.translateOutward(f)
		if !ok {
			return packet.CannotMap
		}
		b := to.bytes()
		setSource(c, &b, currentSource(reply))
		return packet.NotDropped
	case SNAT:
		return n.bindPool(now, r, [16]byte{}, c)
	case Masquerade:
		if unspecified(&orig.Src) { // DHCP: the sender has no address yet
			return n.nullBinding(c)
		}
		addr, ok := n.own.Load().primary(f.out, f.family, &reply.Src)
		if !ok {
			return packet.NATUnmappable
		}
		return n.bindPool(now, r, addr, c)
	}
	return n.nullBinding(c)
}

func unspecified(a *[16]byte) bool {
	return *a == [16]byte{} || *a == [16]byte{10: 0xff, 11: 0xff}
}

// bindPool gives the connection an outside source: of its mapping, or of a new one. fixed is the address to use;
// the zero value: one of the rule's pool.
func (n *NAT) bindPool(now conntrack.Time, r *rule, fixed [16]byte, c *conntrack.Conn) packet.DropReason {
	orig, reply := &c.Tuples[conntrack.Original], &c.Tuples[conntrack.Reply]
	b := binding{
		pool: r.pool, ranges: r.ToPorts, addr: fixed, given: r.Action == Masquerade,
		flags: mappingFlags(r.Filtering) | mappingFlags(r.Mapping)<<2,
	}
	if !hasPorts(orig.Proto) {
		b.ranges = nil
	}
	if r.hairpinned {
		b.flags |= flagHairpin
	}
	if r.KeepOnChange {
		b.flags |= flagKeep
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	// The one identifier of an ICMP query is that of the destination's mapping already (hairpin).
	if !mappable(orig) || (isICMP(orig.Proto) && c.Status&conntrack.DstNAT != 0 && reply.SrcID != orig.SrcID) {
		if !b.given {
			b.addr = n.poolAddress(r.pool, orig)
		}
		setSource(c, &b.addr, currentSource(reply))
		return packet.NotDropped
	}
	return n.bindMapping(now, &b, c)
}

// bindTo gives the connection a source at addr by no rule's leave: a hairpin of a host that no rule translates, or
// (own) what the router itself sends, whose ports must not be those of a mapping, and what follows its master, which
// may leave by no other address than that.
func (n *NAT) bindTo(now conntrack.Time, own bool, addr [16]byte, c *conntrack.Conn) packet.DropReason {
	b := binding{
		pool: n.implicitPool(), addr: addr, given: true,
		flags: mappingFlags(n.defaults.Filtering) | mappingFlags(n.defaults.Mapping)<<2 | flagHairpin,
	}
	if own {
		b.exact, b.flags = true, mappingFlags(AddressAndPortDependent)|mappingFlags(EndpointIndependent)<<2
	}
	orig, reply := &c.Tuples[conntrack.Original], &c.Tuples[conntrack.Reply]
	if !mappable(orig) || (isICMP(orig.Proto) && reply.SrcID != orig.SrcID) {
		setSource(c, &addr, currentSource(reply))
		return packet.NotDropped
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bindMapping(now, &b, c)
}

// binding is what a mapping is made by.
type binding struct {
	pool   uint16
	ranges []conntrack.PortRange // empty: by class
	addr   [16]byte
	given  bool // addr is for a new mapping; else one of the pool is
	exact  bool // a mapping at another address than addr won't do
	flags  mappingFlags
}

// bindMapping binds the connection's source to its mapping, making one where there is none. Its caller holds mu.
func (n *NAT) bindMapping(now conntrack.Time, b *binding, c *conntrack.Conn) packet.DropReason {
	orig, reply := &c.Tuples[conntrack.Original], &c.Tuples[conntrack.Reply]
	m := mapping{inside: orig.Src, insidePort: orig.SrcID, proto: orig.Proto, pool: b.pool, flags: b.flags}
	if m.mapping() != EndpointIndependent {
		m.remote, m.remotePort = reply.Src, remotePortOf(0, &c.Tuples)
	}
	if b.exact {
		m.outside = b.addr
	}
	slot, ok := n.mappings.findInside(&m)
	if !ok {
		var reason packet.DropReason
		if slot, reason = n.newMapping(now, &m, b, reply); reason != packet.NotDropped {
			return reason
		}
	}
	at := n.mappings.at(slot)
	n.hold(now, at)
	c.Mapping[0] = slot + 1
	setSource(c, &at.outside, at.outsidePort)
	if c.Status&(conntrack.DstNAT|conntrack.Expected) == 0 && !n.defaults.InboundRefresh {
		c.Status |= conntrack.NoInboundRefresh
	}
	return packet.NotDropped
}

// sweepStep is how many slots a new mapping looks at for ended ones, sweepFull how many where there is no room.
const (
	sweepStep = 4
	sweepFull = 256
)

// newMapping makes m at an outside endpoint of b. It fails, and removes nothing that is in use, where a limit is
// reached or no port is free.
func (n *NAT) newMapping(now conntrack.Time, m *mapping, b *binding, reply *conntrack.Tuple) (uint32, packet.DropReason) {
	n.sweep(now, sweepStep)
	if n.mappings.used >= n.max {
		if n.sweep(now, sweepFull); n.mappings.used >= n.max {
			return 0, packet.MappingLimit
		}
	}
	if limit := n.defaults.PortsPerSource; limit > 0 && int(n.perSource[portsKey{m.inside, m.proto}]) >= limit {
		return 0, packet.PortLimit
	}
	if !n.takeEndpoint(now, m, b, reply) {
		n.sweep(now, sweepFull)
		if !n.takeEndpoint(now, m, b, reply) {
			n.refused(m, reply)
			return 0, packet.NoPort
		}
	}
	if n.pairs(m.pool, tupleFamily(&m.inside)) {
		n.addPairing(m.pool, &m.inside, &m.outside)
	}
	n.countSource(m, 1)
	n.pools[m.pool].allocated++
	return n.mappings.insert(m), packet.NotDropped
}

// takeEndpoint takes an outside endpoint for m: at the given or paired address, or at any of the pool.
func (n *NAT) takeEndpoint(now conntrack.Time, m *mapping, b *binding, reply *conntrack.Tuple) bool {
	q := request{proto: m.proto, want: m.insidePort, ranges: b.ranges, reply: *reply}
	if b.given {
		return n.takePort(now, m, &q, b.addr)
	}
	l := n.pools[m.pool].list(tupleFamily(&m.inside))
	if n.pairs(m.pool, tupleFamily(&m.inside)) {
		return n.takePort(now, m, &q, n.pair(m.pool, l, &m.inside))
	}
	start := uint64(0)
	if l.total > 1 {
		start = n.rand.Uint64() % l.total
	}
	for i := uint64(0); i < min(l.total, manyAddresses); i++ {
		if n.takePort(now, m, &q, l.at((start+i)%l.total).bytes()) {
			return true
		}
	}
	return false
}

// manyAddresses is how many addresses of an arbitrary pool are asked for one port.
const manyAddresses = 1024

// takePort takes a port at an address.
func (n *NAT) takePort(now conntrack.Time, m *mapping, q *request, addr [16]byte) bool {
	q.reply.Dst = addr
	m.outside = addr
	a := m.allocator()
	p := n.portsOf(&a)
	p.expire(seconds(now))
	mayShare := m.mapping() == AddressAndPortDependent && !n.defaults.OverlapNever
	port, ok := n.choose(p, q)
	if !ok && mayShare {
		port, ok = n.overload(m, q)
	}
	if m.outsidePort = port; ok && mayShare {
		m.flags |= flagShared
	}
	return ok
}

// maxOverload is how many taken ports are looked at for one that m may share.
const maxOverload = 1024

// overload finds a port whose mappings all go to other remote endpoints and allow it (docs/spec/nat.md, section 3:
// only in address-and-port-dependent mapping).
func (n *NAT) overload(m *mapping, q *request) (uint16, bool) {
	r, _ := n.class(q.proto, q.want)
	if len(q.ranges) > 0 {
		r = q.ranges[n.random(len(q.ranges))]
	}
	port := r.First + uint16(n.random(int(r.Last-r.First)+1))
	for range min(maxOverload, int(r.Last-r.First)+1) {
		if n.shareable(m, port) && n.usable(q, port) {
			return port, true
		}
		if port++; port > r.Last || port == 0 {
			port = r.First
		}
	}
	return 0, false
}

// shareable reports whether a taken port belongs to mappings that m may join.
func (n *NAT) shareable(m *mapping, port uint16) bool {
	found, free := false, true
	n.mappings.eachOutside(&m.outside, m.proto, port, func(_ uint32, o *mapping) bool {
		found = true
		if o.flags&flagShared == 0 || (o.remote == m.remote && o.remotePort == m.remotePort) {
			free = false
		}
		return free
	})
	return found && free
}

// poolAddress returns the outside address that a connection without ports gets.
func (n *NAT) poolAddress(id uint16, orig *conntrack.Tuple) [16]byte {
	l := n.pools[id].list(orig.Family & familyMask)
	if l.total == 1 {
		return l.at(0).bytes()
	}
	return n.pair(id, l, &orig.Src)
}

// maxDestinations bounds the refusals that are counted by destination.
const maxDestinations = 256

// refused counts an exhausted pool.
func (n *NAT) refused(m *mapping, reply *conntrack.Tuple) {
	n.pools[m.pool].exhausted++
	if _, ok := n.exhausted[reply.Src]; ok || len(n.exhausted) < maxDestinations {
		n.exhausted[reply.Src]++
	}
}

// maxNullTries bounds the search for another source port of a connection that no rule translates.
const maxNullTries = 2048

// nullBinding leaves the source, unless another connection has the reply tuple: then the source port or
// identifier gives way (docs/spec/nat.md, section 1).
func (n *NAT) nullBinding(c *conntrack.Conn) packet.DropReason {
	orig, reply := &c.Tuples[conntrack.Original], &c.Tuples[conntrack.Reply]
	if !mappable(orig) || !n.taken(reply) || (isICMP(orig.Proto) && reply.SrcID != orig.SrcID) {
		return packet.NotDropped // portless protocols: what a clash means, conntrack's rules say
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r, _ := n.class(orig.Proto, orig.SrcID)
	q := request{reply: *reply}
	port := r.First + uint16(n.random(int(r.Last-r.First)+1))
	for range maxNullTries {
		if n.usable(&q, port) {
			addr := reply.Dst
			setSource(c, &addr, port)
			return packet.NotDropped
		}
		if port++; port > r.Last || port == 0 {
			port = r.First
		}
	}
	return packet.NoPort
}
