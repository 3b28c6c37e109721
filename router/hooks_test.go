package router

import (
	"fmt"
	"io"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// TestReasons: what is refused, by which side, and why. Nothing comes out.
func TestReasons(t *testing.T) {
	udp := func(src, dst string) []byte {
		return testpkt.UDP{Src: port(addr(src), 5000), Dst: port(addr(dst), 53), Payload: []byte("x")}.Bytes()
	}
	broken := func(at int) []byte {
		b := udp("10.77.0.2", "198.51.100.7")
		b[at] ^= 0x55
		return b
	}
	strict := func(c *Config) { c.Filter.Forward = FilterDrop }
	for name, tt := range map[string]struct {
		from   string
		b      []byte
		config func(*Config)
		want   packet.DropReason
	}{
		"empty":                           {"lan0", []byte{}, nil, packet.Malformed},
		"no IP":                           {"lan0", []byte{0x25, 1, 2, 3}, nil, packet.Malformed},
		"cut":                             {"lan0", udp("10.77.0.2", "198.51.100.7")[:24], nil, packet.Malformed},
		"IPv4 header checksum":            {"lan0", broken(10), nil, packet.BadIPChecksum},
		"UDP checksum":                    {"lan0", broken(26), nil, packet.BadChecksum},
		"source is the destination":       {"lan0", udp("10.77.0.2", "10.77.0.2"), nil, packet.BadAddress},
		"source loopback":                 {"lan0", udp("127.0.0.1", "198.51.100.7"), nil, packet.BadAddress},
		"source multicast":                {"lan0", udp("224.0.0.1", "198.51.100.7"), nil, packet.BadAddress},
		"source this network":             {"lan0", udp("0.1.2.3", "198.51.100.7"), nil, packet.BadAddress},
		"source class E":                  {"lan0", udp("240.0.0.1", "198.51.100.7"), nil, packet.BadAddress},
		"destination loopback":            {"wan0", udp("198.51.100.7", "127.0.0.1"), nil, packet.BadAddress},
		"destination IPv6 loopback":       {"wan0", udp("2001:db8:ffff::7", "::1"), nil, packet.BadAddress},
		"destination mapped":              {"wan0", udp("2001:db8:ffff::7", "::ffff:10.77.0.2"), nil, packet.BadAddress},
		"multicast":                       {"lan0", udp("10.77.0.2", "239.1.2.3"), nil, packet.ProhibitedForward},
		"IPv6 multicast":                  {"lan0", udp("fd77::2", "ff02::2"), nil, packet.ProhibitedForward},
		"link-local":                      {"lan0", udp("169.254.1.1", "198.51.100.7"), nil, packet.ProhibitedForward},
		"IPv6 link-local":                 {"lan0", udp("fe80::1", "2001:db8:ffff::7"), nil, packet.ProhibitedForward},
		"limited broadcast":               {"lan0", udp("10.77.0.2", "255.255.255.255"), nil, packet.ProhibitedForward},
		"directed broadcast (RFC 2644)":   {"wan0", udp("198.51.100.7", "10.77.0.255"), nil, packet.ProhibitedForward},
		"inside source from outside":      {"wan0", udp("10.77.0.2", "203.0.113.1"), nil, packet.ReversePath},
		"the router's own source":         {"wan0", udp("10.77.0.1", "203.0.113.1"), nil, packet.ReversePath},
		"the router's own from its side":  {"lan0", udp("10.77.0.1", "198.51.100.7"), nil, packet.BadAddress},
		"the same, IPv6":                  {"lan0", udp("fd77::1", "2001:db8:ffff::7"), nil, packet.BadAddress},
		"outside source from inside":      {"lan0", udp("203.0.113.9", "198.51.100.7"), nil, packet.ReversePath},
		"to an inside host from outside":  {"wan0", udp("198.51.100.7", "10.77.0.2"), nil, packet.NoMapping},
		"to an inside host, IPv6":         {"wan0", udp("2001:db8:ffff::7", "fd77::2"), nil, packet.NoMapping},
		"forward = drop":                  {"lan0", udp("10.77.0.2", "198.51.100.7"), strict, packet.Filtered},
		"no rule for a private source":    {"lan0", udp("10.77.0.2", "198.51.100.7"), func(c *Config) { c.NAT = nil }, packet.UntranslatedSource},
		"no rule for a ULA":               {"lan0", udp("fd77::2", "2001:db8:ffff::7"), func(c *Config) { c.NAT = nil }, packet.UntranslatedSource},
		"error about nothing":             {"wan0", testpkt.ICMP{Src: server4, Dst: wan4, Type: 3, Code: 3, Payload: udp("203.0.113.1", "198.51.100.7")}.Bytes(), nil, packet.UnknownICMPError},
		"echo reply that nobody asked":    {"wan0", testpkt.Echo{Src: server4, Dst: wan4, Reply: true}.Bytes(), nil, packet.NotTracked},
		"TCP flags that no segment has":   {"lan0", testpkt.TCP{Src: port(client4, 1), Dst: port(server4, 2), Flags: packet.FlagSYN | packet.FlagFIN}.Bytes(), nil, packet.BadFlags},
		"input = drop":                    {"lan0", testpkt.Echo{Src: client4, Dst: lan4}.Bytes(), func(c *Config) { c.Filter.Input = InputDrop }, packet.InputFiltered},
		"neighbour solicitation, forward": {"lan0", testpkt.ICMP{Src: client6, Dst: server6, Type: 135, Payload: make([]byte, 16)}.Bytes(), nil, packet.ProhibitedForward},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			if tt.config != nil {
				tt.config(&cfg)
			}
			n := newNetwork(t, cfg)
			n.dropped(n.send(tt.from, tt.b), tt.want)
			if n.r.table.Len() != 0 {
				t.Errorf("%d connections are left", n.r.table.Len())
			}
		})
	}
}

