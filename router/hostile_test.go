package router

import (
	"bytes"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// law checks what must hold for each packet that comes out, whatever came in.
func (n *network) law(out map[string][]tun.Frame) {
	n.t.Helper()
	for name, frames := range out {
		for i := range frames {
			b := frames[i].Bytes()
			h, reason := packet.Parse(b)
			if reason != packet.NotDropped {
				n.t.Fatalf("%s gave % x: %s", name, b, reason)
			}
			if len(b) > 1500 && frames[i].Meta.GSO == packet.GSONone {
				n.t.Errorf("%s gave %d bytes", name, len(b))
			}
			if name == "wan0" {
				n.outsideLaw(b, &h)
			}
		}
	}
	d := n.drops()
	if d[packet.Unspecified.String()] != 0 || d[packet.NetstackPanic.String()] != 0 {
		n.t.Errorf("drops %v", d)
	}
}

// outsideLaw: no inside address in the header, nor in the header that an ICMP error quotes.
func (n *network) outsideLaw(b []byte, h *packet.Headers) {
	n.t.Helper()
	src, dst := addresses(b, h)
	if from := addrOf(src); private(from) {
		n.t.Errorf("source %s outside: % x", from, b)
	}
	_ = dst
	if !packet.ICMPTypeIsError(b[min(int(h.L4), len(b)-1)], h.Family) || h.Fragment ||
		(h.Proto != packet.ProtoICMP && h.Proto != packet.ProtoICMPv6) {
		return
	}
	quote := b[h.L4+8:]
	if len(quote) < packet.IPv6Size && (len(quote) < packet.IPv4Size || quote[0]>>4 != 4) {
		return
	}
	inner := packet.Headers{Family: quote[0] >> 4}
	if inner.Family != 4 && inner.Family != 6 {
		return
	}
	for _, a := range n.r.own.all() {
		if from, to := addresses(quote, &inner); private(a) && (addrOf(from) == a || addrOf(to) == a) {
			n.t.Errorf("the quote shows %s outside", a)
		}
	}
}

// hostileNetwork has flows of several protocols, both ways, for hostile packets to meet.
func hostileNetwork(t testing.TB) *network {
	n := newNetwork(t, withForward(testConfig()))
	n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes(),
		testpkt.UDP{Src: port(client6, 5000), Dst: port(server6, 53)}.Bytes(),
		testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 1, Flags: packet.FlagSYN}.Bytes(),
		testpkt.Echo{Src: client4, Dst: server4, ID: 7}.Bytes(),
		testpkt.GREv0{Src: client4, Dst: server4, Payload: []byte("x")}.Bytes())
	n.send("wan0", testpkt.UDP{Src: port(server4, 53), Dst: port(wan4, 5000)}.Bytes(),
		testpkt.TCP{Src: port(server4, 80), Dst: port(wan4, 5000), Seq: 1, Ack: 2, Flags: packet.FlagSYN | packet.FlagACK}.Bytes(),
		testpkt.UDP{Src: port(server4, 700), Dst: port(wan4, 9000)}.Bytes())
	n.resetDrops()
	return n
}

// FuzzPipeline: whatever comes in from either side, with whatever the device says of it, what comes out obeys the
// laws, and what does not has a reason.
func FuzzPipeline(f *testing.F) {
	for _, b := range [][]byte{
		testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), Payload: pattern(50)}.Bytes(),
		testpkt.TCP{Src: port(server4, 80), Dst: port(wan4, 5000), Seq: 2, Ack: 2, Flags: packet.FlagACK, Payload: pattern(50)}.Bytes(),
		testpkt.ICMP{Src: server4, Dst: wan4, Type: 3, Code: 4, Payload: testpkt.UDP{Src: port(wan4, 5000), Dst: port(server4, 53)}.Bytes()}.Bytes(),
		testpkt.UDP{Src: port(server6, 53), Dst: port(wan6, 5000), Ext: []testpkt.Ext{testpkt.FragHeader(0, true, 7)}}.Bytes(),
		testpkt.GREv1{Src: server4, Dst: wan4, CallID: 1}.Bytes(),
		testpkt.Echo{Src: client6, Dst: wan6}.Bytes(),
		testpkt.Raw{Src: server4, Dst: wan4, Proto: 99}.Bytes(),
		testpkt.Raw{Src: server6, Dst: wan6, Proto: 50, Payload: pattern(9)}.Bytes(),
		testpkt.Echo{Src: client4, Dst: lan4, Payload: pattern(9)}.Bytes(),
	} {
		f.Add(b, false, uint8(0), uint16(0), uint16(0), uint16(0))
		f.Add(b, true, uint8(1), uint16(10), uint16(20), uint16(16))
	}
	n := hostileNetwork(f)
	f.Fuzz(func(t *testing.T, b []byte, outside bool, gso uint8, size, start, off uint16) {
		if len(b) > tun.MaxPacket || len(b) == 0 {
			return
		}
		n.t = t
		side := "lan0"
		if outside {
			side = "wan0"
		}
		m := packet.Meta{GSO: packet.GSOType(gso & 3), SegSize: size, CsumStart: start, CsumOff: off, CsumValid: gso&4 != 0}
		before := n.total()
		out := n.sendFrames(side, frame(b, m))
		n.law(out)
		if len(out["lan0"])+len(out["wan0"]) == 0 && n.total() == before && n.r.fragments.Len() == 0 {
			t.Errorf("% x vanished without a reason", b)
		}
	})
}

