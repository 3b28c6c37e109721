package irc

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// said is what an end of a captured connection said in a segment.
type said struct {
	dir  conntrack.Direction
	text string
}

// readSession returns what is said to and from port 6667 in a capture. Segments that repeat are left out.
func readSession(t *testing.T, name string) (client netip.Addr, list []said) {
	t.Helper()
	packets, err := testpkt.ReadCapture(filepath.Join(testpkt.Captures(t), "irc", name))
	if err != nil {
		t.Fatal(err)
	}
	var next [2]uint32
	for _, p := range packets {
		packet.IPv4(p.Data).UpdateChecksum()
		h, reason := packet.Parse(p.Data)
		if reason != packet.NotDropped {
			t.Fatalf("% x: %v", p.Data, reason)
		}
		tcp, err := packet.ParseTCP(p.Data[h.L4:h.Len])
		if err != nil {
			t.Fatal(err)
		}
		dir, from := conntrack.Original, packet.Addr(h.Src(p.Data))
		switch uint16(port) {
		case tcp.SrcPort():
			dir, from = conntrack.Reply, packet.Addr(h.Dst(p.Data))
		case tcp.DstPort():
		default:
			continue // the data connection of an offer
		}
		client = from
		if text := tcp.Payload(); len(text) > 0 && (next[dir] == 0 || tcp.Seq() == next[dir]) {
			next[dir] = tcp.Seq() + uint32(len(text))
			list = append(list, said{dir, string(text)})
		}
	}
	return client, list
}

// replay plays a session through a router with the client inside, or with the server inside behind a port forward,
// and returns what the server heard. Nothing of what the client hears changes.
func replay(t *testing.T, from netip.Addr, list []said, serverInside bool) (world, string) {
	t.Helper()
	inside, rule, to := from.String()+"/32", nat.Rule{Action: nat.Masquerade, Out: "wan0", Source: algtest.Ranges(from.String() + "/32")}, server+":6667"
	if serverInside {
		inside, to = "10.99.0.0/16", outside+":6667"
		rule = algtest.Forward(packet.ProtoTCP, netip.MustParseAddrPort(to), netip.MustParseAddrPort("10.99.0.50:6667"))
	}
	w := world{algtest.New(t, algtest.Config{
		Helpers: []alg.Helper{New()}, NAT: []nat.Rule{rule}, Inside: []string{inside},
		Rules: []alg.Rule{{Name: "irc", Proto: packet.ProtoTCP, Ports: algtest.Port(port)}},
	}), t}
	c := w.Dial(netip.AddrPortFrom(from, 12345).String(), to)
	for _, s := range list {
		got := c.Say(s.dir, s.text)
		if s.dir == conntrack.Reply && got != s.text {
			t.Errorf("the server said %q, heard is %q", s.text, got)
		}
	}
	if !c.Helped() {
		t.Error("taken off")
	}
	return w, string(c.Heard(conntrack.Original))
}

func TestCaptures(t *testing.T) {
	for name, tt := range map[string]struct {
		segments int
		offer    string // where the peer goes; empty: nothing is offered
		arrives  string
	}{
		"irc-basic.pcap":             {15, "", ""},
		"irc-whitespace.pcap":        {15, "", ""},
		"irc-dcc-first-command.pcap": {1, outside + ":5555", "10.0.0.1:5555"},
	} {
		from, list := readSession(t, name)
		if len(list) < tt.segments {
			t.Fatalf("%s: %d segments", name, len(list))
		}
		var text strings.Builder
		for _, s := range list {
			if s.dir == conntrack.Original {
				text.WriteString(s.text)
			}
		}
		for _, serverInside := range []bool{false, true} {
			w, heard := replay(t, from, list, serverInside)
			want := text.String()
			if tt.offer != "" && !serverInside {
				want = strings.Replace(want, num(from.String()), num(outside), 1)
				w.connects(peer, tt.offer, peer+">"+tt.arrives)
			}
			if heard != want {
				t.Errorf("%s, server inside %v: heard %q, want %q", name, serverInside, heard, want)
			}
			if left := w.Expectations(); len(left) != 0 {
				t.Errorf("%s, server inside %v: %v awaited", name, serverInside, left)
			}
		}
	}
}

// A line with a malformed host, said by the server as it was captured, and by the client.
func TestCapturedMalformedHost(t *testing.T) {
	_, list := readSession(t, "irc-dcc-send-malformed-host.pcap")
	if len(list) != 1 || list[0].dir != conntrack.Reply || !strings.Contains(list[0].text, "DCC SEND") {
		t.Fatalf("%+v", list)
	}
	list = append([]said{{conntrack.Original, hello}}, list[0], said{conntrack.Original, list[0].text})
	for _, serverInside := range []bool{false, true} {
		w, heard := replay(t, netip.MustParseAddr("192.168.1.200"), list, serverInside)
		if want := hello + list[2].text; heard != want || len(w.Expectations()) != 0 {
			t.Errorf("heard %q, want %q; awaited %v", heard, want, w.Expectations())
		}
	}
}
