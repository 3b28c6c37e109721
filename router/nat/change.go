package nat

import (
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/router/conntrack"
)

// SetAddresses gives an interface new addresses. Connections that masquerade behind one that is gone are useless:
// flush says of each whether it is to be deleted, by the rule's on_address_change (flush or keep); nil where
// nothing is. Call it before the next packet is handled and [conntrack.Table.Delete] what it selects. The mappings
// of such connections end with them and get no new ones.
func (n *NAT) SetAddresses(iface int, addrs []netip.Prefix) (flush func(*conntrack.Snapshot) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.own.Load()
	prefixes := slices.Clone(old.prefixes)
	prefixes[iface] = slices.Clone(addrs)
	fresh := newOwnAddresses(prefixes)
	n.own.Store(fresh)
	gone := map[[16]byte]bool{}
	for _, p := range old.prefixes[iface] {
		a := p.Addr().As16()
		if _, still := fresh.owner[a]; !still {
			gone[a] = true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	kept := map[uint32]bool{} // handles
	for slot := uint32(0); int(slot>>slabBits) < len(n.mappings.pages); slot++ {
		m := n.mappings.at(slot)
		if m.proto == 0 || !gone[m.outside] {
			continue
		}
		n.mappings.unlist(slot)
		if m.flags&flagKeep != 0 {
			kept[slot+1] = true
		}
	}
	return func(s *conntrack.Snapshot) bool {
		switch {
		case s.Status&conntrack.SrcNAT != 0 && gone[s.Tuples[conntrack.Reply].Dst]:
			return !kept[s.Mapping[0]]
		case s.Mapping[1] != 0 && gone[s.Tuples[conntrack.Original].Dst]:
			return !kept[s.Mapping[1]]
		}
		return false
	}
}
