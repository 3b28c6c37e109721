package router

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// Status is the running router in numbers, as status shows it.
type Status struct {
	Uptime     float64           `json:"uptime_seconds"`
	Interfaces []InterfaceStatus `json:"interfaces"`
	Flows      int               `json:"flows"`
	FlowsMax   int               `json:"flows_max"`
	Mappings   int               `json:"mappings"`
	Fast       uint64            `json:"fast_path_packets"` // packets that took the fast path
	Drops      map[string]uint64 `json:"drops"`             // by reason, every reason present, zero ones too

	Helpers map[string]map[string]uint64 `json:"helpers,omitempty"` // by helper, by counter; see package alg
}

// InterfaceStatus is one interface in numbers. In and out are the router's view: in came from the device. A
// super-segment counts as the packets that it is cut into, its bytes as they crossed the device.
type InterfaceStatus struct {
	Name       string   `json:"name"`
	Side       string   `json:"side"` // inside, outside
	Driver     string   `json:"driver"`
	MTU        int      `json:"mtu"`
	Addresses  []string `json:"addresses"`
	PacketsIn  uint64   `json:"packets_in"`
	BytesIn    uint64   `json:"bytes_in"`
	PacketsOut uint64   `json:"packets_out"`
	BytesOut   uint64   `json:"bytes_out"`
}

// Status returns the numbers of this moment.
func (r *Router) Status() Status {
	s := Status{
		Uptime: r.clock.Now().Sub(r.started).Seconds(), Flows: r.table.Len(), FlowsMax: r.cfg.Conntrack.Max,
		Mappings: r.nat.Stats().Mappings, Helpers: r.kit.Counters(), Drops: make(map[string]uint64, packet.NumReasons),
	}
	for reason := packet.NotDropped + 1; reason < packet.NumReasons; reason++ {
		s.Drops[reason.String()] = r.Drops(reason)
	}
	for l := range r.lanes() {
		s.Fast += l.fast.Load()
	}
	r.pause.RLock()
	defer r.pause.RUnlock()
	for i, nif := range r.interfaces {
		n := InterfaceStatus{Name: nif.name, Side: nif.side.String(), Driver: nif.driver, MTU: nif.mtu, Addresses: []string{}}
		for _, a := range nif.addresses {
			n.Addresses = append(n.Addresses, a.String())
		}
		for l := range r.lanes() {
			if l.nif == nif {
				n.PacketsIn += l.received.packets.Load()
				n.BytesIn += l.received.bytes.Load()
			}
			n.PacketsOut += l.sent[i].packets.Load()
			n.BytesOut += l.sent[i].bytes.Load()
		}
		s.Interfaces = append(s.Interfaces, n)
	}
	return s
}

// Drops returns how many packets were dropped for a reason. Datagrams that gave their memory to newer ones, or were
// overtaken by them, count as one each.
func (r *Router) Drops(reason packet.DropReason) (n uint64) {
	switch reason {
	case packet.FragmentMemory:
		n = r.fragments.Evicted()
	case packet.FragmentStale:
		n = r.fragments.Stale()
	}
	for l := range r.lanes() {
		n += l.drops[reason].Load()
	}
	return n
}

// lanes yields every lane, the router's own host last.
func (r *Router) lanes() func(yield func(*lane) bool) {
	return func(yield func(*lane) bool) {
		for _, w := range r.workers {
			for _, l := range w.lanes {
				if !yield(l) {
					return
				}
			}
		}
		yield(r.local.lane)
	}
}

// String returns the side as configuration and status write it.
func (s Side) String() string {
	if s == Outside {
		return "outside"
	}
	return "inside"
}

// Flow is a connection as flow list shows it.
type Flow struct {
	ID       uint64    `json:"id"`
	Proto    string    `json:"protocol"`        // tcp, udp, icmp, icmpv6, gre, ... or the number
	State    string    `json:"state,omitempty"` // protocol state, ESTABLISHED
	Status   []string  `json:"status"`          // seen-reply, assured, expected, snat, dnat, helper
	Original FlowTuple `json:"original"`
	Reply    FlowTuple `json:"reply"`
	Timeout  float64   `json:"timeout_seconds"` // remaining
	Age      float64   `json:"age_seconds"`
	Helper   string    `json:"helper,omitempty"`
	Mark     uint32    `json:"mark,omitempty"`
}

// FlowTuple is one direction of a Flow. Ports are nil for protocols without.
type FlowTuple struct {
	Source          string  `json:"source"`
	Destination     string  `json:"destination"`
	SourcePort      *uint16 `json:"source_port,omitempty"`      // or call ID
	DestinationPort *uint16 `json:"destination_port,omitempty"` // or call ID
	ICMPID          *uint16 `json:"icmp_id,omitempty"`
	ICMPType        *uint8  `json:"icmp_type,omitempty"`
	ICMPCode        *uint8  `json:"icmp_code,omitempty"`
	Packets         uint64  `json:"packets"`
	Bytes           uint64  `json:"bytes"` // L3 length
}

// FlowFilter selects flows; zero values match all.
type FlowFilter struct {
	Proto               string // name, in whatever case, or number
	Source, Destination string // address or prefix, of the original direction
	Port                uint16 // original destination port
	State               string // protocol state, in whatever case
	Limit               int    // 0: no limit
}

