package nat

import (
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// setDestination makes addr and, in protocols with ports, port the connection's true destination.
func setDestination(c *conntrack.Conn, addr *[16]byte, port uint16) {
	reply := &c.Tuples[conntrack.Reply]
	if reply.Src != *addr {
		reply.Src, c.Status = *addr, c.Status|conntrack.DstNAT
	}
	if reply.SrcID != port {
		reply.SrcID, c.Status = port, c.Status|conntrack.DstNAT
	}
}

// setSource makes addr and id, a port or identifier, the connection's outside source.
func setSource(c *conntrack.Conn, addr *[16]byte, id uint16) {
	reply := &c.Tuples[conntrack.Reply]
	at := &reply.DstID
	if isICMP(reply.Proto) { // the identifier stands in the source ID of both tuples
		at = &reply.SrcID
	}
	if reply.Dst != *addr {
		reply.Dst, c.Status = *addr, c.Status|conntrack.SrcNAT
	}
	if *at != id {
		*at, c.Status = id, c.Status|conntrack.SrcNAT
	}
}

// currentSource returns the ID that the connection leaves with so far.
func currentSource(reply *conntrack.Tuple) uint16 {
	if isICMP(reply.Proto) {
		return reply.SrcID
	}
	return reply.DstID
}

// bindDestination applies a rule of the DST position.
func (n *NAT) bindDestination(r *rule, f *flow, c *conntrack.Conn) packet.DropReason {
	reply := &c.Tuples[conntrack.Reply]
	switch r.Action {
	case DNAT:
		l := r.to(f.family)
		to := l.at(n.spread(f, l.total)).bytes()
		setDestination(c, &to, n.newPort(r, f, reply.SrcID))
	case Redirect:
		iface := f.in
		if f.hairpin && r.in == f.owner { // a hairpin comes to where the rule stands
			iface = f.owner
		}
		to, ok := n.own.Load().primary(iface, f.family, &reply.Dst)
		if !ok {
			return packet.NATUnmappable
		}
		setDestination(c, &to, n.newPort(r, f, reply.SrcID))
	case Netmap, NPTv6:
		to, ok := r.translateInward(f)
		if !ok {
			return packet.CannotMap
		}
		b := to.bytes()
		setDestination(c, &b, reply.SrcID)
	}
	return packet.NotDropped
}

// spread chooses one of several targets by the source alone, so that a host keeps to one.
func (n *NAT) spread(f *flow, total uint64) uint64 {
	if total < 2 {
		return 0
	}
	src := f.src.bytes()
	return n.key.sum(&src, 1<<60) % total
}

// newPort returns the destination port that a dnat or redirect rule gives: shifted where the ranges have one
// size, else one of its ports, by the source.
func (n *NAT) newPort(r *rule, f *flow, port uint16) uint16 {
	if len(r.ToPorts) == 0 || !hasPorts(f.proto) {
		return port
	}
	if i := portIndex(r.Ports, port); i >= 0 && portCount(r.Ports) == portCount(r.ToPorts) {
		return portAt(r.ToPorts, i)
	}
	return portAt(r.ToPorts, int(n.spread(f, uint64(portCount(r.ToPorts)))))
}

// portCount returns how many ports a list has.
func portCount(ranges []conntrack.PortRange) (count int) {
	for _, r := range ranges {
		count += int(r.Last) - int(r.First) + 1
	}
	return count
}

// portIndex returns the place of a port in a list, -1 if it is not in it.
func portIndex(ranges []conntrack.PortRange, port uint16) int {
	before := 0
	for _, r := range ranges {
		if r.First <= port && port <= r.Last {
			return before + int(port-r.First)
		}
		before += int(r.Last) - int(r.First) + 1
	}
	return -1
}

// portAt returns the i-th port of a list that has it.
func portAt(ranges []conntrack.PortRange, i int) uint16 {
	for _, r := range ranges {
		size := int(r.Last) - int(r.First) + 1
		if i < size {
			return r.First + uint16(i)
		}
		i -= size
	}
	return 0
}

// bindInbound gives a new connection from outside, or a hairpin, the destination of the mapping that has the
// outside endpoint. Filtering is about the outside: inside hosts reach each other's mappings (RFC 4787, REQ-9).
func (n *NAT) bindInbound(now conntrack.Time, f *flow, c *conntrack.Conn) bool {
	orig := &c.Tuples[conntrack.Original]
	port, remotePort := orig.DstID, orig.SrcID
	if isICMP(orig.Proto) {
		if port, remotePort = orig.SrcID, 0; f.own && !f.hairpin {
			return false // the router answers ICMP echo on its own addresses
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	found := false
	n.mappings.eachOutside(&orig.Dst, orig.Proto, port, func(slot uint32, m *mapping) bool {
		if m.flags&flagExpectation != 0 {
			return true
		}
		if f.hairpin {
			found = m.flags&flagHairpin != 0 && (m.flags&flagShared == 0 || n.others(m) == 1)
		} else {
			shared := m.flags&flagShared != 0 && n.others(m) > 1
			found = n.mappings.admits(slot, m, shared, &orig.Src, remotePort, now)
		}
		if found {
			n.hold(now, m)
			c.Mapping[1] = slot + 1
			setDestination(c, &m.inside, m.insidePort)
			c.Status |= conntrack.DstNAT
			if !f.hairpin && !n.defaults.InboundRefresh {
				c.Status |= conntrack.NoInboundRefresh | conntrack.OutboundIsReply
			}
		}
		return !found
	})
	return found
}

// pendingHold is how long a mapping waits for its first connection to be confirmed: longer than any helper holds
// a packet.
const pendingHold = 60 * second

// hold counts a connection that is bound and not confirmed yet.
func (n *NAT) hold(now conntrack.Time, m *mapping) {
	m.pending++
	m.until = max(m.until, seconds(now+pendingHold))
}

// mapped returns the mapping of a handle if it still is the one that the tuples were bound by.
func (n *NAT) mapped(handle uint32, side int, t *[2]conntrack.Tuple) *mapping {
	if handle == 0 || int((handle-1)>>slabBits) >= len(n.mappings.pages) {
		return nil
	}
	m := n.mappings.at(handle - 1)
	orig, reply := &t[conntrack.Original], &t[conntrack.Reply]
	if m.proto != orig.Proto {
		return nil
	}
	if side == 0 {
		if m.outside != reply.Dst || m.outsidePort != currentSource(reply) {
			return nil
		}
		return m
	}
	port := orig.DstID
	if isICMP(orig.Proto) {
		port = orig.SrcID
	}
	if m.outside != orig.Dst || m.outsidePort != port {
		return nil
	}
	return m
}

// unbind takes the holds of an unconfirmed connection off its mappings.
func (n *NAT) unbind(now conntrack.Time, handles *[2]uint32) {
	for _, handle := range handles {
		if handle == 0 || int((handle-1)>>slabBits) >= len(n.mappings.pages) {
			continue
		}
		if m := n.mappings.at(handle - 1); m.proto != 0 && m.pending > 0 {
			m.pending--
			n.endUnused(now, handle-1)
		}
	}
}

// endUnused ends a mapping that nothing holds.
func (n *NAT) endUnused(now conntrack.Time, slot uint32) {
	m := n.mappings.at(slot)
	if m.conns != 0 || m.pending != 0 || (m.flags&flagEvicted != 0 && m.until > seconds(now)) {
		return
	}
	n.end(now, slot)
}

// end removes a mapping and gives its port back.
func (n *NAT) end(now conntrack.Time, slot uint32) {
	m := *n.mappings.at(slot)
	n.mappings.remove(slot)
	if m.flags&flagExpectation == 0 {
		if n.pairs(m.pool, tupleFamily(&m.inside)) {
			n.dropPairing(m.pool, &m.inside)
		}
		n.countSource(&m, -1)
	}
	if m.flags&flagShared != 0 && n.others(&m) > 0 {
		return
	}
	a := m.allocator()
	p := n.portsOf(&a)
	if m.proto == packet.ProtoGRE {
		n.rest(now, &a, m.outsidePort)
		return
	}
	if m.filtering() == EndpointIndependent && n.defaults.Quarantine > 0 && m.flags&(flagExpectation|flagUsed) == flagUsed {
		p.hold(m.outsidePort, seconds(now+n.defaults.Quarantine))
		return
	}
	p.free(m.outsidePort)
	n.dropPorts(&a)
}

// others counts the mappings at an outside endpoint, up to two: thousands may share one.
func (n *NAT) others(m *mapping) (count int) {
	n.mappings.eachOutside(&m.outside, m.proto, m.outsidePort, func(uint32, *mapping) bool {
		count++
		return count < 2
	})
	return count
}

// countSource counts a mapping of an inside address where that is limited (RFC 6888, REQ-4: by protocol).
func (n *NAT) countSource(m *mapping, by int) {
	if n.defaults.PortsPerSource == 0 {
		return
	}
	k := portsKey{m.inside, m.proto}
	count := int(n.perSource[k]) + by
	if count <= 0 {
		delete(n.perSource, k)
		return
	}
	n.perSource[k] = uint32(count)
}

// tupleFamily returns the family of an address as tuples hold it.
func tupleFamily(a *[16]byte) uint8 {
	if packet.Is4In6(a) {
		return 4
	}
	return 6
}

// sweep looks at a few slots for mappings that nothing holds any more and whose time is over: evicted ones, and
// those whose packet vanished.
func (n *NAT) sweep(now conntrack.Time, slots int) {
	t := &n.mappings
	for range min(slots, len(t.pages)<<slabBits) {
		if t.sweepPos >= uint32(len(t.pages))<<slabBits {
			t.sweepPos = 0
		}
		if m := t.at(t.sweepPos); m.proto != 0 && m.conns == 0 && m.until <= seconds(now) {
			n.end(now, t.sweepPos)
		}
		t.sweepPos++
	}
}
