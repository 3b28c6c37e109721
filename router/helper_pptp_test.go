package router

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg/pptp"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// pptpMessage is a control message (RFC 2637, section 2) of a kind and size, with call IDs at 12 and 14 and the result
// 1 at 16.
func pptpMessage(kind, size int, first, second uint16) string {
	b := binary.BigEndian.AppendUint16(nil, uint16(size))
	b = append(b, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, byte(kind), 0, 0)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, first), second)
	b = append(b, 1)
	return string(append(b, make([]byte, size-len(b))...))
}

// newPPTP is a network with a call that is up: the client's own ID is 7, and taken at the router; the server's is 70.
// It returns the ID that the server knows the client by.
func newPPTP(t testing.TB, fast bool) (*network, uint16) {
	t.Helper()
	cfg := testConfig()
	cfg.NoFastPath = !fast
	cfg.Helpers = []HelperRule{{Name: "pptp", Proto: packet.ProtoTCP, Ports: []conntrack.PortRange{{First: 1723, Last: 1723}}}}
	n := newHelped(t, cfg, pptp.New())
	if id, ok := n.r.nat.ReserveCallID(n.r.now(), wan4, server4, 7); !ok || id != 7 {
		t.Fatalf("call ID 7 is %d", id)
	}
	client, server, outside := port(client4, 4000), port(server4, 1723), port(wan4, 4000)
	say := func(p testpkt.TCP) []byte {
		t.Helper()
		p.DF = true
		in, out := "lan0", "wan0"
		if p.Src = client; p.Dst != server {
			in, out, p.Src = "wan0", "lan0", server
		}
		b := n.one(n.send(in, p.Bytes()), out)
		h, _ := packet.Parse(b)
		return b[h.Payload:]
	}
	const ack = packet.FlagACK
	say(testpkt.TCP{Dst: server, Seq: 1000, Flags: packet.FlagSYN})
	say(testpkt.TCP{Dst: outside, Seq: 5000, Ack: 1001, Flags: packet.FlagSYN | ack})
	say(testpkt.TCP{Dst: server, Seq: 1001, Ack: 5001, Flags: ack})
	request := say(testpkt.TCP{Dst: server, Seq: 1001, Ack: 5001, Flags: ack, Payload: []byte(pptpMessage(7, 168, 7, 1))})
	id := binary.BigEndian.Uint16(request[12:])
	reply := say(testpkt.TCP{Dst: outside, Seq: 5001, Ack: 1169, Flags: ack, Payload: []byte(pptpMessage(8, 32, 70, id))})
	if id == 7 || binary.BigEndian.Uint16(reply[14:]) != 7 {
		t.Fatalf("call IDs %d outside, %d inside", id, binary.BigEndian.Uint16(reply[14:]))
	}
	return n, id
}

// pptpData is a data packet that comes in: from the client, or from the server.
func pptpData(outside uint16, back bool, size int) testpkt.GREv1 {
	if back {
		return testpkt.GREv1{Src: server4, Dst: wan4, CallID: outside, HasSeq: true, Seq: 1, Payload: pattern(size)}
	}
	return testpkt.GREv1{Src: client4, Dst: server4, CallID: 70, HasSeq: true, Seq: 1, Payload: pattern(size)}
}

// TestPPTPData: data of a call is translated both ways, by the fast path once it has been answered, and allocates
// nothing then. It says nothing to third hosts.
func TestPPTPData(t *testing.T) {
	for _, fast := range []bool{true, false} {
		n, id := newPPTP(t, fast)
		n.dropped(n.send("wan0", testpkt.GREv1{Src: client4.Next(), Dst: wan4, CallID: id}.Bytes()), packet.ReversePath)
		n.dropped(n.send("wan0", testpkt.GREv1{Src: server4.Next(), Dst: wan4, CallID: id}.Bytes()), packet.NoMapping)
		n.dropped(n.send("wan0", testpkt.GREv1{Src: server4, Dst: wan4, CallID: id + 1}.Bytes()), packet.NoMapping)
		for range 2 {
			n.wantData(n.one(n.send("wan0", pptpData(id, true, 100).Bytes()), "lan0"), "198.51.100.7>10.77.0.2:7")
			n.wantData(n.one(n.send("lan0", pptpData(id, false, 100).Bytes()), "wan0"), "203.0.113.1>198.51.100.7:70")
		}
		n.tick(10 * time.Second)
		lanes := [2]*lane{n.lane("lan0"), n.lane("wan0")}
		frames := [2]tun.Frame{frame(pptpData(id, false, 100).Bytes(), packet.Meta{}), frame(pptpData(id, true, 100).Bytes(), packet.Meta{})}
		sinks, before := discard(n), n.r.Status().Fast
		allocs := testing.AllocsPerRun(100, func() {
			for i, l := range lanes {
				copyFrame(&l.frames[0], &frames[i])
				l.handle(l.frames[:1])
			}
		})
		if took := n.r.Status().Fast - before; allocs != 0 || sinks.packets != 2*101 || (took == 2*101) != fast {
			t.Errorf("fast path %v: %v allocations a round, %d packets of which %d by the fast path", fast, allocs, sinks.packets, took)
		}
	}
}