// Check says what in the filter can match nothing, whatever the flows are: a protocol or state that there is not, or an
// address that is none. Its errors begin with the name of the field as the control API has it.
func (f FlowFilter) Check() error {
	_, err := newFlowMatcher(f)
	return err
}

// Flows returns the matching flows, or the error of [FlowFilter.Check].
func (r *Router) Flows(f FlowFilter) ([]Flow, error) {
	m, err := newFlowMatcher(f)
	if err != nil {
		return nil, err
	}
	flows, now := []Flow{}, r.now()
	r.table.Walk(now, func(s *conntrack.Snapshot) bool {
		if m.matches(s) {
			flows = append(flows, r.newFlow(s, now))
		}
		return f.Limit == 0 || len(flows) < f.Limit
	})
	return flows, nil
}

// flowMatcher is a FlowFilter that has been read; a zero prefix matches all.
type flowMatcher struct {
	FlowFilter
	proto               uint8 // where Proto is not empty
	source, destination netip.Prefix
}

func newFlowMatcher(f FlowFilter) (m flowMatcher, err error) {
	m.FlowFilter = f
	if f.Proto != "" {
		var ok bool
		if m.proto, ok = conntrack.ProtoNumber(f.Proto); !ok {
			return m, fmt.Errorf("protocol %q: no such protocol; there are %s, and numbers from 0 to 255", f.Proto,
				strings.Join(conntrack.ProtoNames(), ", "))
		}
	}
	if m.source, err = parsePrefix("source", f.Source); err != nil {
		return m, err
	}
	if m.destination, err = parsePrefix("destination", f.Destination); err != nil {
		return m, err
	}
	return m, m.checkState()
}

// checkState reports a state that the protocol does not have, or no protocol.
func (m *flowMatcher) checkState() error {
	known := conntrack.StateNames(m.proto)
	if m.Proto == "" {
		for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoSCTP, packet.ProtoDCCP} {
			known = append(known, conntrack.StateNames(proto)...)
		}
		slices.Sort(known)
		known = slices.Compact(known)
	}
	switch {
	case m.State == "" || slices.ContainsFunc(known, func(s string) bool { return strings.EqualFold(s, m.State) }):
		return nil
	case known == nil:
		return fmt.Errorf("state %q: %s has no states", m.State, m.Proto)
	case m.Proto != "":
		return fmt.Errorf("state %q: %s has no such state; it has %s", m.State, m.Proto, strings.Join(known, ", "))
	}
	return fmt.Errorf("state %q: no protocol has such a state; there are %s", m.State, strings.Join(known, ", "))
}

func (m *flowMatcher) matches(s *conntrack.Snapshot) bool {
	t := &s.Tuples[conntrack.Original]
	return (m.Proto == "" || m.proto == t.Proto) &&
		(!m.source.IsValid() || m.source.Contains(t.SrcAddr())) &&
		(!m.destination.IsValid() || m.destination.Contains(t.DstAddr())) &&
		(m.Port == 0 || (t.HasPorts() && t.DstID == m.Port)) &&
		(m.State == "" || strings.EqualFold(m.State, s.State))
}

func parsePrefix(what, s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s %q: an address or a prefix, such as 10.77.1.2 or fd77::/64", what, s)
	}
	return p.Masked(), nil
}

// statusNames are the bits that commands show.
var statusNames = []struct {
	bit  conntrack.Status
	name string
}{
	{conntrack.SeenReply, "seen-reply"}, {conntrack.Assured, "assured"}, {conntrack.Expected, "expected"},
	{conntrack.SrcNAT, "snat"}, {conntrack.DstNAT, "dnat"}, {conntrack.HelperSet, "helper"},
}

func (r *Router) newFlow(s *conntrack.Snapshot, now packet.Time) Flow {
	f := Flow{
		ID: uint64(s.ID), Proto: conntrack.ProtoName(s.Tuples[0].Proto), State: s.State, Status: []string{}, Mark: s.Mark,
		Helper:  r.helpers.Name(s.Helper),
		Timeout: time.Duration(s.Timeout).Seconds(), Age: time.Duration(now - s.Start).Seconds(),
	}
	for _, n := range statusNames {
		if s.Status&n.bit != 0 {
			f.Status = append(f.Status, n.name)
		}
	}
	f.Original, f.Reply = newFlowTuple(s, conntrack.Original), newFlowTuple(s, conntrack.Reply)
	return f
}

func newFlowTuple(s *conntrack.Snapshot, dir conntrack.Direction) FlowTuple {
	t := s.Tuples[dir] // a copy: f points into it, and s is not ours to keep
	f := FlowTuple{
		Source: t.SrcAddr().String(), Destination: t.DstAddr().String(), Packets: s.Packets[dir], Bytes: s.Bytes[dir],
	}
	switch {
	case t.Proto == packet.ProtoICMP || t.Proto == packet.ProtoICMPv6:
		typ, code := uint8(t.DstID>>8), uint8(t.DstID)
		f.ICMPID, f.ICMPType, f.ICMPCode = &t.SrcID, &typ, &code
	case !t.Portless() || t.SrcID != 0 || t.DstID != 0:
		f.SourcePort, f.DestinationPort = &t.SrcID, &t.DstID
	}
	return f
}
