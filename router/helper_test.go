package router

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// greeter is a helper: in "I AM address\n" it writes the address that the line's sender has outside, and expects a
// connection from the other end to "port" of it in "COME port\n".
type greeter struct{ destroyed int }

func (*greeter) Spec() alg.Spec {
	return alg.Spec{Name: "greeter", Proto: packet.ProtoTCP, Port: 7007, Classes: []alg.Class{{Name: "data", Lifetime: time.Minute}}}
}

func (*greeter) Configure(map[string]any) (any, error) { return nil, nil }

func (g *greeter) New(alg.Master, any) alg.Stream { return g }

func (g *greeter) Stream(m alg.Master, dir conntrack.Direction, b []byte) (r alg.Result) {
	leaving := m.Leaving(dir)
	for {
		n := bytes.IndexByte(b[r.Consumed:], '\n') + 1
		if n == 0 {
			r.Hold = r.Consumed < len(b)
			return r
		}
		line := b[r.Consumed:][:n]
		var port uint16
		if _, err := fmt.Sscanf(string(line), "COME %d\n", &port); err == nil {
			t := m.Arriving(1 - dir)
			t.SrcID, t.DstID = 0, port
			back := conntrack.ExpectNAT{Follow: true, Dir: 1 - dir}
			_, _ = m.Expect(conntrack.Expectation{Tuple: t, Mask: conntrack.MaskAnyPort, NAT: back})
		}
		if bytes.HasPrefix(line, []byte("I AM ")) {
			r.Edits = append(r.Edits, alg.Edit{Off: r.Consumed + 5, Len: n - 6, New: []byte(leaving.SrcAddr().String())})
		}
		if string(line) == "BYE\n" {
			r.Detach = true
		}
		r.Consumed += n
	}
}

func (*greeter) End(alg.Master, conntrack.Direction, bool) {}
func (g *greeter) Destroy(alg.Master)                      { g.destroyed++ }
func (*greeter) Tick(alg.Master)                           {}

func greeterRule() HelperRule {
	return HelperRule{Name: "greeter", Proto: packet.ProtoTCP, Ports: []conntrack.PortRange{{First: 7007, Last: 7007}}}
}

// newHelped is newNetwork with a helper.
func newHelped(t testing.TB, cfg Config, helper alg.Helper) *network {
	t.Helper()
	plain := cfg
	plain.Helpers, plain.Filter.Rules = nil, nil
	n := newNetwork(t, plain)
	r, err := New(cfg, Options{Devices: n.near, Clock: n.clock, Seed: [32]byte{1}, Helpers: []alg.Helper{helper}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, w := range r.workers {
			w.stack.close()
		}
	})
	n.r = r
	return n
}

// call is a TCP connection of the client to the server's port 7007, opened.
type call struct {
	*network
	seq, ack uint32 // the client's next, in its own numbers; what it has got
}

func dial(n *network) *call {
	n.t.Helper()
	c := &call{n, 1001, 5001}
	n.one(n.send("lan0", c.client(packet.FlagSYN, 1000, 0, "")), "wan0")
	n.one(n.send("wan0", c.server(packet.FlagSYN|packet.FlagACK, 5000, 1001, "")), "lan0")
	n.one(n.send("lan0", c.client(packet.FlagACK, 1001, 5001, "")), "wan0")
	return c
}

func (c *call) client(flags uint8, seq, ack uint32, payload string) []byte {
	return testpkt.TCP{
		Src: port(client4, 4000), Dst: port(server4, 7007), Flags: flags, Seq: seq, Ack: ack, Payload: []byte(payload), DF: true,
	}.Bytes()
}

func (c *call) server(flags uint8, seq, ack uint32, payload string) []byte {
	return testpkt.TCP{
		Src: port(server4, 7007), Dst: port(wan4, 4000), Flags: flags, Seq: seq, Ack: ack, Payload: []byte(payload), DF: true,
	}.Bytes()
}

// say sends bytes of the client and returns what came out.
func (c *call) say(s string) packet.TCP {
	c.t.Helper()
	b := c.one(c.send("lan0", c.client(packet.FlagACK, c.seq, c.ack, s)), "wan0")
	c.seq += uint32(len(s))
	h, _ := packet.Parse(b)
	return packet.TCP(b[h.L4:])
}

