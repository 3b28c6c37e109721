package router

import (
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

func onPort(p uint16) []conntrack.PortRange { return []conntrack.PortRange{{First: p, Last: p}} }

// TestFilterOrder: the first rule that matches decides, and each condition can keep a rule from matching.
func TestFilterOrder(t *testing.T) {
	udp := FilterRule{Proto: packet.ProtoUDP, Ports: onPort(53), Action: FilterDrop}
	with := func(change func(*FilterRule)) FilterRule {
		r := udp
		change(&r)
		return r
	}
	accept := with(func(r *FilterRule) { r.Action = FilterAccept })
	away := []conntrack.AddrRange{span("192.0.2.0/24")}
	for name, tt := range map[string]struct {
		rules  []FilterRule
		strict bool // forward = "drop"
		pass   bool
	}{
		"no rule":                  {nil, false, true},
		"no rule, forward = drop":  {nil, true, false},
		"drop":                     {[]FilterRule{udp}, false, false},
		"accept before drop":       {[]FilterRule{accept, udp}, false, true},
		"drop before accept":       {[]FilterRule{udp, accept}, false, false},
		"accept, forward = drop":   {[]FilterRule{accept}, true, true},
		"other protocol":           {[]FilterRule{with(func(r *FilterRule) { r.Proto = packet.ProtoTCP })}, false, true},
		"other port":               {[]FilterRule{with(func(r *FilterRule) { r.Ports = onPort(54) })}, false, true},
		"second of two ranges":     {[]FilterRule{with(func(r *FilterRule) { r.Ports = append(onPort(9), onPort(53)...) })}, false, false},
		"other source":             {[]FilterRule{with(func(r *FilterRule) { r.Source = away })}, false, true},
		"source as it was sent":    {[]FilterRule{with(func(r *FilterRule) { r.Source = []conntrack.AddrRange{span("10.77.0.2/32")} })}, false, false},
		"other destination":        {[]FilterRule{with(func(r *FilterRule) { r.Destination = away })}, false, true},
		"destination of IPv6 only": {[]FilterRule{with(func(r *FilterRule) { r.Destination = []conntrack.AddrRange{span("::/0")} })}, false, true},
		"in":                       {[]FilterRule{with(func(r *FilterRule) { r.In = "lan0" })}, false, false},
		"other in":                 {[]FilterRule{with(func(r *FilterRule) { r.In = "wan0" })}, false, true},
		"out":                      {[]FilterRule{with(func(r *FilterRule) { r.Out = "wan0" })}, false, false},
		"other out":                {[]FilterRule{with(func(r *FilterRule) { r.Out = "lan0" })}, false, true},
		"other state":              {[]FilterRule{with(func(r *FilterRule) { r.State = []string{"established", "related"} })}, false, true},
		"one of the states":        {[]FilterRule{with(func(r *FilterRule) { r.State = []string{"related", "new"} })}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.Filter.Rules = tt.rules
			if tt.strict {
				cfg.Filter.Forward = FilterDrop
			}
			n := newNetwork(t, cfg)
			out := n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes())
			if tt.pass {
				n.one(out, "wan0")
				n.one(n.send("wan0", testpkt.UDP{Src: port(server4, 53), Dst: port(wan4, 5000)}.Bytes()), "lan0")
			} else {
				n.dropped(out, packet.Filtered)
			}
		})
	}
}

// TestFilterStates: a rule about established packets stops the answers of a connection that may begin, with the fast
// path on; one about related ones stops the ICMP errors about it, and no more.
func TestFilterStates(t *testing.T) {
	there := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()
	back := testpkt.UDP{Src: port(server4, 53), Dst: port(wan4, 5000)}.Bytes()
	for _, state := range []string{"established", "related"} {
		cfg := testConfig()
		cfg.Filter.Rules = []FilterRule{{In: "wan0", State: []string{state}, Action: FilterDrop}}
		n := newNetwork(t, cfg)
		sent := n.one(n.send("lan0", there), "wan0")
		problem := testpkt.ICMP{Src: server4, Dst: wan4, Type: 3, Code: 3, Payload: sent}.Bytes()
		stopped, passes := back, problem
		if state == "related" {
			stopped, passes = problem, back
		}
		for range 3 {
			n.one(n.send("wan0", passes), "lan0")
			n.dropped(n.send("wan0", stopped), packet.Filtered)
			n.one(n.send("lan0", there), "wan0")
		}
	}
}

// TestFilterSeesTranslated: a rule names the true destination of a port forward, not the outside address.
func TestFilterSeesTranslated(t *testing.T) {
	cfg := withForward(testConfig())
	for _, tt := range []struct {
		destination []conntrack.AddrRange
		pass        bool
	}{{[]conntrack.AddrRange{span("203.0.113.1/32")}, true}, {[]conntrack.AddrRange{span("10.77.0.2/32")}, false}} {
		cfg.Filter.Rules = []FilterRule{{In: "wan0", Destination: tt.destination, Action: FilterDrop}}
		n := newNetwork(t, cfg)
		out := n.send("wan0", testpkt.UDP{Src: port(server4, 700), Dst: port(wan4, 9000)}.Bytes())
		if tt.pass {
			n.one(out, "lan0")
		} else {
			n.dropped(out, packet.Filtered)
		}
	}
}

// TestFilterRejectUDP: reject tells the sender on either side, as the one that he sent to (RFC 1812, section 5.2.7.1).
func TestFilterRejectUDP(t *testing.T) {
	cfg := withForward(testConfig())
	cfg.Filter.Rules = []FilterRule{{Proto: packet.ProtoUDP, Action: FilterReject}}
	n := newNetwork(t, cfg)
	sent := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), Payload: []byte("x")}.Bytes()
	checkError(t, n.one(n.send("lan0", sent), "lan0"), sent, lan4, client4, [2]uint8{3, 13}, [2]uint8{1, 1})
	n.reason(packet.Filtered)
	sent = testpkt.UDP{Src: port(server4, 700), Dst: port(wan4, 9000), Payload: []byte("x")}.Bytes()
	checkError(t, n.one(n.send("wan0", sent), "wan0"), sent, wan4, server4, [2]uint8{3, 13}, [2]uint8{1, 1})
	n.reason(packet.Filtered)
}

// TestFilterRefuses: what names nothing is refused when the router is made.
func TestFilterRefuses(t *testing.T) {
	for _, r := range []FilterRule{
		{In: "eth7", Action: FilterAccept}, {Out: "eth7", Action: FilterAccept},
		{State: []string{"invalid"}, Action: FilterAccept}, {Helper: "nonesuch", Action: FilterAccept},
	} {
		cfg := testConfig()
		cfg.Filter.Rules = []FilterRule{r}
		if _, err := New(cfg, Options{Devices: newNetwork(t, testConfig()).near}); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
}
