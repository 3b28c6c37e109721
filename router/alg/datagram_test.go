package alg

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// echo is a helper of datagrams: "lan" becomes "outside" everywhere, "bad" is dropped, "die" makes it panic, "open"
// expects an answer from another port.
type echo struct {
	spec Spec
	got  [][]byte
	ends int
}

func (e *echo) Spec() Spec { return e.spec }

func (e *echo) Configure(map[string]any) (any, error) { return nil, nil }

func (e *echo) New(Master, any) Datagram { return e }

func (e *echo) Datagram(m Master, dir conntrack.Direction, b []byte) (edits []Edit, v packet.Verdict) {
	e.got = append(e.got, bytes.Clone(b))
	switch string(b) {
	case "bad":
		return nil, packet.Drop
	case "die":
		panic("as told")
	case "open":
		t := m.Leaving(1 - dir)
		t.SrcID = 0
		_, _ = m.Expect(conntrack.Expectation{Tuple: t, Mask: conntrack.MaskAnyPort})
	}
	for i := 0; ; {
		n := bytes.Index(b[i:], []byte("lan"))
		if n < 0 {
			return edits, packet.Accept
		}
		edits = append(edits, Edit{Off: i + n, Len: 3, New: []byte("outside")})
		i += n + 3
	}
}

func (e *echo) Destroy(Master) { e.ends++ }

// udpWorld is a world whose connection is of UDP.
func udpWorld(t tester) (*world, *echo) {
	e := &echo{spec: Spec{Name: "echo", Proto: packet.ProtoUDP, Port: 7007}}
	return newUDPWorld(t, e), e
}

// newUDPWorld is a world with a helper of datagrams.
func newUDPWorld(t tester, h DatagramHelper) *world {
	w := newWorld(t)
	r, err := NewRegistry(h)
	if err != nil {
		t.Fatalf("%v", err)
	}
	rules := []Rule{{Name: h.Spec().Name, Proto: packet.ProtoUDP}}
	if w.kit, err = New(Config{Registry: r, Table: w.table, Rules: rules}); err != nil {
		t.Fatalf("%v", err)
	}
	w.room = packet.MaxIPv6
	return w
}

func (w *world) udp(from int, payload string, m packet.Meta, change ...func(*testpkt.UDP)) packet.DropReason {
	p := testpkt.UDP{Src: w.ends[from].addr, Dst: w.ends[1-from].addr, Payload: []byte(payload)}
	for _, f := range change {
		f(&p)
	}
	return w.packet(p.Bytes(), m)
}

// payloads returns what left.
func (w *world) payloads() (all []string) {
	for _, s := range w.segments() {
		h, _ := packet.Parse(s)
		all = append(all, string(s[h.Payload:]))
	}
	return all
}

// TestDatagrams: edits keep lengths and checksums right, whatever form the checksum has.
func TestDatagrams(t *testing.T) {
	noSum := func(p *testpkt.UDP) { p.NoChecksum = true }
	for name, tt := range map[string]struct {
		in     string
		want   []string
		gso    packet.GSOType
		seg    uint16
		change []func(*testpkt.UDP)
		v6     bool
		reason packet.DropReason
	}{
		"no edit":        {in: "hello", want: []string{"hello"}},
		"an edit":        {in: "my lan is a lan", want: []string{"my outside is a outside"}},
		"odd length":     {in: "lan1", want: []string{"outside1"}},
		"no checksum":    {in: "lan", want: []string{"outside"}, change: []func(*testpkt.UDP){noSum}},
		"IPv6":           {in: "lan", want: []string{"outside"}, v6: true},
		"super-packet":   {in: "lan1lan2bad lan", want: []string{"outside1", "outside2", "bad ", "outside"}, gso: packet.GSOUDP, seg: 4},
		"dropped":        {in: "bad", reason: packet.HelperDropped},
		"panic":          {in: "die", want: []string{"die"}},
		"largest":        {in: strings.Repeat("x", 65500) + "lan", want: []string{strings.Repeat("x", 65500) + "outside"}},
		"larger":         {in: strings.Repeat("x", 65501) + "lan", reason: packet.HelperDropped},
		"largest, IPv6":  {in: strings.Repeat("x", 65520) + "lan", want: []string{strings.Repeat("x", 65520) + "outside"}, v6: true},
		"larger, IPv6":   {in: strings.Repeat("x", 65521) + "lan", reason: packet.HelperDropped, v6: true},
		"grows too much": {in: strings.Repeat("lan", 20000), reason: packet.HelperDropped},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := udpWorld(t)
			if tt.v6 {
				w.useIPv6()
			}
			if reason := w.udp(0, tt.in, packet.Meta{GSO: tt.gso, SegSize: tt.seg}, tt.change...); reason != tt.reason {
				t.Fatalf("reason %v, want %v", reason, tt.reason)
			}
			if tt.reason != packet.NotDropped {
				return
			}
			if got := w.payloads(); !equal(got, tt.want) {
				t.Errorf("got %.100q, want %.100q", got, tt.want)
			}
		})
	}
}

func equal(a, b []string) bool { return strings.Join(a, "|") == strings.Join(b, "|") }

// TestFirstDatagram: a helper of UDP reads the first packet of a connection and may announce another one by it.
func TestFirstDatagram(t *testing.T) {
	w, e := udpWorld(t)
	w.udp(0, "open", packet.Meta{})
	all := w.table.Expectations(w.now, 0)
	if len(all) != 1 || all[0].Master == 0 || all[0].Tuple.DstAddr() != netip.MustParseAddr("10.77.0.2") {
		t.Fatalf("expectations %+v", all)
	}
	w.udp(1, "die", packet.Meta{})
	w.udp(0, "lan", packet.Meta{})
	if got := w.payloads(); len(e.got) != 2 || !equal(got, []string{"lan"}) {
		t.Errorf("read %q, got %q: a helper that panicked goes on", e.got, got)
	}
	w.kit.Close(w.now)
	if e.ends != 1 {
		t.Errorf("destroyed %d times", e.ends)
	}
}
