package router

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// way is how captures are translated.
type way struct {
	serverInside bool // of two hosts the one that is sent to first is inside, else the one that sends
	only6        bool // IPv6 only
	neutral      bool // the translation leaves transport checksums as they are
	private      bool // the router's outside addresses are private ones
	merge        bool // consecutive TCP segments come in as one super-segment, as from a TUN with offload
	// rules returns the rules for some inside hosts, and the outside address that stands for each; nil: the router
	// chooses one.
	rules func(inside []netip.Addr) ([]nat.Rule, map[netip.Addr]netip.Addr)
}

// setup is what must make no difference.
type setup struct {
	fast bool     // with the fast path
	caps tun.Caps // of the devices that packets leave by
}

var (
	fast, slow = setup{fast: true}, setup{}
	offload    = tun.Caps{Checksum: true, TSO4: true, TSO6: true, ECN: true, USO: true}
)

func host(a netip.Addr) conntrack.AddrRange { return conntrack.AddrRange{First: a, Last: a} }

// behind is masquerade: the clients are inside.
func behind([]netip.Addr) ([]nat.Rule, map[netip.Addr]netip.Addr) {
	return []nat.Rule{{Action: nat.Masquerade, Out: "wan0", Source: []conntrack.AddrRange{span("0.0.0.0/0"), span("::/0")}}}, nil
}

// behindPool is snat to a few private addresses: the clients are inside.
func behindPool([]netip.Addr) ([]nat.Rule, map[netip.Addr]netip.Addr) {
	return []nat.Rule{{Action: nat.SNAT, Out: "wan0", Source: spans("0.0.0.0/0", "::/0"), To: spans("100.99.7.0/29", "fd31:7::/125")}}, nil
}

// published gives each inside host an outside address, public ones from 198.18.0.1 and 2001:db8:198::1 on.
func published(inside []netip.Addr) ([]nat.Rule, map[netip.Addr]netip.Addr) {
	return publishedAt(inside, addr("198.18.0.1"), addr("2001:db8:198::1"))
}

// publishedPrivate is published with private outside addresses.
func publishedPrivate(inside []netip.Addr) ([]nat.Rule, map[netip.Addr]netip.Addr) {
	return publishedAt(inside, addr("10.213.0.1"), addr("fd31:198::1"))
}

// publishedAt gives each inside host the next outside address: dnat for what comes, netmap for what the host itself
// begins.
func publishedAt(inside []netip.Addr, next4, next6 netip.Addr) (rules []nat.Rule, fixed map[netip.Addr]netip.Addr) {
	fixed = map[netip.Addr]netip.Addr{}
	for _, a := range inside {
		next := &next4
		if a.Is6() {
			next = &next6
		}
		fixed[a] = *next
		rules = append(rules,
			nat.Rule{Action: nat.DNAT, In: "wan0", Destination: []conntrack.AddrRange{host(*next)}, To: []conntrack.AddrRange{host(a)}},
			nat.Rule{Action: nat.Netmap, Out: "wan0", Source: []conntrack.AddrRange{host(a)}, To: []conntrack.AddrRange{host(*next)}})
		*next = next.Next()
	}
	return rules, fixed
}

// prefixes6 translates the /64 of each inside host to another.
func prefixes6(inside []netip.Addr) ([]nat.Rule, map[netip.Addr]netip.Addr) {
	return prefixesAt(inside, addr("2001:db8:296::"))
}

// prefixesPrivate is prefixes6 with unique local addresses outside.
func prefixesPrivate(inside []netip.Addr) ([]nat.Rule, map[netip.Addr]netip.Addr) {
	return prefixesAt(inside, addr("fd31:296::"))
}

