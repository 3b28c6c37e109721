package algtest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// shout is a helper that doubles each letter a.
type shout struct{}

func (shout) Spec() alg.Spec                            { return alg.Spec{Name: "shout", Proto: packet.ProtoTCP, Port: 7} }
func (shout) Configure(map[string]any) (any, error)     { return nil, nil }
func (shout) New(alg.Master, any) alg.Stream            { return shout{} }
func (shout) End(alg.Master, conntrack.Direction, bool) {}
func (shout) Destroy(alg.Master)                        {}
func (shout) Tick(alg.Master)                           {}
func (shout) Stream(_ alg.Master, _ conntrack.Direction, b []byte) (r alg.Result) {
	for i, c := range b {
		if c == 'a' {
			r.Edits = append(r.Edits, alg.Edit{Off: i, Len: 1, New: []byte("aa")})
		}
	}
	r.Consumed = len(b)
	return r
}

func shouting(t T, rules ...nat.Rule) *World {
	return New(t, Config{
		Helpers: []alg.Helper{shout{}}, NAT: rules, Rules: []alg.Rule{{Name: "shout", Proto: packet.ProtoTCP, Ports: Port(7)}},
	})
}

// Both ends of a connection hear what the helper makes, and agree on numbers, whatever is lost.
func TestConversation(t *testing.T) {
	w := shouting(t, Masquerade())
	c := w.Dial("10.0.0.2:1000", "198.51.100.7:7")
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 200 {
		dir := conntrack.Direction(i % 2)
		from, text := len(c.Heard(dir)), fmt.Sprintf("banana %d, ", i)
		c.Write(dir, text)
		c.Segment(dir, c.Sent(dir), c.Said(dir), packet.Meta{}, func() bool { return r.IntN(2) == 0 })
		c.Settle(dir, func(int) int { return 1 + r.IntN(5) })
		if got, want := string(c.Heard(dir)[from:]), strings.ReplaceAll(text, "a", "aa"); got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	}
	if !c.Helped() || w.Count("shout", alg.CountEdits) == 0 || c.Acked(0) != c.Said(0) {
		t.Errorf("helped %v, %v", c.Helped(), w.Kit.Counters())
	}
	c.Close(conntrack.Original)
	c.Close(conntrack.Reply)
	if w.Advance(time.Hour); w.Table.Len() != 0 || w.NAT.Stats().Mappings != 0 {
		t.Errorf("%d connections, %d mappings left", w.Table.Len(), w.NAT.Stats().Mappings)
	}
}

// Where packets go, and why they do not.
func TestWhere(t *testing.T) {
	at := netip.MustParseAddrPort
	w := shouting(t, Masquerade(), Forward(packet.ProtoTCP, at("203.0.113.1:80"), at("10.0.0.9:8080")))
	for _, tt := range [][3]string{
		{"10.0.0.2:1000", "198.51.100.7:80", "203.0.113.1:1000>198.51.100.7:80"},
		{"198.51.100.7:5", "203.0.113.1:80", "198.51.100.7:5>10.0.0.9:8080"},
		{"10.0.0.2:1001", "203.0.113.1:80", "203.0.113.1:1001>10.0.0.9:8080"},
		{"198.51.100.7:5", "203.0.113.1:81", packet.NoMapping.String()},
		{"198.51.100.7:5", "10.0.0.9:8080", packet.Filtered.String()},
		{"[fd00::2]:1000", "[2001:db8::7]:80", "[2001:db8:113::1]:1000>[2001:db8::7]:80"},
	} {
		if got := w.Connect(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%s to %s went %s, want %s", tt[0], tt[1], got, tt[2])
		}
	}
	udp := testpkt.UDP{Src: at("10.0.0.2:53"), Dst: at("198.51.100.7:53"), Payload: []byte("x")}
	if got := w.Where(udp.Bytes()); got != "203.0.113.1:53>198.51.100.7:53" {
		t.Errorf("a datagram went %s", got)
	}
	if got := w.Where(udp.Bytes()[:20]); got != packet.Malformed.String() {
		t.Errorf("half a datagram went %s", got)
	}
}

// failing is a T that notes a failure.
type failing struct{ said string }

func (*failing) Helper()                             {}
func (f *failing) Errorf(format string, args ...any) { f.said = fmt.Sprintf(format, args...) }
func (f *failing) Fatalf(format string, args ...any) { f.said = fmt.Sprintf(format, args...); panic(f) }

// A receiver notices bytes that change, and acknowledgements of what was not sent.
func TestReceiverLooks(t *testing.T) {
	for name, bad := range map[string]func(c *Conn){
		"another byte": func(c *Conn) { c.ends[0].stream[2] = 'x'; c.Segment(0, 0, 4, packet.Meta{}, nil) },
		"not sent":     func(c *Conn) { c.ends[0].sent = 0; c.Ack(1, nil) },
		"never arrives": func(c *Conn) {
			c.Write(0, "more")
			c.ends[0].isn += 1 << 30
			c.Settle(0, func(int) int { return 9 })
		},
	} {
		f := &failing{}
		func() {
			defer func() {
				if v := recover(); v != nil && v != any(f) {
					panic(v)
				}
			}()
			w := shouting(f, Masquerade())
			c := w.Dial("10.0.0.2:1000", "198.51.100.7:8")
			c.Say(0, "good")
			bad(c)
		}()
		if f.said == "" {
			t.Errorf("%s: not noticed", name)
		}
	}
}