// total returns how many packets were dropped.
func (n *network) total() (sum uint64) {
	for _, count := range n.drops() {
		sum += count
	}
	return sum
}

// TestTruncated: every truncation of a good packet is refused or harmless.
func TestTruncated(t *testing.T) {
	n := hostileNetwork(t)
	for _, b := range [][]byte{
		testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 80), Seq: 2, Ack: 2, Flags: packet.FlagACK, Options: []byte{2, 4, 5, 180}, Payload: pattern(20)}.Bytes(),
		testpkt.UDP{Src: port(client6, 5000), Dst: port(server6, 53), Payload: pattern(20)}.Bytes(),
	} {
		for cut := range len(b) {
			out := n.send("lan0", b[:cut])
			if len(out) != 0 {
				t.Errorf("%d of %d bytes went through", cut, len(b))
			}
		}
	}
	if got := n.drops(); len(got) != 1 || got[packet.Malformed.String()] == 0 {
		t.Errorf("drops %v", got)
	}
}

// TestEveryProtocol: packets of every protocol that end anywhere in their first 24 bytes, to the router, through it
// and to nowhere, from both sides. (A packet to the router that ended after its IP header once ended the router.)
func TestEveryProtocol(t *testing.T) {
	n := hostileNetwork(t)
	for proto := range 256 {
		for _, way := range []struct {
			side     string
			from, to netip.Addr
		}{
			{"lan0", client4, lan4}, {"lan0", client4, server4}, {"wan0", server4, wan4}, {"wan0", server4, client4},
			{"lan0", client6, lan6}, {"lan0", client6, server6}, {"wan0", server6, wan6}, {"wan0", server6, client6},
		} {
			for _, size := range []int{0, 1, 3, 4, 7, 8, 11, 12, 16, 19, 20, 24} {
				for _, fill := range []byte{0, 8, 0x30, 128, 255} {
					payload := bytes.Repeat([]byte{fill}, size)
					n.law(n.send(way.side, testpkt.Raw{Src: way.from, Dst: way.to, Proto: uint8(proto), Payload: payload}.Bytes()))
				}
			}
		}
	}
}

// TestCaptures replays every capture from either side: the laws hold for each packet that comes out.
func TestCaptures(t *testing.T) {
	dir := testpkt.Captures(t)
	sent, out := 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(d.Name(), ".pcap") {
			return err
		}
		packets, err := testpkt.ReadCapture(path)
		if err != nil {
			t.Logf("%s: %v", d.Name(), err)
			return nil
		}
		for _, side := range []string{"lan0", "wan0"} {
			cfg := testConfig()
			cfg.Filter.NoReversePath = true // captures hold both directions
			cfg.NAT[0].Source = []conntrack.AddrRange{span("0.0.0.0/0"), span("::/0")}
			n := newNetwork(t, cfg)
			for _, p := range packets {
				if len(p.Data) == 0 || len(p.Data) > tun.MaxPacket {
					continue
				}
				got := n.send(side, p.Data)
				n.law(got)
				sent++
				out += len(got["lan0"]) + len(got["wan0"])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// The rest answers to flows that no NAT translated, or was captured before its checksum was computed.
	if sent < 1000 || out < sent/6 {
		t.Errorf("%d packets in, only %d out", sent, out)
	}
}
