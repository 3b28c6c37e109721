package nat

import (
	"math/bits"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// portPage is 1024 ports, a bit each: set while taken.
type portPage [16]uint64

// ports is the one allocator of the outside ports of an address and a protocol: ports, ICMP identifiers or call
// IDs. Taken are those of mappings, of static rules, of expectations, and those in quarantine. The zero value is
// empty. It is guarded by NAT.mu.
type ports struct {
	pages      [64]*portPage
	full       [2][16]uint64 // by parity: a bit for each 64 ports none of which is free
	used       int
	static     int          // of used: reserved by rules, for ever
	quarantine []quarantine // in order of their end
}

// quarantine is a released port that may not be used yet (RFC 6888, REQ-8).
type quarantine struct {
	port  uint16
	until uint32 // seconds
}

func (p *ports) taken(port uint16) bool {
	page := p.pages[port>>10]
	return page != nil && page[port>>6&15]>>(port&63)&1 != 0
}

// take marks a free port.
func (p *ports) take(port uint16) {
	page := p.pages[port>>10]
	if page == nil {
		page = new(portPage)
		p.pages[port>>10] = page
	}
	word := &page[port>>6&15]
	*word |= 1 << (port & 63)
	mask, parity := even, 0
	if port&1 != 0 {
		mask, parity = odd, 1
	}
	if *word&mask == mask {
		p.full[parity][port>>12] |= 1 << (port >> 6 & 63)
	}
	p.used++
}

// free gives a taken port back.
func (p *ports) free(port uint16) {
	p.pages[port>>10][port>>6&15] &^= 1 << (port & 63)
	p.full[port&1][port>>12] &^= 1 << (port >> 6 & 63)
	p.used--
}

// hold keeps a taken port from use until a time.
func (p *ports) hold(port uint16, until uint32) {
	p.quarantine = append(p.quarantine, quarantine{port, until})
}

// expire ends the quarantines that are over and returns how many.
func (p *ports) expire(now uint32) (n int) {
	for n < len(p.quarantine) && p.quarantine[n].until <= now {
		p.free(p.quarantine[n].port)
		n++
	}
	if p.quarantine = p.quarantine[n:]; len(p.quarantine) == 0 {
		p.quarantine = nil
	}
	return n
}

// expireOldest ends the oldest quarantine before its time; false: there is none.
func (p *ports) expireOldest() bool {
	if len(p.quarantine) == 0 {
		return false
	}
	p.free(p.quarantine[0].port)
	p.quarantine = p.quarantine[1:]
	return true
}

// Parity of a port that is wanted.
const (
	anyParity uint64 = ^uint64(0)
	even      uint64 = 0x5555555555555555
	odd       uint64 = 0xaaaaaaaaaaaaaaaa
)

// find returns the first free port of a parity from start on, up to last and then on from first. It fails only
// if there is none.
func (p *ports) find(r conntrack.PortRange, start uint16, parity uint64) (uint16, bool) {
	if port, ok := p.scan(start, r.Last, parity); ok {
		return port, true
	}
	if start == r.First {
		return 0, false
	}
	return p.scan(r.First, start-1, parity)
}

// scan returns the first free port of a parity in [first, last].
func (p *ports) scan(first, last uint16, parity uint64) (uint16, bool) {
	end := int(last >> 6)
	for word := p.notFull(int(first>>6), parity); word <= end; word = p.notFull(word+1, parity) {
		var taken uint64
		if page := p.pages[word>>4]; page != nil {
			taken = page[word&15]
		}
		free := ^taken & parity
		if word == int(first>>6) {
			free &= ^uint64(0) << (first & 63)
		}
		if word == end {
			free &= ^uint64(0) >> (63 - last&63)
		}
		if free != 0 {
			return uint16(word<<6 + bits.TrailingZeros64(free)), true
		}
	}
	return 0, false
}

// portWords is how many words of 64 ports there are.
const portWords = 1024

// notFull returns the first word from word on that has a free port of a parity, portWords if there is none.
func (p *ports) notFull(word int, parity uint64) int {
	for word < portWords {
		var free uint64
		switch i := word >> 6; parity {
		case even:
			free = ^p.full[0][i]
		case odd:
			free = ^p.full[1][i]
		default:
			free = ^(p.full[0][i] & p.full[1][i])
		}
		if free &= ^uint64(0) << (word & 63); free != 0 {
			return word&^63 + bits.TrailingZeros64(free)
		}
		word = word&^63 + 64
	}
	return portWords
}

// Classes of source ports: a translation stays in the class of the port it replaces (RFC 4787, REQ-3a, with the
// bounds of docs/spec/nat.md, section 3).
var (
	classLow    = conntrack.PortRange{First: 1, Last: 511}
	classSystem = conntrack.PortRange{First: 600, Last: 1023}
	classICMP   = conntrack.PortRange{First: 0, Last: 65535}
	classGRE    = conntrack.PortRange{First: 1, Last: 65535}
)

// class returns the range that an outside port for want comes from, and whether want itself may be kept: 512 to
// 599 may, but is not chosen.
func (n *NAT) class(proto uint8, want uint16) (r conntrack.PortRange, keep bool) {
	switch {
	case proto == packet.ProtoICMP || proto == packet.ProtoICMPv6:
		return classICMP, true
	case proto == packet.ProtoGRE:
		return classGRE, want != 0
	case want < 512:
		return classLow, want != 0
	case want < 1024:
		return classSystem, true
	}
	r = n.defaults.PortRange
	return r, r.First <= want && want <= r.Last
}

// request is what an outside port is wanted for.
type request struct {
	proto  uint8
	want   uint16                // the inside port
	ranges []conntrack.PortRange // of the rule; empty: by class
	reply  conntrack.Tuple       // of the connection, with the outside address; zero: a reservation
	callID *allocator            // a reservation of a call ID; nil: of a port
}

// choose takes a port of p: the wanted one if it is free and may be kept, else a random one of the right parity,
// else any. It fails only if no port of the ranges is free and usable.
func (n *NAT) choose(p *ports, q *request) (uint16, bool) {
	if !n.defaults.PortRandom && n.mayKeep(q) && !p.taken(q.want) && n.usable(q, q.want) {
		p.take(q.want)
		return q.want, true
	}
	parity := anyParity
	if !n.defaults.NoPortParity && hasParity(q.proto) {
		if parity = even; q.want&1 != 0 {
			parity = odd
		}
	}
	port, ok := n.chooseParity(p, q, parity)
	if !ok && parity != anyParity {
		port, ok = n.chooseParity(p, q, anyParity)
	}
	if ok {
		p.take(port)
	}
	return port, ok
}

// mayKeep reports whether the wanted port lies in what the rule or the class allows.
func (n *NAT) mayKeep(q *request) bool {
	if len(q.ranges) == 0 {
		_, keep := n.class(q.proto, q.want)
		return keep
	}
	return inPorts(q.ranges, q.want)
}

// chooseParity looks for a random free port in the ranges, beginning with a random one. A class below 1024 that
// is full gives way to the large one (RFC 4787, REQ-3a recommends, and a session is worth more).
func (n *NAT) chooseParity(p *ports, q *request, parity uint64) (uint16, bool) {
	if len(q.ranges) == 0 {
		r, _ := n.class(q.proto, q.want)
		port, ok := n.chooseRange(p, q, r, parity)
		if !ok && r.Last < 1024 {
			port, ok = n.chooseRange(p, q, n.defaults.PortRange, parity)
		}
		return port, ok
	}
	first := n.random(len(q.ranges))
	for i := range q.ranges {
		r := q.ranges[(first+i)%len(q.ranges)]
		if port, ok := n.chooseRange(p, q, r, parity); ok {
			return port, ok
		}
	}
	return 0, false
}

// maxUnusable bounds how many free ports are passed over because a connection without a mapping has their tuple.
const maxUnusable = 64

func (n *NAT) chooseRange(p *ports, q *request, r conntrack.PortRange, parity uint64) (uint16, bool) {
	start := r.First + uint16(n.random(int(r.Last-r.First)+1))
	for range maxUnusable {
		port, ok := p.find(r, start, parity)
		if !ok || n.usable(q, port) {
			return port, ok
		}
		if start = port + 1; start > r.Last || start == 0 {
			start = r.First
		}
	}
	return 0, false
}

// usable reports whether no connection without a mapping has the tuple that a port would make.
func (n *NAT) usable(q *request, port uint16) bool {
	if q.reply.Proto == 0 { // a reservation
		return q.callID == nil || n.callIDFree(q.callID, port)
	}
	t := q.reply
	if isICMP(t.Proto) {
		t.SrcID = port
	} else {
		t.DstID = port
	}
	return !n.taken(&t)
}

// hasParity reports whether the parity of a protocol's port can mean something (RTP and RTCP; RFC 4787, REQ-4).
func hasParity(proto uint8) bool { return proto == packet.ProtoUDP || proto == packet.ProtoUDPLite }

// hasPorts reports whether a protocol's connections have ports that a mapping can choose.
func hasPorts(proto uint8) bool {
	switch proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoUDPLite, packet.ProtoSCTP, packet.ProtoDCCP:
		return true
	}
	return false
}

// isICMP reports whether proto is ICMP of either family.
func isICMP(proto uint8) bool { return proto == packet.ProtoICMP || proto == packet.ProtoICMPv6 }

func inPorts(ranges []conntrack.PortRange, port uint16) bool {
	for _, r := range ranges {
		if r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}
