package router

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// TestDropLog: with [log] drops each refused packet is a line that says what, where and whose, up to a number a second;
// the first line after says how many had none. Without, there is no line.
func TestDropLog(t *testing.T) {
	const many = dropsLogged + 7
	for _, on := range []bool{true, false} {
		var log bytes.Buffer
		cfg := testConfig()
		cfg.LogDrops = on
		n := newNetwork(t, cfg)
		n.r.log = slog.New(slog.NewTextHandler(&log, nil))
		b := testpkt.UDP{Src: port(server4, 5000), Dst: port(wan4, 53)}.Bytes()
		for range many {
			n.send("wan0", b)
		}
		n.send("lan0", []byte{0x45})
		n.tick(1e9)
		n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), TTL: 1}.Bytes())
		lines := bytes.Split(bytes.TrimSpace(log.Bytes()), []byte("\n"))
		if !on {
			if log.Len() > 0 {
				t.Errorf("%d lines though nobody asked", len(lines))
			}
			continue
		}
		if len(lines) != dropsLogged+1 {
			t.Fatalf("%d lines, want %d", len(lines), dropsLogged+1)
		}
		for i, want := range map[int]string{
			0:           "level=WARN msg=drop reason=no-mapping hook=input bytes=28 in=wan0 protocol=udp src=198.51.100.7:5000 dst=203.0.113.1:53",
			dropsLogged: "level=WARN msg=drop reason=ttl-exceeded hook=route bytes=28 in=lan0 protocol=udp src=10.77.0.2:5000 dst=198.51.100.7:53 not_logged=8",
		} {
			if _, got, _ := strings.Cut(string(lines[i]), " "); got != want {
				t.Errorf("line %d is %q, want %q", i, got, want)
			}
		}
	}
}

// dropLines sends a packet and returns the lines that are logged about it, without their times.
func (n *network) dropLines(level slog.Level, from string, packets ...[]byte) (lines []string) {
	var log bytes.Buffer
	n.r.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level}))
	n.send(from, packets...)
	for line := range strings.Lines(log.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), " ")
		lines = append(lines, line)
	}
	return lines
}