// TestHelper: a helper's edit leaves by masquerade with the outside address, and the numbers of both directions, also
// in ICMP errors, stay each end's own.
func TestHelper(t *testing.T) {
	cfg := testConfig()
	cfg.Helpers = []HelperRule{greeterRule()}
	n := newHelped(t, cfg, &greeter{})
	c := dial(n)
	const line = "I AM 10.77.0.2\n"
	got := c.say(line)
	if want := "I AM 203.0.113.1\n"; string(got.Payload()) != want || got.Seq() != 1001 {
		t.Fatalf("outside: %q at %d, want %q", got.Payload(), got.Seq(), want)
	}
	if got := c.say("more\n"); got.Seq() != 1001+17 {
		t.Errorf("next at %d, want %d", got.Seq(), 1001+17)
	}
	back := n.one(n.send("wan0", c.server(packet.FlagACK, 5001, 1001+17, "ok\n")), "lan0")
	h, _ := packet.Parse(back)
	if ack := packet.TCP(back[h.L4:]).Ack(); ack != 1001+uint32(len(line)) {
		t.Errorf("acknowledged %d, want %d", ack, 1001+len(line))
	}
	flows, err := n.r.Flows(FlowFilter{})
	if err != nil || len(flows) != 1 || flows[0].Helper != "greeter" {
		t.Errorf("flows %+v, %v", flows, err)
	}
	if got := n.r.Status().Helpers["greeter"]; got[alg.CountAttached] != 1 || got[alg.CountEdits] != 1 {
		t.Errorf("counters %v", got)
	}

	quoted := testpkt.TCP{
		Src: port(wan4, 4000), Dst: port(server4, 7007), Flags: packet.FlagACK, Seq: 1001 + 17, Ack: 5001, Payload: []byte("more\n"), DF: true,
	}.Bytes()
	icmp := testpkt.ICMP{Src: server4, Dst: wan4, Type: 3, Code: 4, Rest: 1400, Payload: quoted}.Bytes()
	b := n.one(n.send("wan0", icmp), "lan0")
	h, _ = packet.Parse(b)
	inner := b[int(h.L4)+packet.ICMPSize:]
	if seq := binary.BigEndian.Uint32(inner[packet.IPv4Size+4:]); seq != 1001+uint32(len(line)) {
		t.Errorf("quoted number %d, want %d", seq, 1001+len(line))
	}
}