// TestQuota: the second connection of a host that may hold one is refused, and the host is told (RFC 5508, REQ-8).
func TestQuota(t *testing.T) {
	cfg := testConfig()
	cfg.Conntrack.MaxPerSource = 1
	n := newNetwork(t, cfg)
	n.one(n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()), "wan0")
	sent := testpkt.UDP{Src: port(client4, 5001), Dst: port(server4, 53)}.Bytes()
	checkError(t, n.one(n.send("lan0", sent), "lan0"), sent, lan4, client4, [2]uint8{3, 13}, [2]uint8{1, 1})
	n.reason(packet.SourceLimit)
	n.one(n.send("lan0", testpkt.UDP{Src: port(other4, 5001), Dst: port(server4, 53)}.Bytes()), "wan0")
}

// TestExempted: an accept rule lets a private source pass untranslated, and only that.
func TestExempted(t *testing.T) {
	cfg := testConfig()
	vpn := []conntrack.AddrRange{span("198.51.100.0/24")}
	cfg.NAT = []nat.Rule{{Action: nat.Accept, Out: "wan0", Destination: vpn}}
	n := newNetwork(t, cfg)
	b := n.one(n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()), "wan0")
	if got := endpoints(t, b); got.src != port(client4, 5000) {
		t.Errorf("source %s", got.src)
	}
	n.dropped(n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(addr("192.0.2.9"), 53)}.Bytes()), packet.UntranslatedSource)
}

// TestFilterRuleLetsRoutedIPv6In: what no mapping stands for needs a rule ([filter] forward says nothing about it).
func TestFilterRuleLetsRoutedIPv6In(t *testing.T) {
	cfg := testConfig()
	cfg.Interfaces[0].Address = prefixes("2001:db8:77::1/64")
	cfg.NAT = nil
	cfg.Filter.Rules = []FilterRule{{In: "wan0", Proto: packet.ProtoTCP, Ports: []conntrack.PortRange{{First: 443, Last: 443}}, Action: FilterAccept}}
	n := newNetwork(t, cfg)
	inside := addr("2001:db8:77::2")
	n.one(n.send("wan0", testpkt.TCP{Src: port(server6, 5000), Dst: port(inside, 443), Flags: packet.FlagSYN}.Bytes()), "lan0")
	n.dropped(n.send("wan0", testpkt.TCP{Src: port(server6, 5000), Dst: port(inside, 22), Flags: packet.FlagSYN}.Bytes()), packet.NoMapping)
	n.one(n.send("lan0", testpkt.TCP{Src: port(inside, 5000), Dst: port(server6, 22), Flags: packet.FlagSYN}.Bytes()), "wan0")
}

