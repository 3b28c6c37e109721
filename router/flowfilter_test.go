package router

import (
	"fmt"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// TestFlowFilter: a filter takes an address or a prefix, a protocol by name or number, and a state that there is, and refuses
// what can match nothing.
func TestFlowFilter(t *testing.T) {
	n := newNetwork(t, testConfig())
	n.one(n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()), "wan0")
	for _, tt := range []struct {
		filter FlowFilter
		flows  int
		fails  bool
	}{
		{FlowFilter{}, 1, false},
		{FlowFilter{Source: "10.77.0.2"}, 1, false},
		{FlowFilter{Source: "10.77.0.3"}, 0, false},
		{FlowFilter{Source: "10.77.0.99/24", Destination: "198.51.100.0/24"}, 1, false},
		{FlowFilter{Source: "fd77::/64"}, 0, false},
		{FlowFilter{Source: "10.77"}, 0, true},
		{FlowFilter{Destination: "10.77.0.0/33"}, 0, true},
		{FlowFilter{Proto: "UDP"}, 1, false},
		{FlowFilter{Proto: "17"}, 1, false},
		{FlowFilter{Proto: "tcp", State: "established"}, 0, false},
		{FlowFilter{State: "ESTABLISHED"}, 0, false},
		{FlowFilter{Proto: "foo"}, 0, true},
		{FlowFilter{Proto: "256"}, 0, true},
		{FlowFilter{State: "foo"}, 0, true},
		{FlowFilter{Proto: "udp", State: "ESTABLISHED"}, 0, true},
	} {
		flows, err := n.r.Flows(tt.filter)
		if len(flows) != tt.flows || (err != nil) != tt.fails {
			t.Errorf("%+v: %d flows, %v; want %d", tt.filter, len(flows), err, tt.flows)
		}
	}
}

// TestFlowsMany: of a table that is read in many parts each connection is listed once, with its own numbers.
func TestFlowsMany(t *testing.T) {
	n := newNetwork(t, testConfig())
	const first, ports, pings = 20000, 700, 300
	for i := range uint16(ports) {
		n.one(n.send("lan0", testpkt.UDP{Src: port(client4, first+i), Dst: port(server4, first-i)}.Bytes()), "wan0")
	}
	for i := range uint16(pings) {
		n.one(n.send("lan0", testpkt.Echo{Src: client4, Dst: server4, ID: i}.Bytes()), "wan0")
	}
	flows, err := n.r.Flows(FlowFilter{})
	if err != nil || len(flows) != ports+pings {
		t.Fatalf("%d flows, %v", len(flows), err)
	}
	seen := map[string]bool{}
	for i := range flows {
		o, r := &flows[i].Original, &flows[i].Reply
		name, want := "", ""
		if o.ICMPID != nil {
			name = fmt.Sprintf("icmp %d", *o.ICMPID)
			if *o.ICMPID >= pings || *o.ICMPType != 8 || *r.ICMPType != 0 {
				t.Fatalf("%s: types %d and %d", name, *o.ICMPType, *r.ICMPType)
			}
		} else {
			name = fmt.Sprintf("udp %d %d", *o.SourcePort, *o.DestinationPort)
			want = fmt.Sprintf("udp %d %d", *r.DestinationPort, *r.SourcePort) // ports are kept where they are free
			if *o.SourcePort-first >= ports || *o.DestinationPort != 2*first-*o.SourcePort || name != want {
				t.Fatalf("%s, and the other way %s", name, want)
			}
		}
		if seen[name] {
			t.Fatalf("%s is listed twice", name)
		}
		seen[name] = true
	}
}
