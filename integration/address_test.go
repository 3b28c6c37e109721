package integration

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/internal/testpkt"
)

// quiet is how long nothing may come out after a packet that must be dropped was counted as dropped.
const quiet = 50 * time.Millisecond

// TestRouterAddresses pings every address of the router from each side. Its private addresses are hidden from outside.
func TestRouterAddresses(t *testing.T) {
	needLab(t)
	l := newLab(t, labConfig{})
	sniff(t, l.client, "lan0", checksums, nil)
	sniff(t, l.server, "wan0", checksums, nil)
	for _, e := range families {
		must(t, l.server.Route("wan0", e.inside, netip.Addr{}))
		for _, to := range []netip.Addr{e.lan, e.wan} {
			if _, err := netlab.Ping(t.Context(), l.client, e.client, to); err != nil {
				t.Errorf("client pings %s: %v", to, err)
			}
		}
		if _, err := netlab.Ping(t.Context(), l.server, e.server, e.wan); err != nil {
			t.Errorf("server pings %s: %v", e.wan, err)
		}
		before := l.status().Drops
		must(t, l.server.Inject("wan0", testpkt.Echo{Src: e.server, Dst: e.lan, ID: 1, TTL: 64}.Bytes()))
		if reason := l.droppedOnce(t, before); reason != "input-filtered" {
			t.Errorf("server pings %s: dropped as %s", e.lan, reason)
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
	needLab(t)
	l := newLab(t, labConfig{rules: poolRule})
	all := func(p netlab.Sniffed) bool { return !p.Outgoing }
	fine := func(netlab.Sniffed) error { return nil }
	inside := sniff(t, l.client, "lan0", fine, all)
	outside := sniff(t, l.server, "wan0", fine, all)
	for _, e := range families {
		pool := addr("203.0.113.101")
		if e.server.Is6() {
			pool = addr("2001:db8:113::101")
		}
		for _, to := range []netip.Addr{e.wan, pool} {
			for name, p := range unsolicited(e.server, to) {
				t.Run(fmt.Sprintf("%s to %s", name, to), func(t *testing.T) {
					before := l.status().Drops
					must(t, l.server.Inject("wan0", p))
					reason := l.droppedOnce(t, before)
					if reason != "no-mapping" && (name != "SCTP" || reason != "malformed" && reason != "bad-checksum") {
						t.Errorf("dropped as %s", reason)
					}
				})
			}
		}
	}
	for _, s := range []*sniffer{inside, outside} {
		if p, ok := s.find(quiet, func(netlab.Sniffed) bool { return true }); ok {
			t.Errorf("%s: % x came out", s.name, p.Data)
		}
	}
}

// droppedOnce waits until a packet was dropped and returns why; more than one drop is an error.
func (l *lab) droppedOnce(t *testing.T, before map[string]uint64) (reason string) {
	t.Helper()
	for deadline := time.Now().Add(errorIn); time.Now().Before(deadline) && reason == ""; {
		for name, n := range l.status().Drops {
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
