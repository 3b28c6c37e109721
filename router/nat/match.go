package nat

import (
	"github.com/natrouter/natrouter/router/conntrack"
)

// rule is a Rule made ready for matching.
type rule struct {
	Rule
	in, out     int // interfaces, -1: any
	source      []addrSpan
	destination []addrSpan
	v4, v6      addrList // To
	pool        uint16   // masquerade, snat
	hairpinned  bool
	prefixes    []prefixMap // netmap, nptv6
}

func (r *rule) to(family uint8) *addrList {
	if family == 4 {
		return &r.v4
	}
	return &r.v6
}

// flow is what rules look at.
type flow struct {
	in, out  int // interfaces; noInterface: the router itself, or not known yet
	src, dst address
	port     uint16 // destination port
	proto    uint8
	family   uint8
	owner    int  // interface whose outside address dst is; noInterface: it is no outside address
	hairpin  bool // an inside host sends to an outside address
	own      bool // dst is the router's
}

// matches says whether everything but the position's own address fields agrees.
func (r *rule) matches(f *flow) bool {
	return (r.Proto == 0 || r.Proto == f.proto) &&
		(len(r.Ports) == 0 || (hasPorts(f.proto) && inPorts(r.Ports, f.port)))
}

// entered reports whether the flow came in by the rule's interface, or is an inside host's attempt to reach what
// the rule offers outside (hairpin; RFC 4787, REQ-9).
func (r *rule) entered(f *flow) bool {
	if r.in < 0 || r.in == f.in {
		return true
	}
	return r.hairpinned && f.hairpin && r.in == f.owner
}

// matchDestination returns the first rule of the DST position that applies.
func (n *NAT) matchDestination(f *flow) *rule {
	for _, r := range n.dst {
		if !r.matches(f) {
			continue
		}
		if r.Action == Netmap || r.Action == NPTv6 {
			if r.mapsInward(f) {
				return r
			}
			continue
		}
		if !r.entered(f) || (len(r.source) > 0 && !containsAddr(r.source, f.src)) ||
			(len(r.destination) > 0 && !containsAddr(r.destination, f.dst)) {
			continue
		}
		if r.Action == DNAT && r.to(f.family).total == 0 {
			continue
		}
		return r
	}
	return nil
}

// matchSource returns the first rule of the SRC position that applies.
func (n *NAT) matchSource(f *flow) *rule {
	for _, r := range n.src {
		if !r.matches(f) || (r.in >= 0 && r.in != f.in) || (r.out >= 0 && r.out != f.out) ||
			(len(r.source) > 0 && !containsAddr(r.source, f.src)) ||
			(len(r.destination) > 0 && !containsAddr(r.destination, f.dst)) {
			continue
		}
		switch r.Action {
		case SNAT:
			if r.to(f.family).total == 0 {
				continue
			}
		case Netmap, NPTv6:
			if !r.mapsOutward(f) {
				continue
			}
		}
		return r
	}
	return nil
}

// destinationFlow is what the DST position's rules look at.
func (n *NAT) destinationFlow(in int, t *conntrack.Tuple) flow {
	f := flow{
		in: in, out: noInterface, owner: noInterface, src: addressOf(&t.Src), dst: addressOf(&t.Dst), port: t.DstID, proto: t.Proto,
		family: t.Family & familyMask,
	}
	f.owner, f.own = n.outside(&t.Dst)
	f.hairpin = f.owner >= 0 && n.inside(in)
	return f
}

// sourceFlow is what the SRC position's rules look at: the source that was used, and the destination as it is now.
func sourceFlow(in, out int, c *conntrack.Conn) flow {
	orig, reply := &c.Tuples[conntrack.Original], &c.Tuples[conntrack.Reply]
	return flow{
		in: in, out: out, owner: noInterface, src: addressOf(&orig.Src), dst: addressOf(&reply.Src), port: reply.SrcID,
		proto: orig.Proto, family: orig.Family & familyMask,
	}
}

// inside reports whether an interface is an inside one. What the router itself makes comes from none.
func (n *NAT) inside(i int) bool { return i >= 0 && i < len(n.interfaces) && !n.interfaces[i].Outside }
