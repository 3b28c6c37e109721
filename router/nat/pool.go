package nat

import (
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// pool is where outside endpoints come from: the addresses of a snat rule, or the present primary address of a
// masquerade rule's interface. Rules with the same addresses share a pool, and with it their mappings.
type pool struct {
	iface     int // masquerade: the egress interface; -1: addresses below
	v4, v6    addrList
	line      int // of the first rule that has it
	allocated uint64
	exhausted uint64
}

func (p *pool) list(family uint8) *addrList {
	if family == 4 {
		return &p.v4
	}
	return &p.v6
}

// hostKey names an inside host and a pool.
type hostKey struct {
	host [16]byte
	pool uint16
}

// pairing is the outside address that an inside host has in a pool while it has mappings (RFC 6888, REQ-2).
type pairing struct {
	outside  [16]byte
	mappings uint32
}

// fewAddresses is how many addresses of a pool are compared to find the one with the fewest hosts.
const fewAddresses = 64

// pair returns the outside address of a host in a pool of several addresses: the one it has, else the one with
// the fewest hosts, beginning at a place of the host's own, so that one who comes back tends to find the old one.
func (n *NAT) pair(id uint16, l *addrList, host *[16]byte) [16]byte {
	if p, ok := n.paired[hostKey{*host, id}]; ok {
		return p.outside
	}
	start := n.key.sum(host, uint64(id)) % l.total
	best, fewest := l.at(start).bytes(), ^uint32(0)
	for i := uint64(0); i < min(l.total, fewAddresses); i++ {
		a := l.at((start + i) % l.total).bytes()
		hosts := n.hosts[a]
		if hosts < fewest {
			best, fewest = a, hosts
		}
		if hosts == 0 {
			break
		}
	}
	return best
}

// addPairing counts a mapping of host at outside; dropPairing takes it off. Pools of one address have none.
func (n *NAT) addPairing(id uint16, host, outside *[16]byte) {
	k := hostKey{*host, id}
	p, ok := n.paired[k]
	if !ok {
		p.outside = *outside
		n.hosts[*outside]++
	}
	p.mappings++
	n.paired[k] = p
}

func (n *NAT) dropPairing(id uint16, host *[16]byte) {
	k := hostKey{*host, id}
	p, ok := n.paired[k]
	if !ok {
		return
	}
	if p.mappings--; p.mappings != 0 {
		n.paired[k] = p
		return
	}
	delete(n.paired, k)
	if n.hosts[p.outside]--; n.hosts[p.outside] == 0 {
		delete(n.hosts, p.outside)
	}
}

// pairs reports whether a pool's hosts are paired in a family.
func (n *NAT) pairs(id uint16, family uint8) bool {
	p := &n.pools[id]
	return p.iface < 0 && !n.defaults.PoolArbitrary && p.list(family).total > 1
}

// portsKey names an address and a protocol.
type portsKey struct {
	addr  [16]byte
	proto uint8
}

// allocator names a set of outside ports: of an outside address and protocol. Call IDs have one for each peer too:
// the address that packets to them come from; zero: any peer, and in all other protocols.
type allocator struct {
	portsKey
	peer [16]byte
}

// allocator returns where a mapping has its port from.
func (m *mapping) allocator() allocator {
	a := allocator{portsKey: portsKey{m.outside, m.proto}}
	if m.proto == packet.ProtoGRE {
		a.peer = m.remote
	}
	return a
}

// portsOf returns the ports of an allocator. A new one has those of static rules taken.
func (n *NAT) portsOf(a *allocator) *ports {
	if p := n.ports[*a]; p != nil {
		return p
	}
	p := new(ports)
	n.reserveStatic(p, addressOf(&a.addr), a.proto)
	n.ports[*a] = p
	return p
}

// dropPorts forgets an allocator that holds nothing but static reservations.
func (n *NAT) dropPorts(a *allocator) {
	if p := n.ports[*a]; p != nil && p.used == p.static && len(p.quarantine) == 0 {
		delete(n.ports, *a)
	}
}

// reserveStatic takes the ports that dnat and redirect rules answer at an outside address: no mapping may have
// them. Rules without ports take none: what they forward is what no connection claims.
func (n *NAT) reserveStatic(p *ports, addr address, proto uint8) {
	if !hasPorts(proto) {
		return
	}
	take := func(ranges []conntrack.PortRange) {
		for _, r := range ranges {
			for port := int(r.First); port <= int(r.Last); port++ {
				if !p.taken(uint16(port)) {
					p.take(uint16(port))
				}
			}
		}
	}
	for _, r := range n.dst {
		static := r.Action == DNAT || r.Action == Redirect
		inside := r.in >= 0 && !n.interfaces[r.in].Outside
		if !static || inside || (r.Proto != 0 && r.Proto != proto) || (len(r.destination) > 0 && !containsAddr(r.destination, addr)) {
			continue
		}
		take(r.Ports)
		if r.Action == Redirect && len(r.Ports) > 0 {
			take(r.ToPorts)
		}
	}
	p.static = p.used
}
