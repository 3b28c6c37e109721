package router

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// filter is [filter] made ready for matching. It is made once and then only read.
type filter struct {
	forward   FilterAction
	rules     []filterRule
	onlyOnNew bool // no rule looks at packets of established connections
}

// filterRule is a FilterRule with its names resolved.
type filterRule struct {
	in, out             *netInterface // nil: any
	source, destination []conntrack.AddrRange
	proto               uint8
	ports               []conntrack.PortRange
	states              uint8  // bits of state; 0: any
	helper              string // that announced a related connection; empty: any
	action              FilterAction
}

// state is a packet's standing as filter rules name it.
type state uint8

const (
	stateNew state = 1 << iota
	stateEstablished
	stateRelated
)

var stateNames = map[string]state{"new": stateNew, "established": stateEstablished, "related": stateRelated}

// newFilter makes rules ready that [Config.Check] has accepted.
func newFilter(cfg *Filter, interfaces map[string]*netInterface, helpers *alg.Registry) (*filter, error) {
	f := &filter{forward: cfg.Forward, onlyOnNew: true}
	for i := range cfg.Rules {
		c := &cfg.Rules[i]
		if c.Helper != "" && helpers.ID(c.Helper) == 0 {
			return nil, fmt.Errorf("filter rule %d: %w", i+1, &alg.UnknownHelperError{Name: c.Helper})
		}
		r := filterRule{
			source: c.Source, destination: c.Destination, proto: c.Proto, ports: c.Ports, action: c.Action,
			in: interfaces[c.In], out: interfaces[c.Out], helper: c.Helper,
		}
		for _, name := range c.State {
			r.states |= uint8(stateNames[name])
		}
		f.onlyOnNew = f.onlyOnNew && r.states == uint8(stateNew)
		f.rules = append(f.rules, r)
	}
	return f, nil
}

// stateOf returns the standing of a packet. What an expectation let in is related until its reply.
func stateOf(c *conntrack.Conn) state {
	switch c.Info {
	case conntrack.InfoNew:
		return stateNew
	case conntrack.InfoRelated, conntrack.InfoRelatedReply:
		return stateRelated
	}
	return stateEstablished
}

// decide returns the action of the first matching rule, which p then names; ok is false where none matches.
func (f *filter) decide(p *Packet) (action FilterAction, ok bool) {
	standing := stateOf(&p.Conn)
	if f.onlyOnNew && standing != stateNew {
		return FilterAccept, false
	}
	src, dst := addresses(p.Bytes, &p.H)
	from, to := addrOf(src), addrOf(dst)
	port, hasPort := destinationPort(p)
	for i := range f.rules {
		r := &f.rules[i]
		if (r.states == 0 || r.states&uint8(standing) != 0) &&
			(r.in == nil || r.in == p.in) && (r.out == nil || r.out == p.out) &&
			(r.proto == 0 || r.proto == p.H.Proto) &&
			(len(r.ports) == 0 || hasPort && inPorts(r.ports, port)) &&
			inAddresses(r.source, from) && inAddresses(r.destination, to) &&
			(r.helper == "" || p.announcedBy(r.helper)) {
			p.rule = i + 1
			return r.action, true
		}
	}
	return FilterAccept, false
}

// announcedBy reports whether the packet's connection was announced by another one's helper, while that one lives.
func (p *Packet) announcedBy(helper string) bool {
	return p.Conn.Master != 0 && p.lane.router.kit.MasterHelper(p.Conn.Master) == helper
}

// destinationPort returns the packet's destination port; ok is false for protocols without.
func destinationPort(p *Packet) (port uint16, ok bool) {
	if t := (conntrack.Tuple{Proto: p.H.Proto}); !t.HasPorts() {
		return 0, false
	}
	l4 := p.Bytes[p.H.L4:]
	return uint16(l4[2])<<8 | uint16(l4[3]), true
}

func inPorts(list []conntrack.PortRange, port uint16) bool {
	return slices.ContainsFunc(list, func(r conntrack.PortRange) bool { return r.First <= port && port <= r.Last })
}

// inAddresses reports whether an address is in a list; an empty list holds all.
func inAddresses(list []conntrack.AddrRange, a netip.Addr) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(r conntrack.AddrRange) bool {
		return r.First.BitLen() == a.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
	})
}

// filterHook decides what is forwarded. A new connection from outside needs more than the default: a rule, a
// mapping or an expectation.
type filterHook struct {
	filter *filter
}

func (*filterHook) Name() string { return "filter" }

func (f *filterHook) Handle(p *Packet) packet.Verdict {
	action, matched := f.filter.decide(p)
	isNew := p.Conn.Info == conntrack.InfoNew
	if !matched && isNew {
		if p.in.side == Outside && p.Conn.Status&conntrack.DstNAT == 0 {
			return p.refuse(packet.NoMapping)
		}
		action = f.filter.forward
	}
	switch action {
	case FilterAccept:
		return packet.Accept
	case FilterReject:
		p.reject = true
	}
	return p.refuse(packet.Filtered)
}
