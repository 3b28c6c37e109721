package router

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// zeroConfig is what an embedding program writes that knows nothing of defaults: where its interfaces are, and what to do.
func zeroConfig() Config {
	usual := testConfig()
	cfg := Config{Interfaces: usual.Interfaces, Routes: usual.Routes, NAT: usual.NAT, Filter: Filter{Forward: FilterAccept}}
	for i := range cfg.Interfaces {
		cfg.Interfaces[i].MTU = 0
	}
	return cfg
}

// TestZeroConfig: what is left out of a Config is as in [DefaultConfig], rule by rule. (A Config that said nothing once had
// no reverse path check and no limit of ICMP errors.)
func TestZeroConfig(t *testing.T) {
	udp := func(from, to string, payload int) []byte {
		return testpkt.UDP{Src: netip.MustParseAddrPort(from), Dst: netip.MustParseAddrPort(to), TTL: 9, Payload: pattern(payload)}.Bytes()
	}
	for name, law := range map[string]func(*network){
		"reverse path": func(n *network) {
			n.dropped(n.send("lan0", udp("203.0.113.9:5000", "198.51.100.7:53", 9)), packet.ReversePath)
		},
		"limit of ICMP errors": func(n *network) {
			n.resetDrops()
			dying := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), TTL: 1}.Bytes()
			for range 10 {
				for range 200 {
					n.lane("lan0").serve([]tun.Frame{frame(dying, packet.Meta{})})
				}
				n.collect()
			}
			if limited := n.drops()[packet.RateLimited.String()]; limited < 2000-DefaultErrorRate || limited == 2000 {
				n.t.Errorf("%d of 2000 answers were too many, want at least %d", limited, 2000-DefaultErrorRate)
			}
		},
		"fragments": func(n *network) {
			b := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), ID: 7, Payload: pattern(1473)}.Bytes()
			if got := n.send("lan0", testpkt.Fragments(b, 1400, 9)...)["wan0"]; len(got) != 2 {
				n.t.Errorf("%d packets came out, want 2 fragments; drops %v", len(got), n.drops())
			}
		},
		"hairpin": func(n *network) {
			n.one(n.send("lan0", udp("10.77.0.3:5002", "198.51.100.7:53", 9)), "wan0")
			n.one(n.send("lan0", udp("10.77.0.2:5000", "203.0.113.1:5002", 9)), "lan0")
		},
		"parity": func(n *network) {
			for i := range 8 {
				from := fmt.Sprintf("10.77.0.%d:5000", 2+i)
				if got := endpoints(n.t, n.one(n.send("lan0", udp(from, "198.51.100.7:53", 9)), "wan0")).src.Port(); got%2 != 0 {
					n.t.Errorf("port 5000 became %d", got)
				}
			}
		},
		"the fast path, and what is counted": func(n *network) {
			for range 3 {
				n.one(n.send("lan0", udp("10.77.0.2:5000", "198.51.100.7:53", 9)), "wan0")
				n.one(n.send("wan0", udp("198.51.100.7:53", "203.0.113.1:5000", 9)), "lan0")
			}
			if n.r.Status().Fast == 0 {
				n.t.Error("no packet took the fast path")
			}
			flows, err := n.r.Flows(FlowFilter{})
			if err != nil || len(flows) != 1 || flows[0].Original.Packets != 3 {
				n.t.Errorf("flows %+v, %v; want one of 3 packets", flows, err)
			}
		},
		"timeouts": func(n *network) {
			n.one(n.send("lan0", udp("10.77.0.2:5000", "198.51.100.7:53", 9)), "wan0")
			n.tick(conntrack.DefaultTimeouts(conntrack.ProfileRFC).UDP - 10e9)
			n.one(n.send("wan0", udp("198.51.100.7:53", "203.0.113.1:5000", 9)), "lan0")
		},
		"connections picked up": func(n *network) {
			n.one(n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 9, Ack: 8, Flags: packet.FlagACK}.Bytes()), "wan0")
		},
		"private sources stay": func(n *network) {
			n.dropped(n.send("lan0", udp("10.99.0.2:5000", "198.51.100.7:53", 9)), packet.ReversePath)
		},
		"silence outside": func(n *network) {
			n.dropped(n.send("wan0", udp("198.51.100.7:53", "203.0.113.1:700", 9)), packet.NoMapping)
			n.one(n.send("wan0", testpkt.Echo{Src: server4, Dst: wan4, ID: 5}.Bytes()), "wan0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			law(newNetwork(t, zeroConfig()))
			law(newNetwork(t, testDefaults()))
		})
	}
}

