package router

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// mssOf is an MSS option, at an odd place if odd.
func mssOf(v uint16, odd bool) []byte {
	if odd {
		return []byte{3, 3, 7, 4, 2, 2, 4, byte(v >> 8), byte(v), 0, 0, 0}
	}
	return []byte{2, 4, byte(v >> 8), byte(v)}
}

// checkQuoted quotes what left of a packet in an error, cut behind any word from eight bytes of transport header on, and
// wants to read there what was sent, but for the hop that it has made here. The error comes from far, by the interface
// out; the packet came in by side.
func checkQuoted(t *testing.T, n *network, side, out string, sent, left []byte, far netip.Addr) {
	t.Helper()
	h, _ := packet.Parse(left)
	want := bytes.Clone(sent)
	packet.DecrementTTL(want, &h)
	typ := uint8(11)
	if h.Family == 6 {
		typ = 3
	}
	for cut := int(h.L4) + 8; cut <= min(len(left), int(h.L4)+60); cut += 4 {
		e := testpkt.ICMP{Src: far, Dst: packet.Addr(h.Src(left)), Type: typ, Payload: left[:cut]}
		got := n.one(n.send(out, e.Bytes()), side)
		gh, _ := packet.Parse(got)
		quote := got[gh.L4+8:]
		if len(quote) != cut {
			t.Fatalf("a quote of %d bytes came as %d", cut, len(quote))
		}
		quoted := want[:cut]
		if half := halfMSS(sent, &h, cut); half {
			quoted = append(bytes.Clone(want[:cut-1]), quote[cut-1]) // what it said the other half tells
		}
		if !bytes.Equal(quote, quoted) {
			t.Errorf("%d bytes quoted:\n% x, want\n% x", cut, quote, quoted)
		}
	}
}

// halfMSS reports whether a cut goes through the value of the MSS option.
func halfMSS(sent []byte, h *packet.Headers, cut int) bool {
	if h.Proto != packet.ProtoTCP {
		return false
	}
	at := bytes.Index(sent[h.L4+packet.TCPSize:h.Payload], []byte{2, 4})
	return at >= 0 && cut == int(h.L4)+packet.TCPSize+at+3
}

// narrow is the usual set-up with an MTU of 1400 outside, so that the MSS is clamped.
func narrow() Config {
	cfg := testConfig()
	cfg.Interfaces[1].MTU = 1400
	return cfg
}

// TestQuotedSYNAsSent is the reported fault: an error about a SYN whose MSS was clamped came back with the clamped option
// and the checksum of that. RFC 5508, REQ-4a and REQ-5a: the quote is in the form in which it was sent.
func TestQuotedSYNAsSent(t *testing.T) {
	for _, tt := range []struct {
		name             string
		client, server   netip.Addr
		outside, farther netip.Addr
		odd              bool
		nat              bool
	}{
		{"IPv4", client4, server4, wan4, addr("192.0.2.99"), false, true},
		{"IPv4, an odd place", client4, server4, wan4, addr("192.0.2.99"), true, true},
		{"IPv6", client6, server6, wan6, addr("2001:db8:99::9"), false, true},
		{"IPv6, an odd place", client6, server6, wan6, addr("2001:db8:99::9"), true, true},
		{"not translated", addr("2001:db8:5::2"), server6, addr("2001:db8:5::2"), addr("2001:db8:99::9"), true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := narrow()
			cfg.Routes = append(cfg.Routes, Route{To: netip.MustParsePrefix("2001:db8:5::/64"), Interface: "lan0"})
			n := newNetwork(t, cfg)
			syn := testpkt.TCP{Src: port(tt.client, 5000), Dst: port(tt.server, 80), Seq: 99, Flags: packet.FlagSYN, Options: mssOf(1460, tt.odd), DF: true}
			left := bytes.Clone(n.one(n.send("lan0", syn.Bytes()), "wan0"))
			if bytes.Contains(left, mssOf(1460, tt.odd)) {
				t.Fatal("the MSS was not clamped")
			}
			checkQuoted(t, n, "lan0", "wan0", syn.Bytes(), left, tt.farther)

			syn.Options = mssOf(1440, !tt.odd) // sent again: the last one counts
			left = bytes.Clone(n.one(n.send("lan0", syn.Bytes()), "wan0"))
			checkQuoted(t, n, "lan0", "wan0", syn.Bytes(), left, tt.farther)

			syn.Options = mssOf(536, tt.odd) // and one that is left alone
			left = bytes.Clone(n.one(n.send("lan0", syn.Bytes()), "wan0"))
			checkQuoted(t, n, "lan0", "wan0", syn.Bytes(), left, tt.farther)

			answer := testpkt.TCP{Src: port(tt.server, 80), Dst: port(tt.outside, 5000), Seq: 700, Ack: 100,
				Flags: packet.FlagSYN | packet.FlagACK, Options: mssOf(1452, tt.odd), DF: true}
			left = bytes.Clone(n.one(n.send("wan0", answer.Bytes()), "lan0"))
			checkQuoted(t, n, "wan0", "lan0", answer.Bytes(), left, tt.client)
		})
	}
}

