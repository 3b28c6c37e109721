package router

import (
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// TestFlowFilterAddresses: a filter takes an address or a prefix, and says which of the two is neither.
func TestFlowFilterAddresses(t *testing.T) {
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
	} {
		flows, err := n.r.Flows(tt.filter)
		if len(flows) != tt.flows || (err != nil) != tt.fails {
			t.Errorf("%+v: %d flows, %v; want %d", tt.filter, len(flows), err, tt.flows)
		}
	}
}