// TestDropLogTells: a line has both ends with what they have in the place of ports, as the sender wrote them and as they were
// translated, and the rule that decided.
func TestDropLogTells(t *testing.T) {
	refused := func(line int) func(*Config) {
		return func(c *Config) {
			c.Filter.Rules = []FilterRule{{Proto: packet.ProtoESP, Action: FilterAccept}, {Action: FilterDrop, Line: line}}
			c.NAT = append(c.NAT, forward()...)
		}
	}
	narrow := func(c *Config) {
		c.NAT = []nat.Rule{{Action: nat.SNAT, Out: "wan0", To: spans("203.0.113.50/32"), ToPorts: ports(40000), Line: 31}}
	}
	call := testpkt.GREv1{Src: server4, Dst: wan4, CallID: 4660, HasSeq: true, Payload: pattern(9)}.Bytes()
	tcp6 := testpkt.TCP{Src: port(client6, 5000), Dst: port(server6, 80), Flags: packet.FlagSYN}.Bytes()
	for name, tt := range map[string]struct {
		change func(*Config)
		from   string
		b      [][]byte
		want   string
	}{
		"ports, and the filter's line": {refused(17), "lan0", [][]byte{tcp6},
			"reason=filtered hook=filter bytes=60 in=lan0 out=wan0 protocol=tcp src=[fd77::2]:5000 dst=[2001:db8:ffff::7]:80 rule_line=17"},
		"the filter's rule by its place": {refused(0), "lan0", [][]byte{tcp6},
			"reason=filtered hook=filter bytes=60 in=lan0 out=wan0 protocol=tcp src=[fd77::2]:5000 dst=[2001:db8:ffff::7]:80 rule=2"},
		"translated before it was refused": {refused(17), "wan0", [][]byte{testpkt.UDP{Src: port(server4, 700), Dst: port(wan4, 9000)}.Bytes()},
			"reason=filtered hook=filter bytes=28 in=wan0 out=lan0 protocol=udp src=198.51.100.7:700 dst=203.0.113.1:9000 translated_dst=10.77.0.2:9 rule_line=17"},
		"NAT's line": {narrow, "lan0", [][]byte{
			testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes(), testpkt.UDP{Src: port(other4, 5001), Dst: port(server4, 53)}.Bytes()},
			"reason=no-port hook=snat bytes=28 in=lan0 out=wan0 protocol=udp src=10.77.0.3:5001 dst=198.51.100.7:53 rule_line=31"},
		"an echo": {nil, "wan0", [][]byte{testpkt.Echo{Src: server4, Dst: pool4, ID: 77}.Bytes()},
			"reason=no-mapping hook=filter bytes=28 in=wan0 out=wan0 protocol=icmp type=8 code=0 id=77 src=198.51.100.7 dst=203.0.113.50"},
		"an error": {nil, "wan0", [][]byte{testpkt.ICMP{Src: server6, Dst: wan6, Type: 1, Code: 3, Payload: tcp6}.Bytes()},
			"reason=unknown-icmp-error hook=conntrack bytes=108 in=wan0 protocol=icmpv6 type=1 code=3 src=2001:db8:ffff::7 dst=2001:db8:113::1"},
		"a call": {nil, "wan0", [][]byte{call},
			"reason=no-mapping hook=input bytes=41 in=wan0 protocol=gre call_id=4660 src=198.51.100.7 dst=203.0.113.1"},
		"a protocol by number": {nil, "wan0", [][]byte{testpkt.Raw{Src: server4, Dst: wan4, Proto: 99, Payload: pattern(9)}.Bytes()},
			"reason=no-mapping hook=input bytes=29 in=wan0 protocol=99 src=198.51.100.7 dst=203.0.113.1"},
		"a later fragment": {nil, "wan0", testpkt.Fragments(testpkt.UDP{Src: port(client4, 53), Dst: port(wan4, 5000), Payload: pattern(2000)}.Bytes(), 1500, 9)[1:],
			"reason=reverse-path hook=source bytes=548 in=wan0 protocol=udp src=10.77.0.2 dst=203.0.113.1"},
		"no header": {nil, "wan0", [][]byte{{0x45, 0}}, "reason=malformed hook=parse bytes=2 in=wan0"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.LogDrops = true
			if tt.change != nil {
				tt.change(&cfg)
			}
			got := newNetwork(t, cfg).dropLines(slog.LevelInfo, tt.from, tt.b...)
			if want := "level=WARN msg=drop " + tt.want; len(got) != 1 || got[0] != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

// TestChatterIsNoNews: what hosts send to their link, whoever is there, is counted, and logged only for those who debug; it
// takes no place from warnings. What is not of that kind is a warning as before.
func TestChatterIsNoNews(t *testing.T) {
	nd := func(from, to string, typ uint8, hops uint8) []byte {
		return testpkt.ICMP{Src: addr(from), Dst: addr(to), Type: typ, TTL: hops, Payload: make([]byte, 16)}.Bytes()
	}
	udp := func(from, to string) []byte {
		return testpkt.UDP{Src: netip.MustParseAddrPort(from), Dst: netip.MustParseAddrPort(to), Payload: pattern(9)}.Bytes()
	}
	for name, tt := range map[string]struct {
		b       []byte
		chatter bool
	}{
		"router solicitation":                 {nd("fe80::2", "ff02::2", 133, 255), true},
		"router solicitation, no address yet": {nd("::", "ff02::2", 133, 255), true},
		"duplicate address detection":         {nd("::", "ff02::1:ff00:2", 135, 255), true},
		"neighbour solicitation":              {nd("fe80::2", "fe80::1", 135, 255), true},
		"neighbour solicitation of a router":  {nd("fd77::2", "fd77::9", 135, 255), true},
		"MLD report":                          {nd("fe80::2", "ff02::16", 143, 1), true},
		"IGMP report":                         {testpkt.Raw{Src: client4, Dst: addr("224.0.0.22"), Proto: 2, Payload: pattern(8)}.Bytes(), true},
		"mDNS":                                {udp("10.77.0.2:5353", "224.0.0.251:5353"), true},
		"mDNS, IPv6":                          {udp("[fe80::2]:5353", "[ff02::fb]:5353"), true},
		"SSDP":                                {udp("10.77.0.2:5000", "239.255.255.250:1900"), true},
		"DHCP discover":                       {udp("0.0.0.0:68", "255.255.255.255:67"), true},
		"DHCPv6 solicit":                      {udp("[fe80::2]:546", "[ff02::1:2]:547"), true},
		"NetBIOS":                             {udp("10.77.0.2:137", "10.77.0.255:137"), true},
		"a host without a lease":              {udp("169.254.7.7:5353", "224.0.0.251:5353"), true},
		"a host without a lease, to anywhere": {udp("169.254.7.7:5000", "198.51.100.7:53"), false},
		"link-local to anywhere":              {udp("[fe80::2]:5000", "[2001:db8:ffff::7]:53"), false},
		"from multicast":                      {udp("224.0.0.1:5000", "198.51.100.7:53"), false},
		"from loopback to multicast":          {udp("127.0.0.1:5353", "224.0.0.251:5353"), false},
		"to loopback":                         {udp("10.77.0.2:5000", "127.0.0.1:53"), false},
		"to class E":                          {udp("10.77.0.2:5000", "240.0.0.1:53"), false},
		"no address, to anywhere":             {udp("0.0.0.0:5000", "198.51.100.7:53"), false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.LogDrops = true
			n := newNetwork(t, cfg)
			want := "level=WARN msg=drop "
			if tt.chatter {
				want = "level=DEBUG msg=drop "
				if got := n.dropLines(slog.LevelInfo, "lan0", tt.b); len(got) != 0 {
					t.Errorf("logged: %q", got)
				}
				for range 2 * dropsLogged {
					n.dropLines(slog.LevelDebug, "lan0", tt.b)
				}
				news := n.dropLines(slog.LevelInfo, "lan0", udp("203.0.113.9:5000", "198.51.100.7:53"))
				if len(news) != 1 || strings.Contains(news[0], "not_logged") {
					t.Errorf("what comes then: %q", news)
				}
				n.tick(1e9)
			}
			before := total(n.drops())
			if got := n.dropLines(slog.LevelDebug, "lan0", tt.b); len(got) != 1 || !strings.HasPrefix(got[0], want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if got := total(n.drops()); got != before+1 {
				t.Errorf("%d drops were counted, want 1", got-before)
			}
		})
	}
}

func total(drops map[string]uint64) (n uint64) {
	for _, count := range drops {
		n += count
	}
	return n
}

// TestHookNames: every hook has a name, and one name stands for one hook: drops are told by it.
func TestHookNames(t *testing.T) {
	p := newNetwork(t, testConfig()).r.pipeline
	names := map[string]Hook{}
	for _, list := range [][]stage{p.transit, p.input, p.output} {
		for _, s := range list {
			name := s.hook.Name()
			if old := names[name]; name == "" || old != nil && old != s.hook {
				t.Errorf("the name %q is missing, or two hooks have it", name)
			}
			names[name] = s.hook
		}
	}
	if names[p.fast.Name()] != nil {
		t.Errorf("the fast path is called as a hook: %q", p.fast.Name())
	}
}

// TestUnspecified: a hook that forgets to decide drops, and that it gave no reason is told.
func TestUnspecified(t *testing.T) {
	n := newNetwork(t, testConfig())
	n.r.pipeline.transit = []stage{{forgetful{}, "decides nothing"}}
	n.lane("lan0").handle([]tun.Frame{frame(testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes(), packet.Meta{})})
	n.dropped(n.collect(), packet.Unspecified)
}

type forgetful struct{}

func (forgetful) Name() string                            { return "forgetful" }
func (forgetful) Handle(*Packet) (verdict packet.Verdict) { return verdict }