// TestICMPErrorsTranslated: an error about a translated flow reaches its host, with the quote as that host sent it;
// one from an inside router goes out under an outside address (RFC 5508, REQ-4 and REQ-5).
func TestICMPErrorsTranslated(t *testing.T) {
	n := newNetwork(t, testConfig())
	sent := n.one(n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), Payload: []byte("q"), TTL: 65}.Bytes()), "wan0")
	hop := addr("192.0.2.77")
	got := n.one(n.send("wan0", testpkt.ICMP{Src: hop, Dst: wan4, Type: 11, Payload: sent}.Bytes()), "lan0")
	want := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), Payload: []byte("q"), TTL: 64}.Bytes()
	h, _ := packet.Parse(got)
	quote := got[h.L4+8:]
	quote[4], quote[5], quote[10], quote[11] = want[4], want[5], want[10], want[11] // identification, if it was rewritten
	checkError(t, got, want, hop, client4, [2]uint8{11, 0}, [2]uint8{3, 0})

	back := n.one(n.send("wan0", testpkt.UDP{Src: port(server4, 53), Dst: port(wan4, 5000), Payload: []byte("a")}.Bytes()), "lan0")
	out := n.one(n.send("lan0", testpkt.ICMP{Src: client4, Dst: server4, Type: 3, Code: 3, Payload: back}.Bytes()), "wan0")
	h, _ = packet.Parse(out)
	if src, _ := addresses(out, &h); addrOf(src) != wan4 {
		t.Errorf("the error shows %s outside", addrOf(src))
	}
	if e := endpoints(t, out[h.L4+8:]); e != (flowOf{port(server4, 53), port(wan4, 5000)}) {
		t.Errorf("the quote shows %v outside", e)
	}
}

// TestNetstackPanic: one packet on which netstack panics is counted and dropped, and the router goes on.
func TestNetstackPanic(t *testing.T) {
	n := newNetwork(t, testConfig())
	first := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()
	nic := n.r.workers[0].stack.links[nicOf(n.lane("lan0").nif)]
	dispatcher := nic.dispatcher
	nic.dispatcher = nil // the call through it panics, as netstack would
	n.dropped(n.send("lan0", first), packet.NetstackPanic)
	nic.dispatcher = dispatcher
	n.one(n.send("lan0", first), "wan0")
}

// TestEmbeddedSocket: with input = "accept" a socket on the router's own host can be reached from both sides, and
// what no socket takes stays silent outside (RFC 5382, REQ-4).
func TestEmbeddedSocket(t *testing.T) {
	cfg := testConfig()
	cfg.Filter.Input = InputAccept
	n := newNetwork(t, cfg)
	l, err := gonet.ListenTCP(n.r.Stack(), tcpip.FullAddress{Port: 80}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		side     string
		from, to netip.Addr
	}{{"lan0", client4, lan4}, {"wan0", server4, wan4}} {
		syn := testpkt.TCP{Src: port(tt.from, 5000), Dst: port(tt.to, 80), Seq: 9, Flags: packet.FlagSYN}
		answer := n.waitOne(tt.side, syn.Bytes())
		h, _ := packet.Parse(answer)
		if f := packet.TCP(answer[h.L4:]).Flags(); f != packet.FlagSYN|packet.FlagACK {
			t.Errorf("%s: flags %02x", tt.side, f)
		}
		syn.Dst = port(tt.to, 81)
		out := n.send(tt.side, syn.Bytes())
		if len(out["wan0"]) != 0 || len(out["lan0"]) != 0 {
			t.Errorf("%s: a closed port was answered", tt.side)
		}
	}
	if got := n.drops(); got[packet.NoMapping.String()] != 1 || got[packet.InputFiltered.String()] != 1 {
		t.Errorf("drops %v", got)
	}
}