// TestQuotedSYNForged: a SYN-ACK that nobody believes does not make the router forget what the true one was.
func TestQuotedSYNForged(t *testing.T) {
	cfg := narrow()
	n := newNetwork(t, cfg)
	answer := testpkt.TCP{Src: port(server4, 80), Dst: port(wan4, 5000), Seq: 700, Ack: 100, Flags: packet.FlagSYN | packet.FlagACK, Options: mssOf(1460, false)}
	n.one(n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 99, Flags: packet.FlagSYN}.Bytes()), "wan0")
	left := bytes.Clone(n.one(n.send("wan0", answer.Bytes()), "lan0"))
	n.one(n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 100, Ack: 701, Flags: packet.FlagACK}.Bytes()), "wan0")
	forged := answer
	forged.Seq, forged.Options = 0x80000000, mssOf(900, false)
	n.one(n.send("wan0", forged.Bytes()), "lan0")
	checkQuoted(t, n, "wan0", "lan0", answer.Bytes(), left, client4)
}

// TestQuotedSYNOfOlder: a quoted SYN that is not the connection's, but of one that had its ports before, stays as it is.
func TestQuotedSYNOfOlder(t *testing.T) {
	for name, options := range map[string][]byte{"with an MSS": mssOf(1360, true), "without": nil} {
		for _, seq := range []uint32{99, 0x40000000} {
			n := newNetwork(t, narrow())
			syn := testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 99, Flags: packet.FlagSYN, Options: mssOf(1460, false)}
			n.one(n.send("lan0", syn.Bytes()), "wan0")
			if syn.Options, syn.Seq = options, seq; seq == 99 && options != nil {
				continue // can't be told from the connection's own
			}
			left := syn
			left.Src, left.TTL = port(wan4, 5000), 63
			t.Run(name, func(t *testing.T) {
				h, _ := packet.Parse(left.Bytes())
				whole := left.Bytes()[:h.Payload]
				e := testpkt.ICMP{Src: addr("192.0.2.99"), Dst: wan4, Type: 11, Payload: whole}
				got := n.one(n.send("wan0", e.Bytes()), "lan0")
				syn.TTL = 63
				if want := syn.Bytes(); !bytes.Equal(got[28:], want) {
					t.Errorf("% x, want % x", got[28:], want)
				}
			})
		}
	}
}

// TestQuotedAckStays: of a connection whose SYN was clamped other segments' quotes are left as they are translated.
func TestQuotedAckStays(t *testing.T) {
	n := newNetwork(t, narrow())
	n.one(n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 99, Flags: packet.FlagSYN, Options: mssOf(1460, false)}.Bytes()), "wan0")
	n.one(n.send("wan0", testpkt.TCP{Src: port(server4, 80), Dst: port(wan4, 5000), Seq: 700, Ack: 100, Flags: packet.FlagSYN | packet.FlagACK}.Bytes()), "lan0")
	sent := testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 100, Ack: 701, Flags: packet.FlagACK, DF: true, Payload: pattern(40)}.Bytes()
	left := bytes.Clone(n.one(n.send("lan0", bytes.Clone(sent)), "wan0"))
	checkQuoted(t, n, "lan0", "wan0", sent, left, addr("192.0.2.99"))
}

// TestQuotedAsSent: whatever a rewrite does to a packet, an error that quotes it shows its sender what it sent (RFC 5508,
// REQ-4a), in both directions, and on the fast path as in the transit list.
func TestQuotedAsSent(t *testing.T) {
	udp := func(p testpkt.UDP) func(src, dst netip.AddrPort) []byte {
		return func(src, dst netip.AddrPort) []byte {
			p.Src, p.Dst, p.Payload = src, dst, pattern(40)
			return p.Bytes()
		}
	}
	for name, build := range map[string]func(src, dst netip.AddrPort) []byte{
		"UDP":                  udp(testpkt.UDP{ID: 77, DF: true}),
		"UDP with a new ident": udp(testpkt.UDP{ID: 77}),
		"UDP, ident 0":         udp(testpkt.UDP{}),
		"UDP without checksum": udp(testpkt.UDP{ID: 78, DF: true, NoChecksum: true}),
	} {
		for _, way := range bothWays[:4] {
			if name == "UDP without checksum" && way.from.Addr().Is6() {
				continue
			}
			t.Run(name+", "+way.name, func(t *testing.T) {
				n := newNetwork(t, withForward(testConfig()))
				far := way.to.Addr() // the other end, or inside: another router has no address to speak with outside
				if way.in == "wan0" {
					far = way.back.Addr()
				}
				for range 2 { // before an answer and behind one
					sent := build(way.from, way.to)
					left := bytes.Clone(n.one(n.send(way.in, bytes.Clone(sent)), way.out))
					checkQuoted(t, n, way.in, way.out, sent, left, far)
					answer := build(way.back, way.backTo)
					left = bytes.Clone(n.one(n.send(way.out, bytes.Clone(answer)), way.in))
					checkQuoted(t, n, way.out, way.in, answer, left, way.from.Addr())
				}
			})
		}
	}
}
