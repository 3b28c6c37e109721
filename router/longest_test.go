package router

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// Headers that take from the room of the longest packet.
var (
	ipOptions  = []byte{0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0} // router alert, which each fragment has, and record route
	hopByHop   = testpkt.Ext{Type: 0, Data: []byte{1, 4, 0, 0, 0, 0}}
	routingHdr = testpkt.Ext{Type: 43, Data: []byte{4, 0, 0, 0, 0, 0}}
	destOption = testpkt.Ext{Type: 60, Data: []byte{1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}
)

// TestLongestDatagram: the longest datagrams of both families go both ways in fragments. The payload length of IPv6
// does not count the header (RFC 8200, section 3), so its packets are up to 65575 bytes long; those from 65536 bytes on
// were dropped once.
func TestLongestDatagram(t *testing.T) {
	for name, tt := range map[string]struct {
		family  uint8
		options []byte
		ext     []testpkt.Ext
	}{
		"IPv4":                      {4, nil, nil},
		"IPv4, options":             {4, ipOptions, nil},
		"IPv6":                      {6, nil, nil},
		"IPv6, hop by hop":          {6, nil, []testpkt.Ext{hopByHop}},
		"IPv6, destination options": {6, nil, []testpkt.Ext{destOption}},
		"IPv6, all":                 {6, nil, []testpkt.Ext{hopByHop, destOption, routingHdr, destOption}},
	} {
		client, server, outside := client4, server4, wan4
		if tt.family == 6 {
			client, server, outside = client6, server6, wan6
		}
		empty := len(testpkt.UDP{Src: port(client, 5000), Dst: port(server, 53), IPOptions: tt.options, Ext: tt.ext}.Bytes())
		longest := (&packet.Headers{Family: tt.family}).Longest() - empty
		for _, short := range []int{0, 1, 7, 8, 39, 40} {
			t.Run(fmt.Sprintf("%s, %d", name, longest-short), func(t *testing.T) {
				n := newNetwork(t, testConfig(), func(p *tun.PairConfig) { p.Depth = 4096 })
				payload := pattern(longest - short)
				send := func(from, to string, src, dst netip.AddrPort) flowOf {
					whole := testpkt.UDP{Src: src, Dst: dst, ID: 5, Payload: payload, IPOptions: tt.options, Ext: tt.ext}.Bytes()
					got := putTogether(t, n.send(from, cut(t, whole, 1480)...)[to])
					if len(got) != len(whole) || !bytes.Equal(got[len(got)-len(payload):], payload) {
						t.Fatalf("%s to %s: %d bytes came out of %d, or other ones; drops %v", from, to, len(got), len(whole), n.drops())
					}
					return endpoints(t, got)
				}
				out := send("lan0", "wan0", port(client, 5000), port(server, 53))
				if out.src.Addr() != outside {
					t.Errorf("left from %s, want %s", out.src, outside)
				}
				if back := send("wan0", "lan0", out.dst, out.src); back.dst != port(client, 5000) {
					t.Errorf("the answer went to %s, want %s", back.dst, port(client, 5000))
				}
				if got := n.drops(); len(got) != 0 {
					t.Errorf("drops %v, want none", got)
				}
			})
		}
	}
}

// cut returns the fragments of a packet, as its sender makes them.
func cut(t *testing.T, whole []byte, size int) (fragments [][]byte) {
	t.Helper()
	h, reason := packet.Parse(whole)
	if reason != packet.NotDropped {
		t.Fatal(reason)
	}
	reason = packet.Fragment(whole, &h, size, 77, make([]byte, size), func(f []byte) bool {
		fragments = append(fragments, bytes.Clone(f))
		return true
	})
	if reason != packet.NotDropped {
		t.Fatal(reason)
	}
	return fragments
}

// putTogether returns the one packet that came out in fragments of no more than 1500 bytes. It is written without
// the reassembler: payloads by their offsets behind the headers of the first.
func putTogether(t *testing.T, frames []tun.Frame) []byte {
	t.Helper()
	var head, payload []byte
	for i := range frames {
		b := frames[i].Bytes()
		l, err := testpkt.Parse(b)
		if err != nil || len(b) > 1500 {
			t.Fatalf("a packet of %d bytes: %v", len(b), err)
		}
		start := l.L4
		if l.FragHdr > 0 {
			start = l.FragHdr + 8
		}
		if l.FragOff == 0 {
			head = bytes.Clone(b[:start])
		}
		if need := l.FragOff + l.Len - start; need > len(payload) {
			payload = append(payload, make([]byte, need-len(payload))...)
		}
		copy(payload[l.FragOff:], b[start:l.Len])
	}
	if head == nil {
		return nil
	}
	if head[0]>>4 == 4 {
		ip := packet.IPv4(append(head, payload...))
		ip.SetFragment(0, false)
		ip.SetTotalLen(len(ip))
		ip.UpdateChecksum()
		head = ip
	} else {
		head = packet.IPv6(withoutFragmentHeader(head, payload))
	}
	if err := testpkt.Verify(head); err != nil {
		t.Error(err)
	}
	return head
}

// withoutFragmentHeader returns the packet of an IPv6 head that ends in a fragment header, and of its payload.
func withoutFragmentHeader(head, payload []byte) []byte {
	frag := head[len(head)-8:]
	head = head[:len(head)-8]
	link := 6
	for off := 40; off < len(head); {
		link, off = off, off+(int(head[off+1])+1)*8
	}
	head[link] = frag[0]
	whole := packet.IPv6(append(bytes.Clone(head), payload...))
	whole.SetPayloadLen(len(whole) - 40)
	return whole
}

// TestLongestErrors: what is too long for a field of 16 bits is quoted in ICMP errors as any other packet: with no hop
// left, and whole but larger than the egress MTU.
func TestLongestErrors(t *testing.T) {
	for _, tt := range []struct {
		client, server, router netip.Addr
		size                   int
	}{{client4, server4, lan4, 65507}, {client6, server6, lan6, 65527}} {
		n := newNetwork(t, testConfig())
		whole := testpkt.UDP{Src: port(tt.client, 5000), Dst: port(tt.server, 53), ID: 5, TTL: 1, Payload: pattern(tt.size)}.Bytes()
		checkError(t, n.one(n.send("lan0", cut(t, whole, 1480)...), "lan0"), whole, tt.router, tt.client, [2]uint8{11, 0}, [2]uint8{3, 0})
		n.reason(packet.TTLExceeded)

		cfg := testConfig()
		cfg.Interfaces[1].MTU = 1400
		n = newNetwork(t, cfg)
		whole = testpkt.UDP{Src: port(tt.client, 5000), Dst: port(tt.server, 53), DF: true, Payload: pattern(tt.size)}.Bytes()
		checkError(t, n.one(n.send("lan0", whole), "lan0"), whole, tt.router, tt.client, [2]uint8{3, 4}, [2]uint8{2, 0})
		n.reason(packet.TooBig)
		checkError(t, n.one(n.send("lan0", cut(t, whole, 1480)...), "lan0"), whole, tt.router, tt.client, [2]uint8{3, 4}, [2]uint8{2, 0})
		n.reason(packet.TooBig)
	}
}

// TestLongestSuperSegment: super-segments as long as a packet may be, which over IPv6 is more than 16 bits count. Linux
// cuts those of 64 KiB before a TUN; another far end need not. They take the list, the fast path and the way back.
func TestLongestSuperSegment(t *testing.T) {
	for _, tt := range []struct {
		client, server netip.Addr
		size           int
	}{{client4, server4, 65507}, {client6, server6, 65527}} {
		for caps, uso := range map[string]bool{"whole": true, "cut": false} {
			n := newNetwork(t, testConfig(), func(p *tun.PairConfig) {
				p.Depth = 4096
				p.A.Caps = tun.Caps{Checksum: uso, USO: uso}
			})
			send := func(from, to string, src, dst netip.AddrPort) flowOf {
				whole := testpkt.UDP{Src: src, Dst: dst, ID: 5, Payload: pattern(tt.size)}.Bytes()
				m := packet.Meta{GSO: packet.GSOUDP, SegSize: 1400}
				m.CsumStart, m.CsumOff = testpkt.MakePartial(whole)
				var payload []byte
				frames := n.sendFrames(from, frame(whole, m))[to]
				for i := range frames {
					b := frames[i].Bytes()
					if !uso {
						if err := testpkt.Verify(b); err != nil {
							t.Fatal(err)
						}
					}
					h, _ := packet.Parse(b)
					payload = append(payload, b[h.Payload:]...)
				}
				if !bytes.Equal(payload, pattern(tt.size)) {
					t.Fatalf("%s, %s to %s: %d bytes came out of %d, or other ones; drops %v", caps, from, to, len(payload), tt.size, n.drops())
				}
				return endpoints(t, frames[0].Bytes())
			}
			for range 3 {
				out := send("lan0", "wan0", port(tt.client, 5000), port(tt.server, 53))
				send("wan0", "lan0", out.dst, out.src)
			}
			if slowPath {
				continue
			}
			if fast := n.lane("lan0").fast.Load(); fast == 0 {
				t.Errorf("%s, %s: none took the fast path", tt.client, caps)
			}
		}
	}
}

// TestLongestTCP: the same for TCP, where the tracker counts what a super-segment carries.
func TestLongestTCP(t *testing.T) {
	for _, tt := range []struct {
		client, server netip.Addr
		size           int
		gso            packet.GSOType
	}{{client4, server4, 65495, packet.GSOTCPv4}, {client6, server6, 65515, packet.GSOTCPv6}} {
		for caps, tso := range map[string]bool{"whole": true, "cut": false} {
			n := newNetwork(t, testConfig(), func(p *tun.PairConfig) {
				p.Depth = 4096
				p.A.Caps = tun.Caps{Checksum: tso, TSO4: tso, TSO6: tso}
			})
			src, dst := port(tt.client, 5000), port(tt.server, 80)
			syn := []byte{2, 4, 5, 0x64, 3, 3, 7, 0} // MSS 1380, window scale 7
			out := endpoints(t, n.one(n.send("lan0", testpkt.TCP{Src: src, Dst: dst, Seq: 1, Flags: packet.FlagSYN, Options: syn}.Bytes()), "wan0")).src
			n.one(n.send("wan0", testpkt.TCP{Src: dst, Dst: out, Seq: 9, Ack: 2, Flags: packet.FlagSYN | packet.FlagACK, Options: syn}.Bytes()), "lan0")
			n.one(n.send("lan0", testpkt.TCP{Src: src, Dst: dst, Seq: 2, Ack: 10, Flags: packet.FlagACK, Win: 4096}.Bytes()), "wan0")
			n.one(n.send("wan0", testpkt.TCP{Src: dst, Dst: out, Seq: 10, Ack: 2, Flags: packet.FlagACK, Win: 4096}.Bytes()), "lan0")
			for round := range uint32(3) {
				at := round * uint32(tt.size)
				for from, b := range map[string][]byte{
					"lan0": testpkt.TCP{Src: src, Dst: dst, Seq: 2 + at, Ack: 10 + at, Flags: packet.FlagACK, Win: 4096, Payload: pattern(tt.size)}.Bytes(),
					"wan0": testpkt.TCP{Src: dst, Dst: out, Seq: 10 + at, Ack: 2 + at, Flags: packet.FlagACK, Win: 4096, Payload: pattern(tt.size)}.Bytes(),
				} {
					m := packet.Meta{GSO: tt.gso, SegSize: 1380}
					m.CsumStart, m.CsumOff = testpkt.MakePartial(b)
					to := map[string]string{"lan0": "wan0", "wan0": "lan0"}[from]
					var payload []byte
					for _, f := range n.sendFrames(from, frame(b, m))[to] {
						h, _ := packet.Parse(f.Bytes())
						payload = append(payload, f.Bytes()[h.Payload:]...)
					}
					if !bytes.Equal(payload, pattern(tt.size)) {
						t.Fatalf("%s, %s, round %d: %d bytes came out of %d, or other ones; drops %v", caps, from, round, len(payload), tt.size, n.drops())
					}
				}
			}
		}
	}
}