// TestSameInputSameBytes: one worker that is given the same packets, clock and seed gives the same bytes.
func TestSameInputSameBytes(t *testing.T) {
	cfg := testConfig()
	cfg.Defaults.PortRandom = true
	run := func() (all string) {
		n := newNetwork(t, cfg)
		for i := range 50 {
			from := netip.AddrFrom4([4]byte{10, 77, 0, byte(2 + i%5)})
			for name, frames := range n.send("lan0", testpkt.UDP{Src: port(from, uint16(5000+i)), Dst: port(server4, 53), Payload: pattern(3000 * (i % 2))}.Bytes()) {
				for j := range frames {
					all += fmt.Sprintf("%s % x\n", name, frames[j].Bytes())
				}
			}
		}
		return all
	}
	if first, second := run(), run(); first != second || first == "" {
		t.Error("two runs differ")
	}
}

// TestNoAllocation: an established flow allocates nothing in our hooks, in either direction (bytes in, bytes out),
// with the fast path on and off.
func TestNoAllocation(t *testing.T) {
	for i := range 2 * len(bothWays) {
		way, cfg := bothWays[i/2], testConfig()
		cfg.NoFastPath = i%2 == 1
		n := newNetwork(t, withForward(cfg))
		lanes := map[string]*lane{"lan0": n.lane("lan0"), "wan0": n.lane("wan0")}
		there := frame(testpkt.UDP{Src: way.from, Dst: way.to, Payload: pattern(100)}.Bytes(), packet.Meta{})
		back := frame(testpkt.UDP{Src: way.back, Dst: way.backTo, Payload: pattern(100)}.Bytes(), packet.Meta{})
		sinks := discard(n)
		step := func() {
			for _, s := range []struct {
				side string
				f    tun.Frame
			}{{way.in, there}, {way.out, back}} {
				copyFrame(&lanes[s.side].frames[0], &s.f)
				lanes[s.side].handle(lanes[s.side].frames[:1])
			}
		}
		step()
		step()
		before := sinks.packets
		if allocs := testing.AllocsPerRun(100, step); allocs != 0 {
			t.Errorf("%s, fast path %v: %v allocations a round", way.name, !cfg.NoFastPath, allocs)
		}
		if sinks.packets-before != 2*101 {
			t.Errorf("%s: %d packets came out; drops %v", way.name, sinks.packets-before, n.drops())
		}
	}
}

func withForward(cfg Config) Config {
	cfg.NAT = append(cfg.NAT, forward()...)
	return cfg
}

func copyFrame(to, from *tun.Frame) {
	to.Off, to.Len, to.Meta = from.Off, from.Len, from.Meta
	copy(to.Buf[to.Off:], from.Bytes())
}

// sink is a queue that counts what is written to it, so that a measurement holds our own work only.
type sink struct{ packets int }

func (s *sink) Read([]tun.Frame) (int, error) { return 0, io.EOF }

func (s *sink) Write(frames []tun.Frame) (int, error) {
	s.packets += len(frames)
	return len(frames), nil
}

// discard makes all of a network's interfaces write to one sink.
func discard(n *network) *sink {
	s := &sink{}
	for _, nif := range n.r.interfaces {
		for _, w := range nif.queues {
			w.queue = s
		}
	}
	return s
}

// TestDroppedLeavesNoMapping: what a new connection reserved is given back when its packet is refused after snat.
func TestDroppedLeavesNoMapping(t *testing.T) {
	cfg := testConfig()
	cfg.Interfaces[1].MTU = 1400
	n := newNetwork(t, cfg)
	n.one(n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), DF: true, Payload: pattern(1400)}.Bytes()), "lan0")
	n.reason(packet.TooBig)
	if s := n.r.Status(); s.Mappings != 0 || s.Flows != 0 {
		t.Errorf("%d mappings and %d flows are left", s.Mappings, s.Flows)
	}
}