// TestPPTPFastAsSlow: with the fast path on and off data of a call gives the same bytes, and then the same state.
func TestPPTPFastAsSlow(t *testing.T) {
	fast, id := newPPTP(t, true)
	slow, other := newPPTP(t, false)
	if id != other {
		t.Fatalf("call IDs %d and %d of one seed", id, other)
	}
	for i := range 60 {
		side, p := "lan0", pptpData(id, i%3 == 0, 10*i)
		if i%3 == 0 {
			side = "wan0"
		}
		p.Seq, p.HasAck, p.Ack, p.TTL = uint32(i), i%5 == 0, uint32(i), uint8(1+i%7*9)
		if i%11 == 10 {
			p.CallID++ // nobody's
		}
		if diff := differ(fast.send(side, p.Bytes()), slow.send(side, p.Bytes())); diff != "" {
			t.Fatalf("packet %d, % x by %s: %s", i, p.Bytes(), side, diff)
		}
		fast.tick(5 * time.Second)
		slow.tick(5 * time.Second)
	}
	compareState(t, fast, slow)
	if n := fast.r.Status().Fast; n < 30 || slow.r.Status().Fast != 0 {
		t.Errorf("%d and %d packets took the fast path", n, slow.r.Status().Fast)
	}
}

// wantData checks where a data packet goes.
func (n *network) wantData(b []byte, want string) {
	n.t.Helper()
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped || h.Proto != packet.ProtoGRE {
		n.t.Fatalf("% x: %v", b, reason)
	}
	g, err := packet.ParseGREv1(b[h.L4:])
	if err != nil {
		n.t.Fatal(err)
	}
	if got := fmt.Sprintf("%s>%s:%d", packet.Addr(h.Src(b)), packet.Addr(h.Dst(b)), g.CallID()); got != want {
		n.t.Errorf("data went %s, want %s", got, want)
	}
}

// TestPPTPFragments: data that comes in fragments is put together before its call ID is looked at, in any order.
func TestPPTPFragments(t *testing.T) {
	for _, back := range []bool{false, true} {
		n, id := newPPTP(t, true)
		in, out, want := "lan0", "wan0", "203.0.113.1>198.51.100.7:70"
		if back {
			in, out, want = "wan0", "lan0", "198.51.100.7>10.77.0.2:7"
		}
		pieces := testpkt.Fragments(pptpData(id, back, 1300).Bytes(), 600, 99)
		if len(pieces) != 3 {
			t.Fatalf("%d fragments", len(pieces))
		}
		for i, k := range []int{2, 0, 1} {
			left := n.send(in, pieces[k])[out]
			if i < 2 {
				if len(left) != 0 {
					t.Fatalf("%d packets left early", len(left))
				}
				continue
			}
			total := 0
			for j := range left {
				b := left[j].Bytes()
				h, _ := packet.Parse(b)
				if total += len(b) - int(h.L4); j == 0 {
					g := packet.GREv1(b[h.L4:])
					if got := fmt.Sprintf("%s>%s:%d", packet.Addr(h.Src(b)), packet.Addr(h.Dst(b)), g.CallID()); got != want {
						t.Errorf("data went %s, want %s", got, want)
					}
				}
			}
			if total != 1300+12 {
				t.Errorf("%d bytes left in %d packets", total, len(left))
			}
		}
	}
}

// TestPPTPErrors: ICMP errors about data of a call reach the end that sent it, quoting what it sent; nothing inside
// shows outside.
func TestPPTPErrors(t *testing.T) {
	n, id := newPPTP(t, true)
	n.one(n.send("wan0", pptpData(id, true, 100).Bytes()), "lan0")
	n.one(n.send("lan0", pptpData(id, false, 100).Bytes()), "wan0")
	about := func(in, out string, from, to netip.Addr, quoted testpkt.GREv1) packet.IPv4 {
		t.Helper()
		quoted.HasSeq, quoted.Seq, quoted.Payload = true, 1, pattern(100)
		b := n.one(n.send(in, testpkt.ICMP{Src: from, Dst: to, Type: 3, Code: 4, Rest: 1400, Payload: quoted.Bytes()}.Bytes()), out)
		if err := testpkt.Verify(b); err != nil {
			t.Errorf("%v", err)
		}
		return packet.IPv4(b)
	}
	hop := server4.Next() // a router on the way
	b := about("wan0", "lan0", hop, wan4, testpkt.GREv1{Src: wan4, Dst: server4, CallID: 70})
	n.wantData(b[packet.IPv4Size+packet.ICMPSize:], "10.77.0.2>198.51.100.7:70")
	if packet.Addr(b.Dst()) != client4 {
		t.Errorf("the error went to %s", packet.Addr(b.Dst()))
	}
	b = about("lan0", "wan0", client4, server4, testpkt.GREv1{Src: server4, Dst: client4, CallID: 7})
	n.wantData(b[packet.IPv4Size+packet.ICMPSize:], fmt.Sprintf("198.51.100.7>203.0.113.1:%d", id))
	if packet.Addr(b.Src()) != wan4 || packet.Addr(b.Dst()) != server4 {
		t.Errorf("the error went %s>%s", packet.Addr(b.Src()), packet.Addr(b.Dst()))
	}
	// Of calls that nobody has, and about other hosts, nothing comes through.
	for _, q := range []testpkt.GREv1{{Src: wan4, Dst: server4, CallID: 71}, {Src: wan4, Dst: hop, CallID: 70}} {
		n.dropped(n.send("wan0", testpkt.ICMP{Src: hop, Dst: wan4, Type: 3, Code: 2, Payload: q.Bytes()}.Bytes()), packet.UnknownICMPError)
	}
}

// BenchmarkPPTPData is a data packet of a call that is up through all of our hooks, by the fast path and by the
// transit list; BenchmarkEstablished has UDP of the same size on the wire.
func BenchmarkPPTPData(b *testing.B) {
	for _, fast := range []bool{true, false} {
		b.Run(map[bool]string{true: "fast", false: "slow"}[fast], func(b *testing.B) {
			n, id := newPPTP(b, fast)
			n.send("wan0", pptpData(id, true, 32).Bytes())
			n.send("lan0", pptpData(id, false, 32).Bytes())
			benchmarkLane(b, n, pptpData(id, false, 32).Bytes(), packet.Meta{})
		})
	}
}
