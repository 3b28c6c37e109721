package integration

import (
	"encoding/binary"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/internal/testpkt"
)

const (
	hopMTU  = 1400            // of the link beyond the router
	errorIn = 2 * time.Second // an ICMP error must be there within this
)

// farServer are the server's addresses behind the hop, with the hop's own on that link.
var farServer = []struct{ server, hop netip.Prefix }{
	{netip.MustParsePrefix("198.51.100.2/24"), netip.MustParsePrefix("198.51.100.1/24")},
	{netip.MustParsePrefix("2001:db8:51::2/64"), netip.MustParsePrefix("2001:db8:51::1/64")},
}

// TestPathMTU has a kernel router with a link of 1400 bytes between natrouter and the server: its ICMP errors must
// reach the client translated, or nothing large gets through.
func TestPathMTU(t *testing.T) {
	needLab(t)
	client, hop, far := newNamed(t, "client"), newNamed(t, "server"), newNamespace(t, "far")
	must(t, hop.Forward())
	must(t, netlab.Veth(hop, "far0", far, "eth0"))
	for i, e := range families {
		must(t, hop.Address("far0", farServer[i].hop))
		must(t, far.Address("eth0", farServer[i].server))
		all := netip.PrefixFrom(e.server, 0)
		must(t, far.Route("eth0", all, farServer[i].hop.Addr()))
	}
	must(t, hop.SetMTU("far0", hopMTU))
	must(t, far.SetMTU("eth0", hopMTU))
	l := &lab{client: client, server: far}
	l.daemon = startDaemon(t, newNamespace(t, "router"), labConfig{}.text(), nil)

	isError := func(p netlab.Sniffed) bool { return quoted(p.Data) != nil }
	inside := sniff(t, client, "lan0", checksums, isError)
	sniff(t, hop, "far0", translated(checksums), nil)
	for i, e := range families {
		hopAddr := e.server // the hop has the usual server's address on wan0
		e.server = farServer[i].server.Addr()
		t.Run(e.name+"/ping", func(t *testing.T) { pingTooBig(t, client, e) })
		t.Run(e.name+"/told", func(t *testing.T) { l.toldTooBig(t, inside, e, hopAddr) })
		for _, s := range netlab.Scenes() {
			if s.Name == "traceroute" {
				continue // tested where the way is known
			}
			t.Run(e.name+"/"+s.Name, func(t *testing.T) {
				if figure, err := s.Run(t.Context(), l.path(e), func(string, ...any) {}); err != nil {
					t.Error(err)
				} else {
					t.Log(figure)
				}
			})
		}
	}
}

// pingTooBig wants ping to be told the hop's MTU.
func pingTooBig(t *testing.T, client *netlab.Namespace, e ends) {
	ping := needTool(t, "ping")
	out, code := runIn(t, client, exec.Command(ping, "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1410", e.server.String()))
	if code == 0 || !strings.Contains(out, "1400") {
		t.Errorf("exit code %d, want a complaint about an MTU of 1400:\n%s", code, out)
	}
	out, code = runIn(t, client, exec.Command(ping, "-n", "-c", "1", "-W", "2", "-M", "do", "-s", "1352", e.server.String()))
	if code != 0 {
		t.Errorf("a packet of the hop's MTU is lost too:\n%s", out)
	}
}

// toldTooBig sends a datagram that the hop can't forward, and wants its error as if there were no NAT between.
func (l *lab) toldTooBig(t *testing.T, inside *sniffer, e ends, hop netip.Addr) {
	sent := testpkt.UDP{Src: netip.AddrPortFrom(e.client, 40001), Dst: netip.AddrPortFrom(e.server, 40002), DF: true, TTL: 64,
		Payload: make([]byte, 1430)}.Bytes()
	must(t, l.client.Inject("lan0", sent))
	want := icmpError{kind: tooBig, from: hop, to: e.client, mtu: hopMTU, quote: sent, hops: 1}
	want.mustArrive(t, inside)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// be16 reads a number of 16 bits in network byte order.
func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
