package nat

import (
	"fmt"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// One mapping for all destinations, for UDP, TCP and ICMP identifiers (RFC 4787 REQ-1, RFC 5382 REQ-1, RFC 5508
// REQ-1).
func TestEndpointIndependentMapping(t *testing.T) {
	w := newWorld(t, masquerade)
	w.pass(lan, udp("10.77.1.2:40000", "198.51.100.1:1"))
	for i := range 20 { // the preserved port is taken: this one gets another, once
		got, _ := ends(w.pass(lan, udp("10.77.1.3:40000", fmt.Sprintf("198.51.100.%d:%d", i+1, i+1))))
		if want := w.conn.Tuples[1].DstID; i > 0 && got.Port() != want || got.Port() == 40000 || got.Port() < 1024 {
			t.Fatalf("destination %d: outside port %d", i, got.Port())
		}
	}
	if s := w.nat.Stats(); s.Mappings != 2 {
		t.Errorf("%d mappings, want 2", s.Mappings)
	}
	echo := func(remote string) uint16 {
		src, _ := ends(w.pass(lan, testpkt.Echo{Src: addr("10.77.1.3"), Dst: addr(remote), ID: 7}.Bytes()))
		return src.Port()
	}
	w.pass(lan, testpkt.Echo{Src: addr("10.77.1.2"), Dst: addr("198.51.100.1"), ID: 7}.Bytes())
	first := echo("198.51.100.1")
	if second := echo("198.51.100.2"); first == 7 || second != first {
		t.Errorf("identifiers %d and %d, want one that is not 7", first, second)
	}
}

// Classes and parity of the port that replaces a taken one (docs/spec/nat.md, section 11.5; RFC 4787 REQ-3a, REQ-4).
func TestPortClasses(t *testing.T) {
	for _, tt := range []struct {
		want        uint16
		first, last uint16
	}{{300, 1, 511}, {700, 600, 1023}, {550, 600, 1023}, {40000, 1024, 65535}, {40001, 1024, 65535}} {
		w := newWorld(t, masquerade)
		for i := range 30 {
			b := udp(fmt.Sprintf("10.77.1.%d:%d", i+2, tt.want), "198.51.100.1:53")
			src, _ := ends(w.pass(lan, b))
			if i == 0 && src.Port() != tt.want {
				t.Errorf("port %d became %d though it was free", tt.want, src.Port())
			}
			if i > 0 && (src.Port() < tt.first || src.Port() > tt.last || src.Port()&1 != tt.want&1) {
				t.Errorf("port %d became %d", tt.want, src.Port())
			}
		}
	}
}

// port_range bounds the class from 1024 on only.
func TestPortRange(t *testing.T) {
	cfg := testConfig(masquerade)
	cfg.Defaults.PortRange = conntrack.PortRange{First: 50000, Last: 50010}
	w := newWorldConfig(t, cfg)
	src, _ := ends(w.pass(lan, udp("10.77.1.2:40000", "198.51.100.1:53")))
	if src.Port() < 50000 || src.Port() > 50010 {
		t.Errorf("port %d is outside the range", src.Port())
	}
	wantEnds(t, w.pass(lan, udp("10.77.1.2:123", "198.51.100.1:53")), "203.0.113.1:123", "198.51.100.1:53")
}

// Both ends open at once: the peer's SYN meets the mapping that ours made (RFC 5382 REQ-2; RFC 9293, section 3.5).
func TestSimultaneousOpen(t *testing.T) {
	for _, filtering := range []Behaviour{EndpointIndependent, AddressDependent, AddressAndPortDependent} {
		rule := masquerade
		rule.Filtering = filtering
		w := newWorld(t, rule)
		wantEnds(t, w.pass(lan, syn("10.77.1.2:40000", "198.51.100.1:500")), "203.0.113.1:40000", "198.51.100.1:500")
		wantEnds(t, w.pass(wan, syn("198.51.100.1:500", "203.0.113.1:40000")), "198.51.100.1:500", "10.77.1.2:40000")
		answer := testpkt.TCP{Src: ap("10.77.1.2:40000"), Dst: ap("198.51.100.1:500"), Seq: 1000, Ack: 1001, Flags: packet.FlagSYN | packet.FlagACK}
		wantEnds(t, w.pass(lan, answer.Bytes()), "203.0.113.1:40000", "198.51.100.1:500")
	}
}

// Filtering, by rule, for new connections from outside (RFC 4787 REQ-8, RFC 5382 REQ-3).
func TestFiltering(t *testing.T) {
	const inside, known = "10.77.1.2:40000", "198.51.100.1:1000"
	for _, tt := range []struct {
		filtering                           Behaviour
		samePort, sameAddress, otherAddress bool
	}{
		{EndpointIndependent, true, true, true},
		{AddressDependent, true, true, false},
		{AddressAndPortDependent, true, false, false},
	} {
		for _, make := range []func(src, dst string) []byte{udp, syn} {
			rule := masquerade
			rule.Filtering = tt.filtering
			w := newWorld(t, rule)
			w.pass(lan, make(inside, known))
			for from, ok := range map[string]bool{
				"198.51.100.1:2000": tt.sameAddress, "198.51.100.2:1000": tt.otherAddress, "198.51.100.2:2000": tt.otherAddress,
			} {
				if !ok {
					w.refuse(wan, make(from, "203.0.113.1:40000"), packet.NoMapping)
					continue
				}
				wantEnds(t, w.pass(wan, make(from, "203.0.113.1:40000")), from, inside)
				if want := conntrack.NoInboundRefresh | conntrack.OutboundIsReply; w.conn.Status&want != want {
					t.Errorf("a connection through a mapping is refreshed from outside: %b", w.conn.Status)
				}
				wantEnds(t, w.pass(lan, make2(make, inside, from)), "203.0.113.1:40000", from)
			}
			if tt.filtering == AddressDependent { // a remote that was talked to before may begin, whatever the order
				w.pass(lan, make(inside, "198.51.100.9:1"))
				w.pass(wan, make("198.51.100.9:77", "203.0.113.1:40000"))
			}
		}
	}
}

// make2 returns the answer to a connection from outside: a SYN-ACK for TCP.
func make2(kind func(src, dst string) []byte, src, dst string) []byte {
	b := kind(src, dst)
	h, _ := packet.Parse(b)
	if h.Proto != packet.ProtoTCP {
		return b
	}
	return testpkt.TCP{Src: ap(src), Dst: ap(dst), Seq: 7000, Ack: 1001, Flags: packet.FlagSYN | packet.FlagACK}.Bytes()
}

// The other mapping behaviours of RFC 4787, section 4.1.
func TestMappingBehaviours(t *testing.T) {
	for _, tt := range []struct {
		mapping  Behaviour
		mappings int // of one inside endpoint and remotes a:1, a:2, b:1
	}{{EndpointIndependent, 1}, {AddressDependent, 2}, {AddressAndPortDependent, 3}} {
		rule := masquerade
		rule.Mapping = tt.mapping
		w := newWorld(t, rule)
		outside := map[uint16]bool{}
		for _, remote := range []string{"198.51.100.1:1", "198.51.100.1:2", "198.51.100.2:1"} {
			src, _ := ends(w.pass(lan, udp("10.77.1.2:40000", remote)))
			outside[src.Port()] = true
			wantEnds(t, w.pass(wan, udp(remote, src.String())), remote, "10.77.1.2:40000")
		}
		if s := w.nat.Stats(); s.Mappings != tt.mappings || len(outside) != tt.mappings {
			t.Errorf("behaviour %d: %d mappings, %d outside ports, want %d", tt.mapping, s.Mappings, len(outside), tt.mappings)
		}
	}
}

// Ports are overloaded only where the mapping is by address and port and overlap is auto (RFC 7857, section 3).
func TestOverload(t *testing.T) {
	for _, tt := range []struct {
		mapping Behaviour
		never   bool
		second  packet.DropReason
	}{
		{EndpointIndependent, false, packet.NoPort},
		{AddressDependent, false, packet.NoPort},
		{AddressAndPortDependent, false, packet.NotDropped},
		{AddressAndPortDependent, true, packet.NoPort},
	} {
		rule := masquerade
		rule.Mapping, rule.Filtering, rule.ToPorts = tt.mapping, EndpointIndependent, portList(5000, 5000)
		cfg := testConfig(rule)
		cfg.Defaults.OverlapNever = tt.never
		w := newWorldConfig(t, cfg)
		wantEnds(t, w.pass(lan, udp("10.77.1.2:1", "198.51.100.1:53")), "203.0.113.1:5000", "198.51.100.1:53")
		_, _, reason := w.send(lan, udp("10.77.1.3:1", "198.51.100.2:53"))
		if reason != tt.second {
			t.Errorf("mapping %d, never %v: %v, want %v", tt.mapping, tt.never, reason, tt.second)
		}
		w.refuse(lan, udp("10.77.1.4:1", "198.51.100.1:53"), packet.NoPort) // the same remote endpoint: never
		if reason != packet.NotDropped {
			continue
		}
		w.refuse(wan, udp("198.51.100.9:53", "203.0.113.1:5000"), packet.NoMapping) // whose packet would it be?
		wantEnds(t, w.pass(wan, udp("198.51.100.1:53", "203.0.113.1:5000")), "198.51.100.1:53", "10.77.1.2:1")
		wantEnds(t, w.pass(wan, udp("198.51.100.2:53", "203.0.113.1:5000")), "198.51.100.2:53", "10.77.1.3:1")
	}
}

// Connections that are not confirmed yet count too: two of them never get one outside endpoint towards one remote.
func TestOverloadPending(t *testing.T) {
	rule := masquerade
	rule.Mapping, rule.ToPorts = AddressAndPortDependent, portList(5000, 5000)
	n, err := New(testConfig(rule), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		src, dst string
		want     packet.DropReason
	}{
		{"10.77.1.2:1", "198.51.100.1:53", packet.NotDropped},
		{"10.77.1.3:1", "198.51.100.1:53", packet.NoPort},
		{"10.77.1.3:1", "198.51.100.1:54", packet.NotDropped},
	} {
		_, c := bound(t, udp(tt.src, tt.dst), "", "")
		if got := n.Source(second, lan, wan, &c); got != tt.want {
			t.Errorf("connection %d: %v, want %v", i, got, tt.want)
		}
	}
}

// A range that is used up: refused, counted, nothing existing is touched (docs/spec/nat.md, section 11.9; RFC 6888
// REQ-11).
func TestExhaustion(t *testing.T) {
	rule := masquerade
	rule.ToPorts = portList(5000, 5003)
	w := newWorld(t, rule)
	for i := range 4 {
		w.pass(lan, udp(fmt.Sprintf("10.77.1.2:%d", 100+i), "198.51.100.1:53"))
	}
	w.refuse(lan, udp("10.77.1.3:100", "198.51.100.1:53"), packet.NoPort)
	w.pass(wan, udp("198.51.100.1:53", "203.0.113.1:5002"))
	s := w.nat.Stats()
	if s.Exhausted != 1 || s.Allocated != 4 || s.Mappings != 4 || s.Pools[0].Exhausted != 1 || s.Pools[0].Interface != "wan0" {
		t.Errorf("stats %+v", s)
	}
	if h := s.Pools[0].Holders; len(h) != 1 || h[0] != (HolderStats{addr("10.77.1.2"), 4}) {
		t.Errorf("holders %v", h)
	}
	if r := s.Refused; len(r) != 1 || r[0] != (DestinationStats{addr("198.51.100.1"), 1}) {
		t.Errorf("refused %v", r)
	}
	w.advance(600 * second)
	w.pass(lan, udp("10.77.1.3:100", "198.51.100.1:53"))
}

func TestLimits(t *testing.T) {
	cfg := testConfig(masquerade)
	cfg.Defaults.PortsPerSource, cfg.Defaults.MaxMappings = 2, 5
	w := newWorldConfig(t, cfg)
	for i := range 2 {
		w.pass(lan, udp(fmt.Sprintf("10.77.1.2:%d", 100+i), "198.51.100.1:53"))
	}
	w.refuse(lan, udp("10.77.1.2:200", "198.51.100.1:53"), packet.PortLimit)
	w.pass(lan, syn("10.77.1.2:200", "198.51.100.1:53")) // RFC 6888 REQ-4: by protocol
	w.pass(lan, udp("10.77.1.3:200", "198.51.100.1:53"))
	w.pass(lan, udp("10.77.1.4:200", "198.51.100.1:53"))
	w.refuse(lan, udp("10.77.1.5:200", "198.51.100.1:53"), packet.MappingLimit)
	w.pass(lan, udp("10.77.1.4:200", "198.51.100.2:53")) // the mapping is there
	w.advance(600 * second)
	if s := w.nat.Stats(); s.Mappings != 0 || len(w.nat.perSource) != 0 {
		t.Errorf("after the end: %+v, %v", s, w.nat.perSource)
	}
	w.pass(lan, udp("10.77.1.5:200", "198.51.100.1:53"))
}

// A mapping lives as long as its connections, and gives its port back (docs/spec/nat.md, section 12).
func TestMappingEnds(t *testing.T) {
	w := newWorld(t, masquerade)
	w.pass(lan, udp("10.77.1.2:40000", "198.51.100.1:53"))
	w.advance(200 * second)
	w.pass(lan, udp("10.77.1.2:40000", "198.51.100.2:53"))
	w.advance(200 * second) // the first connection is over
	w.refuse(wan, udp("198.51.100.1:99", "203.0.113.1:40000"), packet.NoMapping)
	w.pass(wan, udp("198.51.100.2:99", "203.0.113.1:40000"))
	w.advance(400 * second)
	if s := w.nat.Stats(); s.Mappings != 0 || s.Quarantined != 0 || len(w.nat.ports) != 0 {
		t.Errorf("stats %+v, %d allocators", s, len(w.nat.ports))
	}
	if u := w.nat.mappings.remotes.used; u != 0 {
		t.Errorf("%d remote addresses are left", u)
	}
	wantEnds(t, w.pass(lan, udp("10.77.1.9:40000", "198.51.100.1:53")), "203.0.113.1:40000", "198.51.100.1:53")
}

// RFC 6888 REQ-8: a released port rests, where anybody might still send to it.
func TestQuarantine(t *testing.T) {
	for _, tt := range []struct {
		filtering Behaviour
		rests     int
	}{{EndpointIndependent, 1}, {AddressDependent, 0}} {
		rule := masquerade
		rule.Filtering = tt.filtering
		w := newWorld(t, rule)
		w.pass(lan, udp("10.77.1.2:40000", "198.51.100.1:53"))
		w.advance(301 * second)
		if s := w.nat.Stats(); s.Quarantined != tt.rests || s.Mappings != 0 {
			t.Fatalf("filtering %d: %+v", tt.filtering, s)
		}
		src, _ := ends(w.pass(lan, udp("10.77.1.3:40000", "198.51.100.1:53")))
		if kept := src.Port() == 40000; kept != (tt.rests == 0) {
			t.Errorf("filtering %d: port %d", tt.filtering, src.Port())
		}
		w.advance(121 * second)
		w.pass(lan, udp("10.77.1.3:40000", "198.51.100.1:54")) // refreshes the mapping, expires the quarantine
		w.pass(lan, udp("10.77.1.4:40002", "198.51.100.1:53"))
		if s := w.nat.Stats(); s.Quarantined != 0 {
			t.Errorf("filtering %d: the port rests for ever", tt.filtering)
		}
	}
}

// A port by which nothing has left does not rest: refused packets of one socket would use up all that there are.
func TestNoQuarantineOfRefused(t *testing.T) {
	rule := masquerade
	rule.Filtering = EndpointIndependent
	w := newWorld(t, rule)
	for range 100 {
		b := udp("10.77.1.2:40000", "198.51.100.1:53")
		h, _ := packet.Parse(b)
		if _, reason := w.translate(lan, b, &h, &packet.Meta{}); reason != packet.NotDropped {
			t.Fatal(reason)
		}
		w.nat.Abandon(w.now, &w.conn)
		if s := w.nat.Stats(); s.Mappings != 0 || s.Quarantined != 0 {
			t.Fatalf("%+v", s)
		}
	}
	wantEnds(t, w.pass(lan, udp("10.77.1.3:40000", "198.51.100.1:53")), "203.0.113.1:40000", "198.51.100.1:53")
}

// An evicted connection takes nothing with it: its mapping stays until its own time, and its remote end may come
// back (docs/spec/nat.md, section 10).
func TestEvicted(t *testing.T) {
	for _, filtering := range []Behaviour{EndpointIndependent, AddressDependent, AddressAndPortDependent} {
		rule := masquerade
		rule.Filtering = filtering
		w := newWorld(t, rule)
		w.pass(lan, udp("10.77.1.2:40000", "198.51.100.1:53"))
		snap, _ := w.table.Lookup(w.now, w.conn.ID)
		w.table.Delete(w.now, w.conn.ID)
		var dead [4]conntrack.Dead
		if n := w.table.Reap(0, dead[:]); n != 1 {
			t.Fatalf("%d connections ended", n)
		}
		dead[0].Evicted, dead[0].Deadline = true, snap.Deadline
		w.nat.Release(w.now, &dead[0])
		if s := w.nat.Stats(); s.Mappings != 1 {
			t.Fatalf("filtering %d: the mapping went with its connection", filtering)
		}
		if filtering != EndpointIndependent {
			w.refuse(wan, udp("198.51.100.9:53", "203.0.113.1:40000"), packet.NoMapping)
		}
		w.pass(wan, udp("198.51.100.1:53", "203.0.113.1:40000"))
		w.advance(302 * second)
		for i := range 400 { // the sweep finds it in passing
			w.pass(lan, udp(fmt.Sprintf("10.77.1.2:%d", i+1), "198.51.100.1:54"))
		}
		if s := w.nat.Stats(); s.Mappings != 400 {
			t.Errorf("filtering %d: %d mappings, want 400", filtering, s.Mappings)
		}
	}
}

// A dropped first packet leaves nothing.
func TestAbandon(t *testing.T) {
	w := newWorld(t, masquerade)
	b := udp("10.77.1.2:40000", "198.51.100.1:53")
	h, _ := packet.Parse(b)
	var c conntrack.Conn
	p := conntrack.Packet{Bytes: b, H: &h, Meta: &packet.Meta{}}
	w.table.Track(0, w.now, &p, &c)
	w.nat.Destination(w.now, lan, &c)
	w.nat.Source(w.now, lan, wan, &c)
	if s := w.nat.Stats(); s.Mappings != 1 {
		t.Fatalf("%d mappings", s.Mappings)
	}
	w.nat.Abandon(w.now, &c)
	w.nat.Abandon(w.now, &c)
	if s := w.nat.Stats(); s.Mappings != 0 {
		t.Errorf("%d mappings are left", s.Mappings)
	}
}

// Two packets of one flow at two workers: the loser's hold goes when it joins the winner.
func TestMergedConnection(t *testing.T) {
	w := newWorld(t, masquerade)
	b := udp("10.77.1.2:40000", "198.51.100.1:53")
	h, _ := packet.Parse(b)
	var c [2]conntrack.Conn
	p := conntrack.Packet{Bytes: b, H: &h, Meta: &packet.Meta{}}
	for i := range c {
		w.table.Track(0, w.now, &p, &c[i])
		w.nat.Destination(w.now, lan, &c[i])
		w.nat.Source(w.now, lan, wan, &c[i])
	}
	for i := range c {
		if reason := w.table.Confirm(0, w.now, &c[i]); reason != packet.NotDropped {
			t.Fatal(reason)
		}
		w.nat.Confirmed(w.now, &c[i])
	}
	if !c[1].Merged {
		t.Fatal("the second packet did not join the first one's connection")
	}
	w.advance(400 * second)
	if s := w.nat.Stats(); s.Mappings != 0 {
		t.Errorf("%d mappings are left", s.Mappings)
	}
}

// One inside host, one outside address, whatever the protocol (RFC 4787 REQ-2, RFC 6888 REQ-2); hosts spread over
// the pool.
func TestPairedPooling(t *testing.T) {
	rule := Rule{Action: SNAT, Out: "wan0", To: addrs("198.51.100.32/28", "198.51.100.64")}
	w := newWorld(t, rule)
	used := map[string]int{}
	for host := range 34 {
		inside := fmt.Sprintf("10.77.1.%d", host+2)
		first := ""
		for i := range 4 {
			for _, b := range [][]byte{
				udp(fmt.Sprintf("%s:%d", inside, 100+i), "192.0.2.1:53"), syn(fmt.Sprintf("%s:%d", inside, 200+i), "192.0.2.2:53"),
				testpkt.Echo{Src: addr(inside), Dst: addr("192.0.2.3"), ID: uint16(i)}.Bytes(),
				testpkt.Raw{Src: addr(inside), Dst: addr(fmt.Sprintf("192.0.2.%d", host+4)), Proto: packet.ProtoESP, Payload: make([]byte, 16)}.Bytes(),
			} {
				got := w.pass(lan, b)
				src := packet.Addr(packet.IPv4(got).Src()).String()
				if first == "" {
					first = src
					used[src]++
				}
				if src != first {
					t.Fatalf("host %s has outside addresses %s and %s", inside, first, src)
				}
			}
		}
	}
	for a, n := range used {
		if n != 2 {
			t.Errorf("%s has %d hosts, want 34 over 17 addresses", a, n)
		}
	}
	w.advance(600 * second)
	w.advance(600 * second)
	if len(w.nat.paired) != 0 || len(w.nat.hosts) != 0 {
		t.Errorf("%d pairings, %d hosts are left", len(w.nat.paired), len(w.nat.hosts))
	}
}

// pooling = "arbitrary" goes on to the next address where one is full.
func TestArbitraryPooling(t *testing.T) {
	rule := Rule{Action: SNAT, Out: "wan0", To: addrs("198.51.100.32/30"), ToPorts: portList(5000, 5001)}
	for _, arbitrary := range []bool{false, true} {
		cfg := testConfig(rule)
		cfg.Defaults.PoolArbitrary = arbitrary
		w := newWorldConfig(t, cfg)
		passed := 0
		for i := range 9 {
			if _, _, reason := w.send(lan, udp(fmt.Sprintf("10.77.1.2:%d", 100+i), "192.0.2.1:53")); reason == packet.NotDropped {
				passed++
			}
		}
		if want := map[bool]int{false: 2, true: 8}[arbitrary]; passed != want {
			t.Errorf("arbitrary %v: %d connections, want %d", arbitrary, passed, want)
		}
	}
}

// Connections without any rule: a reply tuple that is taken costs the source its port (docs/spec/nat.md, section 1).
func TestNullBindingClash(t *testing.T) {
	w := newWorld(t, Rule{Action: DNAT, Destination: addrs("203.0.113.10", "203.0.113.11"), Proto: packet.ProtoUDP, To: addrs("10.77.1.2")})
	w.pass(wan, udp("198.51.100.1:5000", "203.0.113.10:53"))
	got := w.pass(wan, udp("198.51.100.1:5000", "203.0.113.11:53"))
	src, dst := ends(got)
	if src.Addr() != addr("198.51.100.1") || src.Port() == 5000 || src.Port() < 1024 || dst != ap("10.77.1.2:53") {
		t.Fatalf("%v > %v", src, dst)
	}
	wantEnds(t, w.pass(lan, udp(dst.String(), src.String())), "203.0.113.11:53", "198.51.100.1:5000")
}

// What the router itself sends takes its port from the allocator too.
func TestOwnConnections(t *testing.T) {
	w := newWorld(t, masquerade)
	wantEnds(t, w.pass(lan, udp("10.77.1.2:40000", "198.51.100.1:53")), "203.0.113.1:40000", "198.51.100.1:53")
	got, _, reason := w.send(-1, udp("203.0.113.1:40000", "198.51.100.1:53"))
	if reason != packet.NotDropped {
		t.Fatal(reason)
	}
	src, _ := ends(got)
	if src.Port() == 40000 || src.Addr() != addr("203.0.113.1") {
		t.Errorf("the router's own packet leaves from %v", src)
	}
	wantEnds(t, w.pass(wan, udp("198.51.100.1:53", src.String())), "198.51.100.1:53", "203.0.113.1:40000")
	w.refuse(wan, udp("198.51.100.1:54", src.String()), packet.NoMapping)
}

// A source that has no address yet is left alone (DHCP).
func TestUnspecifiedSource(t *testing.T) {
	rule := masquerade
	rule.Source = nil
	w := newWorld(t, rule)
	wantEnds(t, w.pass(lan, udp("0.0.0.0:68", "198.51.100.1:67")), "0.0.0.0:68", "198.51.100.1:67")
}
