package router

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// What must never be on the outside wire, whatever comes in: an inside address, in the header or in what an ICMP error
// quotes.

// sealed fails the test if a private address is outside.
func sealed(t *testing.T, what string, out map[string][]tun.Frame) {
	t.Helper()
	for i := range out["wan0"] {
		b := out["wan0"][i].Bytes()
		l, err := testpkt.Parse(b)
		if err != nil {
			t.Errorf("%s: wan0 gave % x: %v", what, b, err)
			continue
		}
		from, to := layoutAddrs(&l)
		seen := []netip.Addr{from, to}
		if q, ok := quoteOf(b, &l); ok {
			from, to = layoutAddrs(&q)
			seen = append(seen, from, to)
		}
		for _, a := range seen {
			if private(a) {
				t.Errorf("%s: %s is seen outside: % x", what, a, b)
			}
		}
	}
}

// TestInsideErrorsDoNotLeak sends, from inside, ICMP errors whose quotes are not what the outside sent: of other
// connections, with mismatching addresses, about errors, cut short, about what is untranslated.
func TestInsideErrorsDoNotLeak(t *testing.T) {
	for _, e := range []struct{ client, beside, lan, server, wan netip.Addr }{
		{client4, other4, lan4, server4, wan4}, {client6, addr("fd77::3"), lan6, server6, wan6},
	} {
		n := hostileNetwork(t)
		unreachable := func(from, to netip.Addr, quote []byte) []byte {
			typ := uint8(3)
			if from.Is6() {
				typ = 1
			}
			return testpkt.ICMP{Src: from, Dst: to, Type: typ, Code: 3, Payload: quote}.Bytes()
		}
		udp := func(from, to netip.AddrPort) []byte {
			return testpkt.UDP{Src: from, Dst: to, Payload: pattern(9)}.Bytes()
		}
		answer := udp(port(e.server, 53), port(e.client, 5000)) // as the client sees it
		for _, tt := range []struct {
			name string
			b    []byte
			want packet.DropReason // NotDropped: it goes out
		}{
			{"about an answer", unreachable(e.client, e.server, answer), packet.NotDropped},
			{"from an inside router", unreachable(deeper(e.lan), e.server, answer), packet.NotDropped},
			{"to another than it is about", unreachable(e.client, elsewhere(e.server), answer), packet.UnknownICMPError},
			{"about another's endpoint", unreachable(e.client, e.server, udp(port(e.server, 53), port(e.beside, 5000))), packet.UnknownICMPError},
			{"about another port", unreachable(e.client, e.server, udp(port(e.server, 53), port(e.client, 5999))), packet.UnknownICMPError},
			{"about the router's inside address", unreachable(e.client, e.server, udp(port(e.server, 53), port(e.lan, 5000))), packet.UnknownICMPError},
			{"about what the router never saw", unreachable(e.client, e.server, udp(port(e.server, 53), port(e.wan, 5000))), packet.UnknownICMPError},
			{"about its own packet", unreachable(e.client, e.server, udp(port(e.client, 5000), port(e.server, 53))), packet.UnknownICMPError},
			{"about an error", unreachable(e.client, e.server, unreachable(e.server, e.client, answer)), packet.UnknownICMPError},
			{"about an error about an error", unreachable(e.client, e.server, unreachable(e.server, e.client, unreachable(e.client, e.server, answer))), packet.UnknownICMPError},
			{"with nothing but an address", unreachable(e.client, e.server, answer[:len(answer)-17]), packet.UnknownICMPError},
		} {
			what := fmt.Sprintf("%s, %s", tt.name, e.client)
			out := n.send("lan0", tt.b)
			sealed(t, what, out)
			got := len(out["wan0"]) == 1
			if drops := n.drops(); got != (tt.want == packet.NotDropped) || !got && len(drops) != 1 {
				t.Errorf("%s: %d packets outside, drops %v", what, len(out["wan0"]), drops)
			}
			n.resetDrops()
		}
	}
}

// deeper is a router inside that has no connection of its own.
func deeper(a netip.Addr) netip.Addr { return a.Next().Next().Next().Next() }

func elsewhere(a netip.Addr) netip.Addr { return a.Next() }

