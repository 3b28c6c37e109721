package alg

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// named is a helper that is only assigned.
type named struct {
	toy
	spec Spec
}

func (n *named) Spec() Spec { return n.spec }

func helperOf(name string, proto uint8, port uint16) Helper {
	if proto == packet.ProtoUDP {
		return &echo{spec: Spec{Name: name, Proto: proto, Port: port}}
	}
	return &named{spec: Spec{Name: name, Proto: proto, Port: port}}
}

func span(s string) conntrack.AddrRange {
	a := netip.MustParseAddr(s)
	return conntrack.AddrRange{First: a, Last: a}
}

// TestRegistry: names and ports are taken once a protocol.
func TestRegistry(t *testing.T) {
	const tcp, udp = packet.ProtoTCP, packet.ProtoUDP
	for name, tt := range map[string]struct {
		helpers []Helper
		want    error
		text    string
	}{
		"two":                    {helpers: []Helper{helperOf("a", tcp, 1), helperOf("b", tcp, 2)}},
		"one name, two protos":   {helpers: []Helper{helperOf("a", tcp, 1), helperOf("a", udp, 1)}},
		"same name":              {helpers: []Helper{helperOf("a", tcp, 1), helperOf("a", tcp, 2)}, want: ErrExists},
		"same port":              {helpers: []Helper{helperOf("a", tcp, 1), helperOf("b", tcp, 1)}, want: ErrExists},
		"no name":                {helpers: []Helper{helperOf("", tcp, 1)}, text: "name"},
		"none":                   {helpers: []Helper{helperOf(None, tcp, 1)}, text: "name"},
		"name of 16":             {helpers: []Helper{helperOf(strings.Repeat("x", 16), tcp, 1)}, text: "name"},
		"no port":                {helpers: []Helper{helperOf("a", tcp, 0)}, text: "port"},
		"another protocol":       {helpers: []Helper{helperOf("a", packet.ProtoGRE, 1)}, text: "TCP or UDP"},
		"stream helper of UDP":   {helpers: []Helper{&named{spec: Spec{Name: "a", Proto: udp, Port: 1}}}, text: "DatagramHelper"},
		"datagram helper of TCP": {helpers: []Helper{&echo{spec: Spec{Name: "a", Proto: tcp, Port: 1}}}, text: "StreamHelper"},
		"five classes":           {helpers: []Helper{&named{spec: Spec{Name: "a", Proto: tcp, Port: 1, Classes: make([]Class, 5)}}}, text: "classes"},
	} {
		r, err := NewRegistry(tt.helpers...)
		switch {
		case tt.want != nil && !errors.Is(err, tt.want), tt.text != "" && (err == nil || !strings.Contains(err.Error(), tt.text)):
			t.Errorf("%s: %v", name, err)
		case tt.want == nil && tt.text == "" && (err != nil || r.ID("a") != 1 || r.Name(1) != "a" || r.Name(0) != "" || r.Name(9) != ""):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRuleErrors: the texts that users of the kernel's CT target know.
func TestRuleErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		rule Rule
		want string
	}{
		"good":           {Rule{Name: "toy", Proto: packet.ProtoTCP}, ""},
		"none":           {Rule{Name: None, Proto: packet.ProtoTCP}, ""},
		"no protocol":    {Rule{Name: "toy"}, "You must specify a L4 protocol and not use inversions on it"},
		"none, no proto": {Rule{Name: None}, "You must specify a L4 protocol and not use inversions on it"},
		"unknown":        {Rule{Name: "x", Proto: packet.ProtoTCP, Line: 7}, `No such helper "x" (helper rule 1, line 7)`},
		"other protocol": {Rule{Name: "toy", Proto: packet.ProtoUDP}, `No such helper "toy"`},
		"bad option":     {Rule{Name: "toy", Proto: packet.ProtoTCP, Options: map[string]any{"name": 1}}, `helper "toy": name`},
	} {
		r, _ := NewRegistry(newToy())
		_, err := New(Config{Registry: r, Table: conntrack.New(conntrack.DefaultConfig()), Rules: []Rule{tt.rule}})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestAssign walks the cases of docs/spec/helpers.md, sections 3, 4 and 7.
func TestAssign(t *testing.T) {
	const pptp, ftp = 1, 2
	rules := []Rule{
		{Name: None, Proto: packet.ProtoTCP, Source: []conntrack.AddrRange{span("10.0.0.9")}},
		{Name: "ftp", Proto: packet.ProtoTCP, Ports: []conntrack.PortRange{{First: 2121, Last: 2121}}},
		{Name: "pptp", Proto: packet.ProtoTCP, Destination: []conntrack.AddrRange{span("192.0.2.50")}},
	}
	for name, tt := range map[string]struct {
		src, dst string
		nat      string // where DNAT sends it; empty: nowhere
		status   conntrack.Status
		rules    bool
		auto     bool
		proto    uint8 // 0: TCP
		want     uint8
		set      bool
	}{
		"by rule":                              {src: "10.0.0.1:9", dst: "192.0.2.1:2121", rules: true, want: ftp, set: true},
		"by rule, through DNAT":                {src: "10.0.0.1:9", dst: "192.0.2.1:2121", nat: "10.9.9.9:21", rules: true, want: ftp, set: true},
		"by rule, DNAT to another's port":      {src: "10.0.0.1:9", dst: "192.0.2.1:2121", nat: "10.9.9.9:1723", rules: true, auto: true, want: ftp, set: true},
		"by destination":                       {src: "10.0.0.1:9", dst: "192.0.2.50:1", rules: true, want: pptp, set: true},
		"first rule counts":                    {src: "10.0.0.9:9", dst: "192.0.2.50:2121", rules: true, set: true},
		"none blocks auto":                     {src: "10.0.0.9:9", dst: "192.0.2.1:21", rules: true, auto: true, set: true},
		"no rule":                              {src: "10.0.0.1:9", dst: "192.0.2.1:21", rules: true},
		"other protocol":                       {src: "10.0.0.1:9", dst: "192.0.2.1:2121", proto: packet.ProtoUDP, rules: true},
		"auto":                                 {src: "10.0.0.1:9", dst: "192.0.2.1:21", auto: true, want: ftp},
		"auto, other port":                     {src: "10.0.0.1:9", dst: "192.0.2.1:22", auto: true},
		"auto, DNAT 8021 to 21":                {src: "10.0.0.1:9", dst: "192.0.2.1:8021", nat: "10.9.9.9:21", auto: true, want: ftp},
		"auto, DNAT 21 to 8021":                {src: "10.0.0.1:9", dst: "192.0.2.1:21", nat: "10.9.9.9:8021", auto: true},
		"auto, DNAT 21 to 21":                  {src: "10.0.0.1:9", dst: "192.0.2.1:21", nat: "10.9.9.9:21", auto: true, want: ftp},
		"auto, DNAT 1723 to 21: another sort":  {src: "10.0.0.1:9", dst: "192.0.2.1:1723", nat: "10.9.9.9:21", auto: true},
		"expected: not by rule, not by lookup": {src: "10.0.0.1:9", dst: "192.0.2.1:21", status: conntrack.Expected, rules: true, auto: true},
		"confirmed: never":                     {src: "10.0.0.1:9", dst: "192.0.2.1:21", status: conntrack.Confirmed, rules: true, auto: true},
	} {
		r, err := NewRegistry(helperOf("pptp", packet.ProtoTCP, 1723), helperOf("ftp", packet.ProtoTCP, 21))
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{Registry: r, Table: conntrack.New(conntrack.DefaultConfig()), Auto: tt.auto}
		if tt.rules {
			cfg.Rules = rules
		}
		k, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if tt.proto == 0 {
			tt.proto = packet.ProtoTCP
		}
		c := conntrack.Conn{Status: tt.status}
		c.Tuples[0] = tuple(tt.proto, tt.src, tt.dst)
		c.Tuples[1], _ = c.Tuples[0].Inverse()
		k.Assign(&c)
		if tt.nat != "" {
			c.Tuples[1] = tuple(tt.proto, tt.nat, tt.src)
			k.Reassign(&c)
		}
		if set := c.Status&conntrack.HelperSet != 0; c.Helper != tt.want || set != tt.set {
			t.Errorf("%s: helper %d, set %v; want %d, %v", name, c.Helper, set, tt.want, tt.set)
		}
	}
}

func tuple(proto uint8, src, dst string) conntrack.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return conntrack.Tuple{
		Src: s.Addr().As16(), Dst: d.Addr().As16(), SrcID: s.Port(), DstID: d.Port(), Proto: proto, Family: 4,
	}
}

// TestAutoWarnsOnce: with the legacy switch off, the first connection that it would have matched is told of.
func TestAutoWarnsOnce(t *testing.T) {
	var log strings.Builder
	r, _ := NewRegistry(helperOf("ftp", packet.ProtoTCP, 21))
	k, err := New(Config{
		Registry: r, Table: conntrack.New(conntrack.DefaultConfig()), Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, dst := range []string{"192.0.2.1:22", "192.0.2.1:21", "192.0.2.2:21"} {
		c := conntrack.Conn{}
		c.Tuples[0] = tuple(packet.ProtoTCP, "10.0.0.1:9", dst)
		c.Tuples[1], _ = c.Tuples[0].Inverse()
		k.Assign(&c)
		if c.Helper != 0 {
			t.Errorf("%s: helper %d", dst, c.Helper)
		}
	}
	if n := strings.Count(log.String(), "automatic helper assignment"); n != 1 {
		t.Errorf("warned %d times", n)
	}
}

// TestUnregister: not while a rule uses it; then its connections live on without it, and its expectations are gone.
func TestUnregister(t *testing.T) {
	w := open(t, "")
	w.say("HELLO 1\nOPEN 1000\n")
	if err := w.kit.Unregister(w.now, "toy"); !errors.Is(err, ErrInUse) {
		t.Errorf("with a rule: %v", err)
	}
	if err := w.kit.Unregister(w.now, "x"); !errors.Is(err, ErrNone) {
		t.Errorf("unknown: %v", err)
	}
	w.kit.rules = nil
	if err := w.kit.Unregister(w.now, "toy"); err != nil {
		t.Fatal(err)
	}
	if n := len(w.table.Expectations(w.now, 0)); n != 0 {
		t.Errorf("%d expectations", n)
	}
	w.say("HELLO 2\n")
	w.ack(1, nil)
	snap, ok := w.table.Lookup(w.now, w.conn.ID)
	if got := string(w.ends[1].got); !ok || snap.Helper != 0 || got != "HELLO outside.example\nOPEN 1000\nHELLO 2\n" || w.ends[0].acked != 26 {
		t.Errorf("%v, helper %d, got %q, %d acknowledged", ok, snap.Helper, got, w.ends[0].acked)
	}
	if err := w.kit.Unregister(w.now, "toy"); !errors.Is(err, ErrNone) {
		t.Errorf("again: %v", err)
	}
}