// testDefaults is testConfig with the fast path on, whatever way the tests take.
func testDefaults() Config {
	cfg := testConfig()
	cfg.NoFastPath = false
	return cfg
}

// TestZeroMTU: an interface that says no MTU has that of its device.
func TestZeroMTU(t *testing.T) {
	n := newNetwork(t, zeroConfig(), func(c *tun.PairConfig) { c.MTU = 1300 })
	for payload, want := range map[int]string{1272: "wan0", 1273: "lan0"} {
		b := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), DF: true, Payload: pattern(payload)}.Bytes()
		n.one(n.send("lan0", b), want) // by lan0: the error that it is too big
	}
}

// TestZeroForwardCloses: the one default that a zero Config has otherwise than an empty file: nothing is forwarded that no
// rule lets pass.
func TestZeroForwardCloses(t *testing.T) {
	cfg := zeroConfig()
	cfg.Filter.Forward = Filter{}.Forward
	n := newNetwork(t, cfg)
	n.dropped(n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()), packet.Filtered)
}

// TestNegativeIsNoLimit: a negative rate of errors is none, as error_rate = 0 is in the file.
func TestNegativeIsNoLimit(t *testing.T) {
	cfg := zeroConfig()
	cfg.ErrorRate = -1
	n := newNetwork(t, cfg)
	dying := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), TTL: 1}.Bytes()
	for range 2000 {
		n.one(n.send("lan0", dying), "lan0")
	}
}

// TestRefusedConfigs: what can't be meant is refused, with the name of the field.
func TestRefusedConfigs(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`interface[1].side: interface "wan0" has no side`: func(c *Config) { c.Interfaces[1].Side = 0 },
		"interface[0].mtu: an MTU of -1":                  func(c *Config) { c.Interfaces[0].MTU = -1 },
		"fragments: -1":                                   func(c *Config) { c.Fragments = -1 },
		"there is no [[interface]]":                       func(c *Config) { *c = Config{} },
	} {
		cfg := zeroConfig()
		change(&cfg)
		devices := map[string]tun.Device{}
		for _, i := range cfg.Interfaces {
			devices[i.Name], _ = tun.NewPair(tun.PairConfig{})
		}
		if _, err := New(cfg, Options{Devices: devices}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one with %q", err, want)
		}
	}
}

// TestNoSwitchIsOnByDefault: every boolean below Config is off in [DefaultConfig], so that leaving it out changes nothing.
func TestNoSwitchIsOnByDefault(t *testing.T) {
	count := 0
	var walk func(name string, v reflect.Value)
	walk = func(name string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Bool:
			if count++; v.Bool() {
				t.Errorf("%s is on by default: turn its meaning round, so that the zero value is the default", name)
			}
		case reflect.Struct:
			for i := range v.NumField() {
				walk(name+"."+v.Type().Field(i).Name, v.Field(i))
			}
		}
	}
	walk("Config", reflect.ValueOf(DefaultConfig()))
	walk("Interface", reflect.ValueOf(Interface{}))
	walk("tun.Config", reflect.ValueOf(tun.DefaultConfig("lan0")))
	walk("nat.Rule", reflect.ValueOf(nat.Rule{}))
	if count < 15 {
		t.Errorf("%d booleans were looked at", count)
	}
}

// TestZeroNumbers: each number that DefaultConfig names is what zero gives.
func TestZeroNumbers(t *testing.T) {
	got, err := Config{}.withDefaults()
	want := DefaultConfig()
	want.Filter.Forward = Filter{}.Forward                      // closed: see TestZeroForwardCloses
	got.Defaults, got.Conntrack = want.Defaults, want.Conntrack // TestZeroDefaults in nat and conntrack
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}