// TestErrorsDoNotLeak mutates the quotes and headers of errors from both sides.
func TestErrorsDoNotLeak(t *testing.T) {
	n := hostileNetwork(t)
	r := rand.New(rand.NewPCG(3, 4))
	hosts := []netip.Addr{client4, other4, lan4, server4, wan4, client6, lan6, server6, wan6}
	pick := func(v6 bool) netip.Addr {
		for {
			if a := hosts[r.IntN(len(hosts))]; a.Is6() == v6 {
				return a
			}
		}
	}
	ports := []uint16{5000, 53, 80, 9000, 700}
	for i := range 20000 {
		v6 := r.IntN(2) == 0
		quote := testpkt.UDP{Src: port(pick(v6), ports[r.IntN(5)]), Dst: port(pick(v6), ports[r.IntN(5)]), Payload: pattern(8)}.Bytes()
		if r.IntN(3) == 0 {
			quote = testpkt.ICMP{Src: pick(v6), Dst: pick(v6), Type: []uint8{3, 1, 8, 128}[r.IntN(4)], Payload: quote}.Bytes()
		}
		if r.IntN(3) == 0 {
			quote = quote[:r.IntN(len(quote))]
		}
		typ := []uint8{3, 11, 4, 5, 12}[r.IntN(5)]
		if v6 {
			typ = uint8(1 + r.IntN(4))
		}
		b := testpkt.ICMP{Src: pick(v6), Dst: pick(v6), Type: typ, Code: uint8(r.IntN(5)), Payload: quote}.Bytes()
		sealed(t, fmt.Sprintf("error %d: % x", i, b), n.send([]string{"lan0", "wan0"}[r.IntN(2)], b))
	}
}

// TestForgedInsideSources: no source of the inside comes in from outside, whether a connection has it or not.
func TestForgedInsideSources(t *testing.T) {
	n := hostileNetwork(t)
	for _, from := range []netip.Addr{client4, other4, lan4, client6, lan6} {
		to := port(server4, 53)
		if from.Is6() {
			to = port(server6, 53)
		}
		n.dropped(n.send("wan0", testpkt.UDP{Src: port(from, 5000), Dst: to}.Bytes()), packet.ReversePath)
		n.dropped(n.send("wan0", testpkt.UDP{Src: port(from, 5000), Dst: port(wanOf(from), 5000)}.Bytes()), packet.ReversePath)
		n.dropped(n.send("wan0", testpkt.TCP{Src: port(from, 5000), Dst: to, Flags: packet.FlagSYN}.Bytes()), packet.ReversePath)
	}
}

// TestAcceptedInboundDoesNotLeak: a rule that lets outside hosts in to a private address does not let its answers out
// untranslated, not the first and not a later one. (The second once left: the first one's route was remembered, and what had
// a route was not looked at.)
func TestAcceptedInboundDoesNotLeak(t *testing.T) {
	for _, fast := range []bool{true, false} {
		for _, e := range [][2]netip.Addr{{client4, server4}, {client6, server6}} {
			cfg := testConfig()
			cfg.NoFastPath = !fast
			cfg.Filter.Rules = []FilterRule{{In: "wan0", Action: FilterAccept}}
			n := newNetwork(t, cfg)
			n.one(n.send("wan0", testpkt.UDP{Src: port(e[1], 700), Dst: port(e[0], 800)}.Bytes()), "lan0")
			for range 4 {
				n.dropped(n.send("lan0", testpkt.UDP{Src: port(e[0], 800), Dst: port(e[1], 700)}.Bytes()), packet.UntranslatedSource)
				n.send("wan0", testpkt.UDP{Src: port(e[1], 700), Dst: port(e[0], 800)}.Bytes())
			}
		}
	}
}

// TestPrivateSourcesStay: every kind of private source that no rule translates stays inside, in every protocol.
func TestPrivateSourcesStay(t *testing.T) {
	cfg := testConfig()
	cfg.Filter.NoReversePath = true
	cfg.NAT = []nat.Rule{{Action: nat.Masquerade, Out: "wan0", Source: []conntrack.AddrRange{span("10.77.0.2/32"), span("fd77::2/128")}}}
	n := newNetwork(t, cfg)
	for _, from := range []netip.Addr{addr("10.1.2.3"), addr("172.16.0.1"), addr("172.31.255.254"), addr("192.168.0.1"),
		addr("100.64.0.1"), addr("100.127.255.254"), addr("fc00::1"), addr("fdff::1")} {
		to := server4
		if from.Is6() {
			to = server6
		}
		for _, b := range [][]byte{
			testpkt.UDP{Src: port(from, 1), Dst: port(to, 2)}.Bytes(),
			testpkt.TCP{Src: port(from, 1), Dst: port(to, 2), Flags: packet.FlagSYN}.Bytes(),
			testpkt.Echo{Src: from, Dst: to, ID: 5}.Bytes(),
			testpkt.GREv0{Src: from, Dst: to, Payload: pattern(5)}.Bytes(),
			testpkt.Raw{Src: from, Dst: to, Proto: 50, Payload: pattern(20)}.Bytes(),
		} {
			for range 2 {
				n.dropped(n.send("lan0", b), packet.UntranslatedSource)
			}
		}
	}
}