// prefixesAt translates the /64 of each inside host to the next one from a /56 on.
func prefixesAt(inside []netip.Addr, first netip.Addr) (rules []nat.Rule, fixed map[netip.Addr]netip.Addr) {
	fixed = map[netip.Addr]netip.Addr{}
	outside := map[netip.Prefix]netip.Prefix{}
	for _, a := range inside {
		in := netip.PrefixFrom(a, 64).Masked()
		out, ok := outside[in]
		if !ok {
			b := first.As16()
			b[7] = byte(len(outside) + 1)
			out = netip.PrefixFrom(netip.AddrFrom16(b), 64)
			outside[in] = out
			rules = append(rules, nat.Rule{Action: nat.NPTv6, Out: "wan0",
				Source: []conntrack.AddrRange{span(in.String())}, To: []conntrack.AddrRange{span(out.String())}})
		}
		if mapped, ok := slowNPTv6(a, out); ok {
			fixed[a] = mapped
		}
	}
	return rules, fixed
}

// slowNPTv6 returns the address in another /64 that stands for one: the first word of the last four that is not ffff
// takes the value, of all there are but ffff, that leaves the sum of the address as it was (RFC 6296, section 3.5).
func slowNPTv6(a netip.Addr, to netip.Prefix) (netip.Addr, bool) {
	b, p := a.As16(), to.Addr().As16()
	sum := slowSum(b[:])
	copy(b[:8], p[:8])
	for i := 8; i < 16; i += 2 {
		if b[i] == 0xff && b[i+1] == 0xff {
			continue
		}
		for v := range 0xffff {
			b[i], b[i+1] = byte(v>>8), byte(v)
			if slowSum(b[:]) == sum {
				return netip.AddrFrom16(b), true
			}
		}
	}
	return netip.Addr{}, false
}

// slowSum is the sum of 16-bit words modulo ffff.
func slowSum(b []byte) (sum int) {
	for i := 0; i < len(b); i += 2 {
		sum += int(b[i])<<8 + int(b[i+1])
	}
	return sum % 0xffff
}

// sumField returns the transport checksum where a packet has one.
func sumField(b []byte, l *testpkt.Layout) []byte {
	off, ok := checksumAt[l.Proto]
	if !ok || l.FragOff > 0 || l.Proto == 132 || len(b) < l.L4+off+2 {
		return nil
	}
	return b[l.L4+off:][:2]
}

// replayCaptures replays all captures in each of the set-ups.
func replayCaptures(t *testing.T, w *way, setups ...setup) (total replayCount) {
	t.Helper()
	eachCapture(t, func(t *testing.T, packets []testpkt.Captured, repair bool) {
		for _, round := range rounds(w.choose(packets), repair, w.serverInside) {
			total.add(replayEach(t, round, w, setups...))
		}
	})
	t.Logf("%+v", total)
	return total
}

// choose returns the packets that the way is for.
func (w *way) choose(packets []testpkt.Captured) (chosen []testpkt.Captured) {
	for _, p := range packets {
		if !w.only6 || len(p.Data) > 0 && p.Data[0]>>4 == 6 {
			chosen = append(chosen, p)
		}
	}
	return chosen
}

// TestReplay replays every capture with its clients inside: twice with the fast path and once without.
func TestReplay(t *testing.T) {
	total := replayCaptures(t, &way{rules: behind}, fast, fast, slow)
	if total.Out < 2000 || total.Back < 1500 || total.Fragmented < 15 || total.Errors < 5 {
		t.Errorf("too little crossed to show anything: %+v", total)
	}
}

// TestReplayDNAT replays every capture with its servers inside, behind outside addresses of their own.
func TestReplayDNAT(t *testing.T) {
	total := replayCaptures(t, &way{rules: published, serverInside: true}, fast, slow)
	if total.Out < 2000 || total.Back < 2500 || total.Fragmented < 15 || total.Errors < 5 {
		t.Errorf("too little crossed to show anything: %+v", total)
	}
}

// TestReplayNPTv6 replays the IPv6 packets of every capture, the inside prefixes translated (RFC 6296): the address that
// each host gets is known, and no transport checksum changes.
func TestReplayNPTv6(t *testing.T) {
	total := replayCaptures(t, &way{rules: prefixes6, only6: true, neutral: true}, fast, slow)
	if total.Out < 150 || total.Back < 120 || total.Fragmented < 3 {
		t.Errorf("too little crossed to show anything: %+v", total)
	}
}

