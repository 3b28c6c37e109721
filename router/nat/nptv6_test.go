package nat

import (
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"pgregory.net/rapid"
)

func nptv6(inside, outside string) Rule {
	return Rule{Action: NPTv6, Out: "wan0", Source: addrs(inside), To: addrs(outside)}
}

// TestNPTv6Map: docs/spec/nat.md, section 9; RFC 6296, sections 3.4 and 3.5.
func TestNPTv6Map(t *testing.T) {
	for name, tt := range map[string]struct{ inside, outside, from, to string }{
		"spec":                     {"fd01:203:405::/48", "2001:db8:1::/48", "fd01:203:405:1::1234", "2001:db8:1:d550::1234"},
		"subnet 0":                 {"fd01:203:405::/48", "2001:db8:1::/48", "fd01:203:405::1", "2001:db8:1:d54f::1"},
		"sum ffff becomes 0":       {"fd01:203:405::/48", "2001:db8:1::/48", "fd01:203:405:2ab0::1", "2001:db8:1::1"},
		"subnet ffff has none":     {"fd01:203:405::/48", "2001:db8:1::/48", "fd01:203:405:ffff::1", ""},
		"shorter than /48":         {"fd01:200::/24", "2001:d00::/24", "fd01:203:405:1::1", "2001:d03:405:d201::1"},
		"/56: interface word":      {"fd01:203:405:100::/56", "2001:db8:1:200::/56", "fd01:203:405:107::1", "2001:db8:1:207:d44f::1"},
		"/64: first word not ffff": {"fd01:203:405:1::/64", "2001:db8:1:2::/64", "fd01:203:405:1:ffff:ffff:0:5", "2001:db8:1:2:ffff:ffff:d54e:5"},
		"/64: all words ffff":      {"fd01:203:405:1::/64", "2001:db8:1:2::/64", "fd01:203:405:1:ffff:ffff:ffff:ffff", ""},
	} {
		rule := nptv6(tt.inside, tt.outside)
		p := prefixMaps(&rule)[0]
		got, ok := p.outward(fromNetip(addr(tt.from)))
		if ok != (tt.to != "") {
			t.Errorf("%s: ok is %v", name, ok)
			continue
		}
		if !ok {
			continue
		}
		if got != fromNetip(addr(tt.to)) {
			b := got.bytes()
			t.Errorf("%s: %x, want %s", name, b, tt.to)
		}
		if in, ok := p.inward(got); !ok || in != fromNetip(addr(tt.from)) {
			b := in.bytes()
			t.Errorf("%s: back: %x, want %s", name, b, tt.from)
		}
	}
}

// The laws of RFC 6296: the sum over the address stays, and every mapped address maps back.
func TestNPTv6Laws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(8, 64).Draw(t, "bits")
		word := rapid.OneOf(rapid.SampledFrom([]uint64{0, ^uint64(0), 0xffff, 0xffff << 48}), rapid.Uint64())
		mask := ^uint64(0) << (64 - bits)
		span := func(label string) addrSpan {
			hi := rapid.Uint64().Draw(t, label) & mask
			return addrSpan{address{hi, 0}, address{hi | ^mask, ^uint64(0)}}
		}
		p := newNPTv6(span("inside"), span("outside"), bits)
		a := address{p.inside.first.hi | word.Draw(t, "subnet")&^mask, word.Draw(t, "host")}
		out, ok := p.outward(a)
		if !ok {
			return
		}
		if !p.outside.contains(out) {
			t.Fatalf("%x is outside the prefix", out)
		}
		from, to := a.bytes(), out.bytes()
		if packet.Checksum(from[:], 0)%0xffff != packet.Checksum(to[:], 0)%0xffff {
			t.Fatalf("%x and %x have different sums", from, to)
		}
		if back, ok := p.inward(out); !ok || back != a {
			t.Fatalf("%x goes to %x and back to %x", a, out, back)
		}
	})
}

func TestNPTv6(t *testing.T) {
	w := newWorld(t, nptv6("fd01:203:405::/48", "2001:db8:1::/48"))
	w.route = func(a netip.Addr) int {
		if a.As16()[0] == 0xfd {
			return lan
		}
		return wan
	}
	const inside, outside, remote = "[fd01:203:405:1::1234]:5000", "[2001:db8:1:d550::1234]:5000", "[2001:db8:ffff::9]:53"
	b := udp(inside, remote)
	got := w.pass(lan, b)
	wantEnds(t, got, outside, remote)
	if was, is := packet.UDP(b[40:]).Checksum(), packet.UDP(got[40:]).Checksum(); was != is {
		t.Errorf("checksum %04x became %04x: not neutral", was, is)
	}
	wantEnds(t, w.pass(wan, udp(remote, outside)), remote, inside)
	wantEnds(t, w.pass(wan, syn("[2001:db8:ffff::8]:77", "[2001:db8:1:d550::1234]:22")), "[2001:db8:ffff::8]:77", "[fd01:203:405:1::1234]:22")
	w.refuse(lan, udp("[fd01:203:405:ffff::1]:5000", remote), packet.CannotMap)
	w.refuse(wan, udp(remote, "[2001:db8:1:ffff::1]:5000"), packet.CannotMap)
	if s := w.nat.Stats(); s.Mappings != 0 {
		t.Errorf("%d mappings: NPTv6 has no state", s.Mappings)
	}
	// Hairpin: both ends are seen by their outside addresses.
	wantEnds(t, w.pass(lan, udp("[fd01:203:405:2::7]:1", "[2001:db8:1:d550::1234]:2")), "[2001:db8:1:d551::7]:1", "[fd01:203:405:1::1234]:2")
	wantEnds(t, w.pass(lan, udp("[fd01:203:405:1::1234]:2", "[2001:db8:1:d551::7]:1")), "[2001:db8:1:d550::1234]:2", "[fd01:203:405:2::7]:1")
	// Errors quote what was sent.
	w.pass(lan, b)
	e := w.pass(wan, testpkt.ICMP{Src: addr("2001:db8:ffff::1"), Dst: addr("2001:db8:1:d550::1234"), Type: 3, Payload: got}.Bytes())
	wantEnds(t, e[48:], inside, remote)
}

// Link-local, multicast, loopback and unspecified addresses are never translated.
func TestNPTv6Untranslatable(t *testing.T) {
	n, err := New(testConfig(nptv6("::/1", "8000::/1")), nil)
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[string]bool{"fe80::1": false, "ff02::1": false, "::1": false, "::": false, "2001:db8::1": true} {
		for _, f := range []flow{
			{in: lan, out: wan, src: fromNetip(addr(a)), dst: fromNetip(addr("2001:db8::2")), family: 6, owner: noInterface},
			{in: lan, out: wan, src: fromNetip(addr("2001:db8::2")), dst: fromNetip(addr(a)), family: 6, owner: noInterface},
		} {
			if got := n.matchSource(&f) != nil; got != want {
				t.Errorf("%s: translated %v", a, got)
			}
		}
	}
}
