package nat

import (
	"net/netip"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// callIDRest is how long a call ID stays out of use after its call and its connections: late data of the one must not
// reach another (docs/spec/pptp.md, section 5). It begins with the end of the last of them, so it outlives the control
// connection.
const callIDRest = 30 * second

// callIDTries is how often a call ID is looked for at another place when those of any peer are in the way.
const callIDTries = 8

// rest is a call ID in quarantine, of an allocator that may be asked for nothing more.
type rest struct {
	at    allocator
	until uint32 // seconds
}

// ReserveCallID takes a call ID of addr, an outside address, for packets that come from peer: GRE is told apart by both
// addresses and its receiver's call ID (RFC 2637, section 4.1), so calls with different peers may have one ID. The zero
// peer stands for any: no other call of addr then has the ID. want is kept if it is free and not 0, else a random one
// from 1 to 65535 is given. Where all are taken, the one that has rested longest is used again.
func (n *NAT) ReserveCallID(now conntrack.Time, addr, peer netip.Addr, want uint16) (id uint16, ok bool) {
	a := callIDs(addr, peer)
	return n.reserve(now, &a, &request{proto: packet.ProtoGRE, want: want, callID: &a}, mapping{})
}

// UnreserveCallID gives back what ReserveCallID took. When its connections are over too, it rests for 30 s.
func (n *NAT) UnreserveCallID(now conntrack.Time, addr, peer netip.Addr, id uint16) {
	a := callIDs(addr, peer)
	n.unreserve(now, &a, id)
}

// callIDs returns the allocator of an outside address and a peer.
func callIDs(addr, peer netip.Addr) allocator {
	a := allocator{portsKey: portsKey{addr.As16(), packet.ProtoGRE}}
	if peer.IsValid() {
		a.peer = peer.As16()
	}
	return a
}

// callIDFree reports whether an ID that is free for a peer is no call's of any peer, or the other way round.
func (n *NAT) callIDFree(a *allocator, id uint16) bool {
	free := true
	n.mappings.eachOutside(&a.addr, a.proto, id, func(_ uint32, m *mapping) bool {
		free = a.peer != [16]byte{} && m.remote != [16]byte{}
		return free
	})
	return free
}

// rest begins the quarantine of a call ID. There are never more of them than mappings allowed: the oldest give way.
func (n *NAT) rest(now conntrack.Time, a *allocator, id uint16) {
	until := seconds(now + callIDRest)
	n.portsOf(a).hold(id, until)
	n.resting = append(n.resting, rest{*a, until})
	n.endRests(now)
}

// endRests ends the quarantines of call IDs that are over, also of allocators that nobody asks any more.
func (n *NAT) endRests(now conntrack.Time) {
	done, at := 0, seconds(now)
	for ; done < len(n.resting) && (n.resting[done].until <= at || len(n.resting)-done > n.max); done++ {
		r := &n.resting[done]
		p := n.ports[r.at]
		if p == nil {
			continue // used again before its time
		}
		if p.expire(at); r.until > at {
			p.expireOldest()
		}
		n.dropPorts(&r.at)
	}
	if n.resting = n.resting[done:]; len(n.resting) == 0 {
		n.resting = nil
	}
}