// TestReplayGSO replays every capture with consecutive segments merged, to devices that take super-segments and to
// some that don't: the segments are those that came in.
func TestReplayGSO(t *testing.T) {
	total := replayCaptures(t, &way{rules: behind, merge: true},
		setup{true, offload}, setup{false, offload}, setup{true, tun.Caps{}}, setup{false, tun.Caps{}})
	if total.Merged < 25 {
		t.Errorf("too little was merged to show anything: %+v", total)
	}
}

// TestReplayPrivate replays every capture in each of the ways with private addresses outside: the laws are the same.
func TestReplayPrivate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		way    way
		setups []setup
		least  replayCount // that must cross for it to show anything
	}{
		{"masquerade", way{rules: behind}, []setup{fast, slow}, replayCount{Out: 2000, Back: 1500, Fragmented: 15, Errors: 5}},
		{"snat", way{rules: behindPool}, []setup{fast, slow}, replayCount{Out: 2000, Back: 1500, Fragmented: 15, Errors: 5}},
		{"dnat", way{rules: publishedPrivate, serverInside: true}, []setup{fast, slow},
			replayCount{Out: 2000, Back: 2500, Fragmented: 15, Errors: 5}},
		{"nptv6", way{rules: prefixesPrivate, only6: true, neutral: true}, []setup{fast, slow},
			replayCount{Out: 150, Back: 120, Fragmented: 3}},
		{"gso", way{rules: behindPool, merge: true}, []setup{{true, offload}, {false, tun.Caps{}}}, replayCount{Merged: 25}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.way.private = true
			total := replayCaptures(t, &tt.way, tt.setups...)
			if total.Out < tt.least.Out || total.Back < tt.least.Back || total.Fragmented < tt.least.Fragmented ||
				total.Errors < tt.least.Errors || total.Merged < tt.least.Merged {
				t.Errorf("too little crossed to show anything: %+v", total)
			}
		})
	}
}

// madeConversation is what is replayed where no captures are: of each family a client's requests and their answers,
// also in fragments, TCP with a run of segments each way, an echo, SCTP, and an ICMP error.
func madeConversation() (all []testpkt.Captured) {
	add := func(b ...[]byte) {
		for _, p := range b {
			all = append(all, testpkt.Captured{Time: time.Unix(int64(len(all)), 0), Data: p})
		}
	}
	for _, e := range [][2]netip.Addr{{addr("192.168.1.5"), addr("198.51.100.9")}, {addr("fd12::5"), addr("2001:db8:9::9")}} {
		in, out := port(e[0], 5000), port(e[1], 53)
		request := testpkt.UDP{Src: in, Dst: out, Payload: []byte("request"), ID: 9}.Bytes()
		add(request, testpkt.UDP{Src: out, Dst: in, Payload: []byte("answer")}.Bytes())
		add(testpkt.Fragments(testpkt.UDP{Src: in, Dst: out, Payload: pattern(4000), ID: 10}.Bytes(), 1300, 7)...)
		add(testpkt.Fragments(testpkt.UDP{Src: out, Dst: in, Payload: pattern(4000), ID: 11}.Bytes(), 1300, 8)...)
		add(testpkt.TCP{Src: in, Dst: out, Seq: 1, Flags: packet.FlagSYN, Options: []byte{2, 4, 5, 180}}.Bytes(),
			testpkt.TCP{Src: out, Dst: in, Seq: 9, Ack: 2, Flags: packet.FlagSYN | packet.FlagACK}.Bytes())
		for i := range uint32(4) {
			add(testpkt.TCP{Src: in, Dst: out, Seq: 2 + 900*i, Ack: 10, Flags: packet.FlagACK | uint8(i/3*packet.FlagPSH), Payload: pattern(900 - int(i)/3)}.Bytes())
		}
		for i := range uint32(3) {
			add(testpkt.TCP{Src: out, Dst: in, Seq: 10 + 700*i, Ack: 3601, Flags: packet.FlagACK, Payload: pattern(700)}.Bytes())
		}
		add(testpkt.Echo{Src: e[0], Dst: e[1], ID: 77, Payload: pattern(9)}.Bytes(), testpkt.Echo{Src: e[1], Dst: e[0], ID: 77, Reply: true, Payload: pattern(9)}.Bytes())
		add(testpkt.SCTP{Src: in, Dst: out, Chunks: []byte{1, 0, 0, 20, 0, 0, 0, 5, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1}}.Bytes())
		typ := uint8(3)
		if e[0].Is6() {
			typ = 1
		}
		add(testpkt.ICMP{Src: e[1], Dst: e[0], Type: typ, Code: 3, Payload: request}.Bytes())
	}
	return all
}

