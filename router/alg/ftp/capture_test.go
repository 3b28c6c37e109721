package ftp

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// captured is a control connection of a capture: what its ends said, in order.
type captured struct {
	client, server netip.AddrPort
	dirs           []conntrack.Direction
	texts          []string
	next           [2]uint32
}

// readControls takes the control connections out of a capture. Segments that repeat are left out.
func readControls(t *testing.T, path string) (list []*captured) {
	t.Helper()
	packets, err := testpkt.ReadCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	byClient := map[netip.AddrPort]*captured{}
	for _, p := range packets {
		if len(p.Data) >= packet.IPv4Size && p.Data[0] == 0x45 {
			packet.IPv4(p.Data).UpdateChecksum() // some were captured before it was made
		}
		h, reason := packet.Parse(p.Data)
		if reason != packet.NotDropped || h.Proto != packet.ProtoTCP {
			continue
		}
		tcp, err := packet.ParseTCP(p.Data[h.L4:h.Len])
		if err != nil || tcp.SrcPort() != port && tcp.DstPort() != port {
			continue
		}
		dir := fromClient
		client := netip.AddrPortFrom(packet.Addr(h.Src(p.Data)), tcp.SrcPort())
		server := netip.AddrPortFrom(packet.Addr(h.Dst(p.Data)), tcp.DstPort())
		if tcp.SrcPort() == port {
			dir, client, server = fromServer, server, client
		}
		c := byClient[client]
		if c == nil {
			c = &captured{client: client, server: server}
			byClient[client] = c
			list = append(list, c)
		}
		text := p.Data[h.Payload:h.Len]
		if len(text) == 0 || c.next[dir] != 0 && tcp.Seq() != c.next[dir] {
			continue
		}
		c.next[dir] = tcp.Seq() + uint32(len(text))
		for part := range slices.Chunk(text, 1400) {
			c.dirs, c.texts = append(c.dirs, dir), append(c.texts, string(part))
		}
	}
	return list
}

// captures says how many data connections are awaited in each capture's control connections, and of how many the
// text must be changed where the client is inside, and where the server is.
var captures = map[string]struct{ awaited, client, server int }{
	"ftp-10-sessions-20-ports.pcap":     {2, 2, 0},
	"ftp-auth-tls.pcap":                 {},
	"ftp-bounce.pcap":                   {1, 1, 0},
	"ftp-download-active.pcap":          {3, 3, 0},
	"ftp-download-passive.pcap":         {3, 0, 3},
	"ftp-eprt-epsv-ipv6.pcap":           {5, 2, 0},
	"ftp-eprt-ipv6-addr-over-ipv4.pcap": {},
	"ftp-epsv-bigtransfer.pcap":         {2, 0, 0},
	"ftp-epsv-ipv4.pcap":                {4, 0, 0},
	"ftp-invalid-reply-code.pcap":       {},
	"ftp-ipv6-multiline-reply.pcap":     {1, 0, 0},
	"ftp-many-port-expected.pcap":       {},
	"ftp-many-transfers-ipv4.pcap":      {14, 7, 7},
	"ftp-passive-real.pcap":             {2, 0, 2},
	"ftp-port-pasv-ipv4.pcap":           {4, 2, 2},
	"ftp-port-repeat-ctrl-only.pcap":    {2, 2, 0},
	"ftp-server-delays-all.pcap":        {},
	"ftp-stou-active.pcap":              {1, 1, 0},
	"ftp-too-long-command.pcap":         {1, 0, 1},
}

// The control connections of captures, with the client inside and with the server inside: what arrives is what the slow
// one makes of it, the connections that it awaits are let in as they must, and their number is right.
func TestCaptures(t *testing.T) {
	dir := testpkt.Captures(t)
	for name, want := range captures {
		t.Run(name, func(t *testing.T) {
			got := want
			got.awaited, got.client, got.server = 0, 0, 0
			for _, c := range readControls(t, filepath.Join(dir, "ftp", name)) {
				a, changed := replay(t, c, false)
				b, changedToo := replay(t, c, true)
				if a != b {
					t.Errorf("%d awaited with the client inside, %d with the server inside", a, b)
				}
				got.awaited, got.client, got.server = got.awaited+a, got.client+changed, got.server+changedToo
			}
			if got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// replay says a captured connection again and returns how many data connections were awaited, and how often what arrived
// was not what was said.
func replay(t *testing.T, c *captured, serverInside bool) (awaited, changed int) {
	t.Helper()
	client, server := c.client.Addr(), c.server.Addr()
	if client == server { // captured within one host
		client, server = netip.MustParseAddr("10.77.1.2"), netip.MustParseAddr("198.51.100.7")
	}
	outside := netip.MustParseAddr("203.0.113.1")
	if client.Is6() {
		outside = netip.MustParseAddr("2001:db8:113::1")
	}
	only := func(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }
	p := place{client: client.String(), asClient: outside.String(), server: server.String(), asServer: server.String()}
	p.rules = []nat.Rule{{Action: nat.Masquerade, Out: "wan0", Source: algtest.Ranges(only(client))}}
	inside, s := client, &slow{reserve: func(p uint16) uint16 { return p }}
	if serverInside {
		p.asClient, p.asServer, inside = client.String(), outside.String(), server
		p.rules = []nat.Rule{algtest.Forward(packet.ProtoTCP, netip.AddrPortFrom(outside, port), netip.AddrPortFrom(server, port))}
	}
	w := &world{algtest.New(t, algtest.Config{
		Helpers: []alg.Helper{New()}, NAT: p.rules, Rules: []alg.Rule{{Name: "ftp", Proto: packet.ProtoTCP, Ports: algtest.Port(port)}},
		Inside: []string{only(inside)}, Outside: []string{only(outside)},
	}), p}
	s.ends = [2]end{{client, addrPort(p.asClient, 0).Addr()}, {server, addrPort(p.asServer, 0).Addr()}}
	conn := w.dial(int(c.client.Port()))
	for i, text := range c.texts {
		dir := c.dirs[i]
		s.awaited = ""
		s.arrive(int(dir), latin1([]byte(text)))
		if got := conn.Say(dir, text); got != text {
			changed++
		}
		whole := string(bytesOf(s.out[dir] + string([]rune(s.line[dir])[:s.gone[dir]])))
		if got := string(conn.Heard(dir)); got != whole {
			t.Fatalf("behind %q: ...%q, want ...%q", text, got[max(0, len(got)-80):], whole[max(0, len(whole)-80):])
		}
		if s.awaited != "" {
			awaited++
			w.awaits(t, 1)
			w.transfer(t, dir, s.awaited, 30000+awaited)
		}
		w.awaits(t, 0)
	}
	return awaited, changed
}

// transfer opens the connection that the slow one awaits to the end that sends in dir.
func (w *world) transfer(t *testing.T, dir conntrack.Direction, awaited string, from int) {
	t.Helper()
	_, rest, _ := strings.Cut(awaited, ">")
	to, number, _ := strings.Cut(rest, ", ")
	named, _ := strconv.Atoi(number)
	if dir == fromClient {
		w.goes(t, host(w.server, from), to, host(w.asServer, from)+">"+host(w.client, named))
	} else {
		w.goes(t, host(w.client, from), to, host(w.asClient, from)+">"+host(w.server, named))
	}
	w.Table.Delete(w.Now, w.Last.ID) // some servers name the same port again
	w.Advance(time.Second)
}
