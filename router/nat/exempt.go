package nat

import (
	"net/netip"

	"github.com/natrouter/natrouter/router/conntrack"
)

// MayLeave reports whether a packet of the connection may show its source, a private address, outside: where that is
// the address that translation gave it (a rule, a mapping, or the address that the connection's master has), and where a
// rule is what leaves it as it is. from is the source as it is to leave: of an ICMP error it may be that of a router on
// the way. in is the packet's ingress interface, -1 for what the router itself made, and out its egress. It is asked when
// a route is chosen, not for each packet.
func (n *NAT) MayLeave(in, out int, c *conntrack.Conn, from netip.Addr) bool {
	sent, leaves := &c.Tuples[c.Dir].Src, &c.Tuples[1-c.Dir].Dst
	itself := from.As16() == *leaves
	if itself && *leaves != *sent {
		return true
	}
	f := senderFlow(in, out, c)
	if r := n.matchSource(&f); r != nil && (r.Action == Accept || itself && r.keepsSource(&f)) {
		return true
	}
	if c.Dir == conntrack.Original {
		return false
	}
	f = n.destinationFlow(out, &c.Tuples[conntrack.Original])
	r := n.matchDestination(&f)
	return r != nil && (r.Action == Accept || itself && r.Action == DNAT && containsAddr(r.to(f.family).spans, f.dst))
}

// keepsSource reports whether a rule translates the flow's source to itself, or may.
func (r *rule) keepsSource(f *flow) bool {
	switch r.Action {
	case SNAT:
		return containsAddr(r.to(f.family).spans, f.src)
	case Netmap, NPTv6:
		to, ok := r.translateOutward(f)
		return ok && to == f.src
	}
	return false
}

// senderFlow is what rules of the SRC position look at if the sender of the packet in hand had begun the connection.
// What the other side began has no destination port then: rules for ports are about servers.
func senderFlow(in, out int, c *conntrack.Conn) flow {
	f := sourceFlow(in, out, c)
	if c.Dir == conntrack.Reply {
		f.src, f.dst, f.port = f.dst, f.src, 0
	}
	return f
}