// TestReplayMade replays a conversation that the test makes in all of the ways: each packet crosses.
func TestReplayMade(t *testing.T) {
	for name, tt := range map[string]struct {
		way    way
		setups []setup
		want   replayCount
	}{
		"masquerade": {way{rules: behind}, []setup{fast, fast, slow}, replayCount{Sent: 46, Out: 18, Back: 16, Fragmented: 4, Errors: 2}},
		"dnat": {way{rules: published, serverInside: true}, []setup{fast, slow},
			replayCount{Sent: 46, Out: 16, Back: 18, Fragmented: 4, Errors: 2}},
		"nptv6": {way{rules: prefixes6, only6: true, neutral: true}, []setup{fast, slow},
			replayCount{Sent: 23, Out: 9, Back: 8, Fragmented: 2, Errors: 1}},
		"gso": {way{rules: behind, merge: true}, []setup{{true, offload}, {false, offload}, fast, slow},
			replayCount{Sent: 46, Out: 18, Back: 16, Fragmented: 4, Errors: 2, Merged: 4}},
		"masquerade, private": {way{rules: behind, private: true}, []setup{fast, slow},
			replayCount{Sent: 46, Out: 18, Back: 16, Fragmented: 4, Errors: 2}},
		"snat, private": {way{rules: behindPool, private: true}, []setup{fast, slow},
			replayCount{Sent: 46, Out: 18, Back: 16, Fragmented: 4, Errors: 2}},
		"dnat, private": {way{rules: publishedPrivate, serverInside: true, private: true}, []setup{fast, slow},
			replayCount{Sent: 46, Out: 16, Back: 18, Fragmented: 4, Errors: 2}},
		"nptv6, private": {way{rules: prefixesPrivate, only6: true, neutral: true, private: true}, []setup{fast, slow},
			replayCount{Sent: 23, Out: 9, Back: 8, Fragmented: 2, Errors: 1}},
		"gso, private": {way{rules: behindPool, merge: true, private: true}, []setup{{true, offload}, {false, offload}, fast, slow},
			replayCount{Sent: 46, Out: 18, Back: 16, Fragmented: 4, Errors: 2, Merged: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			var total replayCount
			for _, round := range rounds(tt.way.choose(madeConversation()), false, tt.way.serverInside) {
				total.add(replayEach(t, round, &tt.way, tt.setups...))
			}
			if total != tt.want {
				t.Errorf("%+v, want %+v", total, tt.want)
			}
		})
	}
}

// TestReplayGroups: merging joins what it should, and loses nothing.
func TestReplayGroups(t *testing.T) {
	round := rounds(madeConversation(), false, false)[0]
	var sizes []int
	var joined [][]byte
	for _, g := range merged(round) {
		if len(g) > 1 {
			sizes = append(sizes, len(g))
		}
		for _, p := range g {
			joined = append(joined, p.b)
		}
	}
	if len(sizes) != 4 || sizes[0] != 4 || sizes[1] != 3 {
		t.Errorf("groups of %v, want 4 3 4 3", sizes)
	}
	for i := range round {
		if !bytes.Equal(round[i].b, joined[i]) {
			t.Errorf("packet %d is not in its place", i)
		}
	}
}
