package nat

import (
	"cmp"
	"net/netip"
	"slices"
)

// MappingInfo is a mapping as commands show it.
type MappingInfo struct {
	Proto           uint8
	Inside, Outside netip.AddrPort
	Connections     int
	Filtering       Behaviour
}

// Walk calls f for each mapping until it returns false. No lock is held during f; mappings that come and go
// meanwhile may be missed.
func (n *NAT) Walk(f func(*MappingInfo) bool) {
	for slot := uint32(0); ; slot++ {
		info, ok := n.mappingInfo(&slot)
		if !ok || !f(&info) {
			return
		}
	}
}

// mappingInfo describes the first mapping from slot on and sets slot to it.
func (n *NAT) mappingInfo(slot *uint32) (MappingInfo, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for ; int(*slot>>slabBits) < len(n.mappings.pages); *slot++ {
		m := n.mappings.at(*slot)
		if m.proto == 0 || m.flags&flagExpectation != 0 {
			continue
		}
		return MappingInfo{
			Proto:       m.proto,
			Inside:      netip.AddrPortFrom(netip.AddrFrom16(m.inside).Unmap(), m.insidePort),
			Outside:     netip.AddrPortFrom(netip.AddrFrom16(m.outside).Unmap(), m.outsidePort),
			Connections: int(m.conns), Filtering: m.filtering(),
		}, true
	}
	return MappingInfo{}, false
}

// Stats is NAT in numbers.
type Stats struct {
	Mappings    int    // of this moment, reservations of expectations among them
	MaxMappings int    // their limit
	Quarantined int    // ports that may not be used yet
	Allocated   uint64 // mappings ever made
	Exhausted   uint64 // connections refused because no port was free
	Hairpins    uint64 // connections between inside hosts by an outside address
	Pools       []PoolStats
	Refused     []DestinationStats // refusals by destination, most first
}

// PoolStats is one pool in numbers.
type PoolStats struct {
	Interface string // masquerade: whose address it is; empty: a list of addresses
	Line      int    // of the first rule that has it; 0: unknown
	Mappings  int
	Allocated uint64
	Exhausted uint64
	Holders   []HolderStats // the inside hosts that hold most, most first
}

// HolderStats is an inside host's share of a pool.
type HolderStats struct {
	Inside   netip.Addr
	Mappings int
}

// DestinationStats counts refusals of connections to one destination. Only so many destinations are counted.
type DestinationStats struct {
	Destination netip.Addr
	Exhausted   uint64
}

// topHolders is how many holders and destinations Stats names.
const topHolders = 10

// Stats returns the numbers of this moment. It walks all mappings: ask a few times a minute, not a second.
func (n *NAT) Stats() Stats {
	n.mu.Lock()
	s := Stats{
		Mappings: n.mappings.used, MaxMappings: n.max, Hairpins: n.hairpins.Load(),
		Pools: make([]PoolStats, len(n.pools)),
	}
	for i := range n.pools {
		p := &n.pools[i]
		s.Pools[i] = PoolStats{Line: p.line, Allocated: p.allocated, Exhausted: p.exhausted}
		if p.iface >= 0 {
			s.Pools[i].Interface = n.interfaces[p.iface].Name
		}
		s.Allocated += p.allocated
		s.Exhausted += p.exhausted
	}
	for _, p := range n.ports {
		s.Quarantined += len(p.quarantine)
	}
	for a, count := range n.exhausted {
		s.Refused = append(s.Refused, DestinationStats{netip.AddrFrom16(a).Unmap(), count})
	}
	n.mu.Unlock()
	s.rank(n.holders())
	return s
}

// holders counts the mappings of each inside host in each pool. It locks one page of the slab after the other, so
// that packets go on meanwhile.
func (n *NAT) holders() map[hostKey]int {
	holders := make(map[hostKey]int)
	for page := 0; ; page++ {
		n.mu.Lock()
		if page >= len(n.mappings.pages) {
			n.mu.Unlock()
			return holders
		}
		for i := range n.mappings.pages[page] {
			if m := &n.mappings.pages[page][i]; m.proto != 0 && m.flags&flagExpectation == 0 {
				holders[hostKey{m.inside, m.pool}]++
			}
		}
		n.mu.Unlock()
	}
}

// rank fills in the largest holders and destinations.
func (s *Stats) rank(holders map[hostKey]int) {
	for k, count := range holders {
		p := &s.Pools[k.pool]
		p.Mappings += count
		p.Holders = append(p.Holders, HolderStats{netip.AddrFrom16(k.host).Unmap(), count})
	}
	for i := range s.Pools {
		h := s.Pools[i].Holders
		slices.SortFunc(h, func(a, b HolderStats) int {
			return cmp.Or(cmp.Compare(b.Mappings, a.Mappings), a.Inside.Compare(b.Inside))
		})
		s.Pools[i].Holders = h[:min(len(h), topHolders)]
	}
	slices.SortFunc(s.Refused, func(a, b DestinationStats) int {
		return cmp.Or(cmp.Compare(b.Exhausted, a.Exhausted), a.Destination.Compare(b.Destination))
	})
	s.Refused = s.Refused[:min(len(s.Refused), topHolders)]
}
