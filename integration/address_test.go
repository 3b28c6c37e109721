package integration

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/internal/testpkt"
)

// quiet is how long nothing may come out after a packet that must be dropped was counted as dropped.
const quiet = 50 * time.Millisecond

// TestRouterAddresses pings every address of the router from each side. Its private addresses are hidden from outside.
func TestRouterAddresses(t *testing.T) {
	lab.NeedLab(t)
	l := newPair(t, lab.Config{})
	lab.Sniff(t, l.Client, "lan0", lab.Checksums, nil)
	lab.Sniff(t, l.Server, "wan0", lab.Checksums, nil)
	for _, e := range lab.Families {
		lab.Must(t, l.Server.Route("wan0", e.Inside, netip.Addr{}))
		for _, to := range []netip.Addr{e.LAN, e.WAN} {
			if _, err := netlab.Ping(t.Context(), l.Client, e.Client, to); err != nil {
				t.Errorf("client pings %s: %v", to, err)
			}
		}
		if _, err := netlab.Ping(t.Context(), l.Server, e.Server, e.WAN); err != nil {
			t.Errorf("server pings %s: %v", e.WAN, err)
		}
		before := l.Status().Drops
		lab.Must(t, l.Server.Inject("wan0", testpkt.Echo{Src: e.Server, Dst: e.LAN, ID: 1, TTL: 64}.Bytes()))
		if reason := l.droppedOnce(t, before); reason != "input-filtered" {
			t.Errorf("server pings %s: dropped as %s", e.LAN, reason)
		}
	}
}

// poolRule makes outside addresses that no interface has.
const poolRule = `
[[nat]]
action = "snat"
source = ["10.99.0.0/16", "fd99::/16"]
to = ["203.0.113.100-203.0.113.103", "2001:db8:113::100-2001:db8:113::103"]
out = "wan0"
`

// unsolicited are packets that nobody asked for.
func unsolicited(from, to netip.Addr) map[string][]byte {
	at := netip.AddrPortFrom
	packets := map[string][]byte{
		"SYN": testpkt.TCP{Src: at(from, 5555), Dst: at(to, 22), Flags: 2, Seq: 1, TTL: 64}.Bytes(),
		"UDP": testpkt.UDP{Src: at(from, 5555), Dst: at(to, 53), Payload: []byte("?"), TTL: 64}.Bytes(),
		"GRE": testpkt.GREv0{Src: from, Dst: to, Payload: []byte("tunnelled"), TTL: 64}.Bytes(),
	}
	// ESP and SCTP take the IP header of the UDP packet: an SPI and a sequence number, an INIT chunk cut short.
	for name, protocol := range map[string]byte{"ESP": 50, "SCTP": 132} {
		p := testpkt.UDP{Src: at(from, 5555), Dst: at(to, 53), Payload: make([]byte, 24), TTL: 64}.Bytes()
		if from.Is4() {
			p[9] = protocol
			sum := ipSum(p[:20])
			p[10], p[11] = byte(sum>>8), byte(sum)
		} else {
			p[6] = protocol
		}
		packets[name] = p
	}
	return packets
}

// TestUnsolicited sends each kind of packet to the outside address and to a pool address: it is dropped, for one
// reason, and neither side sees anything of it.
func TestUnsolicited(t *testing.T) {
	lab.NeedLab(t)
	l := newPair(t, lab.Config{Rules: poolRule})
	all := func(p netlab.Sniffed) bool { return !p.Outgoing }
	fine := func(netlab.Sniffed) error { return nil }
	inside := lab.Sniff(t, l.Client, "lan0", fine, all)
	outside := lab.Sniff(t, l.Server, "wan0", fine, all)
	for _, e := range lab.Families {
		pool := lab.Addr("203.0.113.101")
		if e.Server.Is6() {
			pool = lab.Addr("2001:db8:113::101")
		}
		for _, to := range []netip.Addr{e.WAN, pool} {
			for name, p := range unsolicited(e.Server, to) {
				t.Run(fmt.Sprintf("%s to %s", name, to), func(t *testing.T) {
					before := l.Status().Drops
					lab.Must(t, l.Server.Inject("wan0", p))
					reason := l.droppedOnce(t, before)
					if reason != "no-mapping" && (name != "SCTP" || reason != "malformed" && reason != "bad-checksum") {
						t.Errorf("dropped as %s", reason)
					}
				})
			}
		}
	}
	for _, s := range []*lab.Sniffer{inside, outside} {
		if p, ok := s.Find(quiet, func(netlab.Sniffed) bool { return true }); ok {
			t.Errorf("%s: % x came out", s.Name, p.Data)
		}
	}
}

// droppedOnce waits until a packet was dropped and returns why; more than one drop is an error.
func (l *pair) droppedOnce(t *testing.T, before map[string]uint64) (reason string) {
	t.Helper()
	for deadline := time.Now().Add(errorIn); time.Now().Before(deadline) && reason == ""; {
		for name, n := range l.Status().Drops {
			switch {
			case n == before[name]:
			case n == before[name]+1 && reason == "":
				reason = name
			default:
				t.Errorf("dropped %d as %s, and %q", n-before[name], name, reason)
			}
		}
	}
	if reason == "" {
		t.Error("the packet was not dropped")
	}
	return reason
}