// TestHelperHolds: what is held leaves with the segment that completes it, and a line that outgrows the MTU in pieces.
func TestHelperHolds(t *testing.T) {
	cfg := testConfig()
	cfg.Helpers = []HelperRule{greeterRule()}
	n := newHelped(t, cfg, &greeter{})
	c := dial(n)
	if out := n.send("lan0", c.client(packet.FlagACK, 1001, 5001, "I AM 10.")); len(out) != 0 {
		t.Fatalf("half a line left: %v", out)
	}
	out := n.send("lan0", c.client(packet.FlagACK, 1009, 5001, "77.0.2\n"))["wan0"]
	rest := strings.Repeat("I AM 10.77.0.2\n", 50)
	rest += strings.Repeat("x", 1459-len(rest)) + "\n"
	out = append(out, n.send("lan0", c.client(packet.FlagACK, 1016, 5001, rest))["wan0"]...)
	var got []byte
	next := uint32(1001)
	for _, f := range out {
		b := f.Bytes()
		if err := testpkt.Verify(b); err != nil || len(b) > 1500 {
			t.Fatalf("%d bytes left: %v", len(b), err)
		}
		h, _ := packet.Parse(b)
		if hdr := packet.TCP(b[h.L4:]); hdr.Seq() != next || h.TTL != 63 {
			t.Fatalf("segment at %d, want %d; TTL %d", hdr.Seq(), next, h.TTL)
		}
		got = append(got, b[h.Payload:]...)
		next += uint32(len(b[h.Payload:]))
	}
	want := strings.ReplaceAll("I AM 10.77.0.2\n"+rest, "10.77.0.2", "203.0.113.1")
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestHelperTooBig: a segment that is too big as it came is refused before the helper sees it, with its own bytes in
// the answer.
func TestHelperTooBig(t *testing.T) {
	cfg := testConfig()
	cfg.Interfaces[1].MTU = 1280
	cfg.Helpers = []HelperRule{greeterRule()}
	n := newHelped(t, cfg, &greeter{})
	c := dial(n)
	line := "I AM 10.77.0.2\n" + strings.Repeat("x", 1400)
	b := n.one(n.send("lan0", c.client(packet.FlagACK, 1001, 5001, line)), "lan0")
	if !bytes.Contains(b, []byte("I AM 10.77.0.2")) {
		t.Errorf("the answer quotes % x", b)
	}
	if got := c.say("I AM 10.77.0.2\n"); string(got.Payload()) != "I AM 203.0.113.1\n" {
		t.Errorf("then %q", got.Payload())
	}
}

// TestHelperFastPath: a helper's packets take the whole way; those of one that has given up, without edits, the short.
func TestHelperFastPath(t *testing.T) {
	cfg := testConfig()
	cfg.Helpers = []HelperRule{greeterRule()}
	g := &greeter{}
	n := newHelped(t, cfg, g)
	c := dial(n)
	for range 3 {
		c.say("x\n")
	}
	if fast := n.r.Status().Fast; fast != 0 {
		t.Errorf("%d helper packets took the fast path", fast)
	}
	c.say("BYE\n")
	c.say("x\n")
	if fast := n.r.Status().Fast; fast != 1 {
		t.Errorf("%d packets took the fast path after the end of the helper", fast)
	}
	for range 3 {
		n.tick(10 * 24 * time.Hour)
	}
	if g.destroyed != 1 || n.r.table.Len() != 0 {
		t.Errorf("destroyed %d times, %d flows", g.destroyed, n.r.table.Len())
	}
}

// TestFilterByHelper: a rule for related connections can name the helper that announced them.
func TestFilterByHelper(t *testing.T) {
	for _, helper := range []string{"greeter", "other"} {
		cfg := testConfig()
		cfg.Helpers = []HelperRule{greeterRule()}
		cfg.Filter.Rules = []FilterRule{
			{State: []string{"related"}, Helper: helper, Action: FilterAccept},
			{State: []string{"related"}, Action: FilterDrop},
		}
		if helper == "other" {
			_, err := New(cfg, Options{Devices: newNetwork(t, testConfig()).near, Helpers: []alg.Helper{&greeter{}}})
			if err == nil || !strings.Contains(err.Error(), `No such helper "other"`) {
				t.Errorf("unknown helper: %v", err)
			}
			cfg.Filter.Rules = cfg.Filter.Rules[1:]
		}
		n := newHelped(t, cfg, &greeter{})
		c := dial(n)
		c.say("COME 9000\n")
		out := n.send("wan0", testpkt.TCP{Src: port(server4, 20), Dst: port(wan4, 9000), Flags: packet.FlagSYN, Seq: 1}.Bytes())
		if helper == "other" {
			n.dropped(out, packet.Filtered)
			continue
		}
		if got := endpoints(t, n.one(out, "lan0")); got != (flowOf{port(server4, 20), port(client4, 9000)}) {
			t.Errorf("related connection: %v", got)
		}
	}
}

// TestAutoHelper: with the legacy switch the server's true port decides, through DNAT.
func TestAutoHelper(t *testing.T) {
	cfg := testConfig()
	cfg.AutoHelper = true
	cfg.NAT = append(cfg.NAT, nat.Rule{
		Action: nat.DNAT, In: "wan0", Proto: packet.ProtoTCP, Destination: []conntrack.AddrRange{{First: wan4, Last: wan4}},
		Ports: []conntrack.PortRange{{First: 8007, Last: 8007}}, To: []conntrack.AddrRange{{First: client4, Last: client4}},
		ToPorts: []conntrack.PortRange{{First: 7007, Last: 7007}},
	})
	n := newHelped(t, cfg, &greeter{})
	n.one(n.send("wan0", testpkt.TCP{Src: port(server4, 4000), Dst: port(wan4, 8007), Flags: packet.FlagSYN, Seq: 1}.Bytes()), "lan0")
	flows, err := n.r.Flows(FlowFilter{})
	if err != nil || len(flows) != 1 || flows[0].Helper != "greeter" {
		t.Errorf("flows %+v, %v", flows, err)
	}
}

// TestHelperRuleErrors: a rule that cannot be used stops the start.
func TestHelperRuleErrors(t *testing.T) {
	for want, rule := range map[string]HelperRule{
		`No such helper "x"`: {Name: "x", Proto: packet.ProtoTCP},
		"You must specify a L4 protocol and not use inversions on it": {Name: "greeter"},
	} {
		cfg := testConfig()
		cfg.Helpers = []HelperRule{rule}
		_, err := New(cfg, Options{Devices: newNetwork(t, testConfig()).near, Helpers: []alg.Helper{&greeter{}}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
