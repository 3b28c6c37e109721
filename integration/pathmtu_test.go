package integration

import (
	"encoding/binary"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
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
	lab.NeedLab(t)
	client, hop, far := lab.NewNamed(t, "client"), lab.NewNamed(t, "server"), lab.NewNamespace(t, "far")
	lab.Must(t, hop.Forward())
	lab.Must(t, netlab.Veth(hop, "far0", far, "eth0"))
	for i, e := range lab.Families {
		lab.Must(t, hop.Address("far0", farServer[i].hop))
		lab.Must(t, far.Address("eth0", farServer[i].server))
		all := netip.PrefixFrom(e.Server, 0)
		lab.Must(t, far.Route("eth0", all, farServer[i].hop.Addr()))
	}
	lab.Must(t, hop.SetMTU("far0", hopMTU))
	lab.Must(t, far.SetMTU("eth0", hopMTU))
	l := &pair{&lab.Lab{Client: client, Server: far}}
	l.Daemon = lab.Start(t, lab.NewNamespace(t, "router"), lab.Config{}.Text(), nil)

	isError := func(p netlab.Sniffed) bool { return lab.Quoted(p.Data) != nil }
	inside := lab.Sniff(t, client, "lan0", lab.Checksums, isError)
	lab.Sniff(t, hop, "far0", lab.Translated(lab.Checksums), nil)
	for i, e := range lab.Families {
		hopAddr := e.Server // the hop has the usual server's address on wan0
		e.Server = farServer[i].server.Addr()
		t.Run(e.Name+"/ping", func(t *testing.T) { pingTooBig(t, client, e) })
		t.Run(e.Name+"/told", func(t *testing.T) { l.toldTooBig(t, inside, e, hopAddr) })
		for _, s := range netlab.Scenes() {
			if s.Name == "traceroute" {
				continue // tested where the way is known
			}
			t.Run(e.Name+"/"+s.Name, func(t *testing.T) {
				if figure, err := s.Run(t.Context(), l.Path(e), func(string, ...any) {}); err != nil {
					t.Error(err)
				} else {
					t.Log(figure)
				}
			})
		}
	}
}

// pingTooBig wants ping to be told the hop's MTU.
func pingTooBig(t *testing.T, client *netlab.Namespace, e lab.Ends) {
	ping := lab.NeedTool(t, "ping")
	out, code := lab.RunIn(t, client, exec.Command(ping, "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1410", e.Server.String()))
	if code == 0 || !strings.Contains(out, "1400") {
		t.Errorf("exit code %d, want a complaint about an MTU of 1400:\n%s", code, out)
	}
	out, code = lab.RunIn(t, client, exec.Command(ping, "-n", "-c", "1", "-W", "2", "-M", "do", "-s", "1352", e.Server.String()))
	if code != 0 {
		t.Errorf("a packet of the hop's MTU is lost too:\n%s", out)
	}
}

// toldTooBig sends a datagram that the hop can't forward, and wants its error as if there were no NAT between.
func (l *pair) toldTooBig(t *testing.T, inside *lab.Sniffer, e lab.Ends, hop netip.Addr) {
	sent := testpkt.UDP{Src: netip.AddrPortFrom(e.Client, 40001), Dst: netip.AddrPortFrom(e.Server, 40002), DF: true, TTL: 64,
		Payload: make([]byte, 1430)}.Bytes()
	lab.Must(t, l.Client.Inject("lan0", sent))
	want := icmpError{kind: tooBig, from: hop, to: e.Client, mtu: hopMTU, quote: sent, hops: 1}
	want.mustArrive(t, inside)
}

// be16 reads a number of 16 bits in network byte order.
func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
