package integration

import (
	"bytes"
	"github.com/natrouter/natrouter/integration/lab"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// fragmentOrders are orders in which the fragments of two datagrams may come.
var fragmentOrders = []struct {
	name  string
	order func(one, two [][]byte) [][]byte
}{
	{"in order", func(one, two [][]byte) [][]byte { return slices.Concat(one, two) }},
	{"last first", func(one, two [][]byte) [][]byte {
		all := slices.Concat(two, one)
		slices.Reverse(all)
		return all
	}},
	{"interleaved", func(one, two [][]byte) (all [][]byte) {
		for i := range one {
			all = append(all, two[len(two)-1-i], one[i])
		}
		return all
	}},
	{"first last", func(one, two [][]byte) [][]byte {
		return slices.Concat(one[1:], two[1:], one[:1], two[:1])
	}},
}

// TestFragmentedDatagrams sends datagrams of 4000 bytes as fragments in several orders, both ways and in both families
// (RFC 4787, REQ-14): real sockets must get each whole, from the translated endpoint.
func TestFragmentedDatagrams(t *testing.T) {
	lab.NeedLab(t)
	l := newPair(t, lab.Config{})
	lab.Sniff(t, l.Client, "lan0", lab.Checksums, nil)
	lab.Sniff(t, l.Server, "wan0", lab.Translated(lab.Checksums), nil)
	for _, e := range lab.Families {
		client, err := l.Client.ListenPacket("udp", netip.AddrPortFrom(e.Client, 7400))
		lab.Must(t, err)
		endAfter(t, lab.ToolTimeout, client)
		server, err := l.Server.ListenPacket("udp", netip.AddrPortFrom(e.Server, 7401))
		lab.Must(t, err)
		endAfter(t, lab.ToolTimeout, server)
		here, there, seen := netip.AddrPortFrom(e.Client, 7400), netip.AddrPortFrom(e.Server, 7401), netip.AddrPortFrom(e.WAN, 7400)
		for i, o := range fragmentOrders {
			t.Run(e.Name+"/"+o.name, func(t *testing.T) {
				id := uint32(100 * (i + 1))
				one, two := big(here, there, id), big(here, there, id+1)
				lab.Must(t, l.Client.Inject("lan0", o.order(fragments(one, id), fragments(two, id+1))...))
				arriveWhole(t, server, seen, one, two)
				one, two = big(there, seen, id), big(there, seen, id+1)
				lab.Must(t, l.Server.Inject("wan0", o.order(fragments(one, id), fragments(two, id+1))...))
				arriveWhole(t, client, there, one, two)
			})
		}
	}
	l.noFaults()
}

// big is a datagram of 4000 bytes of payload; its bytes depend on id.
func big(from, to netip.AddrPort, id uint32) []byte {
	payload := make([]byte, 4000)
	for i := range payload {
		payload[i] = byte(uint32(i)*id + uint32(i)>>8)
	}
	return testpkt.UDP{Src: from, Dst: to, ID: uint16(id), TTL: 64, Payload: payload}.Bytes()
}

func fragments(b []byte, id uint32) [][]byte { return testpkt.Fragments(b, 1300, id) }

// arriveWhole wants the payload of each datagram, in any order.
func arriveWhole(t *testing.T, at net.PacketConn, from netip.AddrPort, want ...[]byte) {
	t.Helper()
	lab.Must(t, at.SetReadDeadline(time.Now().Add(errorIn)))
	b := make([]byte, 1<<16)
	for range want {
		n, source, err := at.ReadFrom(b)
		if err != nil {
			t.Fatalf("a datagram is missing: %v", err)
		}
		if source.(*net.UDPAddr).AddrPort() != from {
			t.Errorf("from %s, want %s", source, from)
		}
		if !slices.ContainsFunc(want, func(w []byte) bool { return bytes.Equal(w[len(w)-4000:], b[:n]) }) {
			t.Errorf("%d bytes arrived that nobody sent", n)
		}
	}
}

// TestSCTP has two inside hosts use one source port towards one server: the second one's is changed, and each packet has
// the CRC32c that belongs to its ports (RFC 9260, section 6.8).
func TestSCTP(t *testing.T) {
	lab.NeedLab(t)
	l := newPair(t, lab.Config{})
	inside, outside := arrivals(t, l.Client, "lan0"), arrivals(t, l.Server, "wan0")
	for i, e := range lab.Families {
		server := netip.AddrPortFrom(e.Nobody, 7501)
		var seen []netip.AddrPort
		for j, host := range []netip.Addr{nobodyInside[i], nobodyBeside[i]} {
			client, tag, answer := netip.AddrPortFrom(host, 7500), uint32(0x11110000+i*16+j), uint32(0x22220000+i*16+j)
			init := testpkt.SCTP{Src: client, Dst: server, Chunks: initChunk(1, tag, nil), TTL: 64}
			got := pass(t, l.Client, "lan0", outside, init.Bytes(), func(p testpkt.Layout, raw []byte) bool {
				return p.Proto == 132 && bytes.Equal(raw[p.L4+12:p.Len], init.Chunks)
			})
			layout, err := testpkt.Parse(got)
			lab.Must(t, err)
			from := source(layout, got)
			seen = append(seen, from)
			if from.Addr() != e.WAN || (from.Port() != client.Port()) != (j > 0) {
				t.Errorf("%s: %s is seen as %s", e.Name, client, from)
			}
			cookie := []byte{0, 7, 0, 8, 1, 2, 3, byte(j)} // state cookie (RFC 9260, section 3.3.3.1)
			ack := testpkt.SCTP{Src: server, Dst: from, Tag: tag, Chunks: initChunk(2, answer, cookie), TTL: 64}
			pass(t, l.Server, "wan0", inside, ack.Bytes(), func(p testpkt.Layout, raw []byte) bool {
				return p.Proto == 132 && destination(p, raw) == client && source(p, raw) == server
			})
			echo := testpkt.SCTP{Src: client, Dst: server, Tag: answer, Chunks: append([]byte{10, 0, 0, 8}, cookie[4:]...), TTL: 64}
			pass(t, l.Client, "lan0", outside, echo.Bytes(), func(p testpkt.Layout, raw []byte) bool {
				return p.Proto == 132 && source(p, raw) == from && raw[p.L4+12] == 10
			})
		}
		if seen[0] == seen[1] {
			t.Errorf("%s: both hosts are %s outside", e.Name, seen[0])
		}
	}
}

// initChunk is an INIT (1) or INIT ACK (2) chunk (RFC 9260, section 3.3.2).
func initChunk(typ byte, tag uint32, parameters []byte) []byte {
	n := 20 + len(parameters)
	c := []byte{typ, 0, byte(n >> 8), byte(n), byte(tag >> 24), byte(tag >> 16), byte(tag >> 8), byte(tag),
		0, 1, 0, 0, // window, bytes
		0, 1, 0, 1, // streams each way
		0, 0, 0, 1} // first TSN
	return append(c, parameters...)
}
