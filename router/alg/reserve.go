package alg

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// reservation is an outside port or call ID that the connection holds.
type reservation struct {
	proto   uint8
	id      uint16
	outside netip.Addr
}

func (r reservation) compare(o reservation) int {
	return cmp.Or(cmp.Compare(r.proto, o.proto), r.outside.Compare(o.outside), cmp.Compare(r.id, o.id))
}

// maxReserved is how many outside ports and call IDs one connection may hold: as many as its two ends can have call
// IDs. What NAT as a whole may hold is bounded by its mappings.
const maxReserved = 2 * 65535

// Reserve implements [Master], as all that follow.
func (st *state) Reserve(proto uint8, outside netip.Addr, inside netip.AddrPort) (id uint16, ok bool) {
	if n := st.kit.nat; n != nil && len(st.reserved) < maxReserved && !st.destroyed {
		if proto == packet.ProtoGRE {
			id, ok = n.ReserveCallID(st.now, outside, st.peerOf(outside), inside.Port())
		} else {
			id, ok = n.Reserve(st.now, proto, outside, inside)
		}
	}
	if !ok {
		st.helper.counters.add(CountReserveFailed)
		return 0, false
	}
	if st.reserved == nil {
		st.reserved = make(map[reservation]struct{})
	}
	st.reserved[reservation{proto, id, outside}] = struct{}{}
	return id, true
}

// Unreserve gives back only what this connection holds.
func (st *state) Unreserve(proto uint8, outside netip.Addr, id uint16) {
	r := reservation{proto, id, outside}
	if _, ok := st.reserved[r]; ok {
		delete(st.reserved, r)
		st.unreserve(r)
	}
}

func (st *state) unreserve(r reservation) {
	if r.proto == packet.ProtoGRE {
		st.kit.nat.UnreserveCallID(st.now, r.outside, st.peerOf(r.outside), r.id)
	} else {
		st.kit.nat.Unreserve(st.now, r.proto, r.outside, r.id)
	}
}

// unreserveAll gives back what is left, always in the same order.
func (st *state) unreserveAll() {
	for _, r := range slices.SortedFunc(maps.Keys(st.reserved), reservation.compare) {
		st.unreserve(r)
	}
	st.reserved = nil
}

// peerOf returns the host that packets to an outside address of this connection come from; none where both ends are
// known by that address (hairpin), or neither is.
func (st *state) peerOf(outside netip.Addr) (peer netip.Addr) {
	for dir := range conntrack.Direction(2) {
		if out := st.Leaving(dir); out.SrcAddr() == outside {
			if peer.IsValid() {
				return netip.Addr{}
			}
			in := st.Arriving(1 - dir)
			peer = in.SrcAddr()
		}
	}
	return peer
}
