package alg_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// README: begin

// Chat is the helper of a chat whose clients say "CALL ME address port\n" and are then called there.
type Chat struct{}

// Spec implements [alg.Helper].
func (Chat) Spec() alg.Spec {
	return alg.Spec{
		Name: "chat", Proto: packet.ProtoTCP, Port: 7007,
		Classes: []alg.Class{{Name: "call", Limit: 4, Lifetime: time.Minute}},
	}
}

// Configure implements [alg.Helper]: there are no options.
func (Chat) Configure(options map[string]any) (any, error) {
	for name := range options {
		return nil, fmt.Errorf("unknown option %q", name)
	}
	return nil, nil
}

// New implements [alg.StreamHelper].
func (Chat) New(alg.Master, any) alg.Stream { return &chat{} }

// chat is one connection's state.
type chat struct {
	edits []alg.Edit
}

// Stream reads whole lines, and holds what may become one of ours.
func (c *chat) Stream(m alg.Master, dir conntrack.Direction, b []byte) (r alg.Result) {
	c.edits = c.edits[:0]
	for {
		rest := b[r.Consumed:]
		n := bytes.IndexByte(rest, '\n') + 1
		if n == 0 {
			r.Hold = dir == conntrack.Original && bytes.HasPrefix(rest, []byte("CALL ME "))
			r.Detach = len(rest) > 512 // no line of this protocol
			r.Edits = c.edits
			return r
		}
		if dir == conntrack.Original {
			c.line(m, r.Consumed, string(rest[:n]))
		}
		r.Consumed += n
	}
}

// line looks at a line of the client's that begins at off.
func (c *chat) line(m alg.Master, off int, s string) {
	var text string
	var port uint16
	if n, _ := fmt.Sscanf(s, "CALL ME %s %d\n", &text, &port); n != 2 || port < 1024 {
		return
	}
	inside := m.Arriving(conntrack.Original)
	if addr, err := netip.ParseAddr(text); err != nil || addr != inside.SrcAddr() {
		return // never open a way to anybody but the one who asks
	}
	call := m.Arriving(conntrack.Reply) // from the server to the client's address as the server sees it
	call.SrcID, call.DstID = 0, port
	_, err := m.Expect(conntrack.Expectation{
		Tuple: call, Mask: conntrack.MaskAnyPort,
		NAT: conntrack.ExpectNAT{Follow: true, Dir: conntrack.Reply},
	})
	if err != nil {
		m.Logf("call to port %d not expected: %v", port, err)
		return
	}
	outside := call.DstAddr().String()
	c.edits = append(c.edits, alg.Edit{Off: off + len("CALL ME "), Len: len(text), New: []byte(outside)})
	m.Count("calls")
}

// End, Destroy and Tick have nothing to do.
func (*chat) End(alg.Master, conntrack.Direction, bool) {}
func (*chat) Destroy(alg.Master)                        {}
func (*chat) Tick(alg.Master)                           {}

// README: end

// Example sends a line through a connection that is masqueraded behind 203.0.113.1.
func Example() {
	registry, err := alg.NewRegistry(Chat{})
	if err != nil {
		fmt.Println(err)
		return
	}
	table := conntrack.New(conntrack.DefaultConfig())
	kit, err := alg.New(alg.Config{
		Registry: registry, Table: table,
		Rules: []alg.Rule{{Name: "chat", Proto: packet.ProtoTCP, Ports: []conntrack.PortRange{{First: 7007, Last: 7007}}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, server := netip.MustParseAddrPort("10.77.0.2:40000"), netip.MustParseAddrPort("198.51.100.7:7007")
	outside := netip.MustParseAddrPort("203.0.113.1:40000")
	send := func(segment testpkt.TCP) {
		b := append(make([]byte, 0, 2048), segment.Bytes()...)
		h, _ := packet.Parse(b)
		var m packet.Meta
		var c conntrack.Conn
		table.Track(0, 0, &conntrack.Packet{Bytes: b, H: &h, Meta: &m}, &c)
		if c.ID == 0 {
			kit.Assign(&c)
			c.Tuples[conntrack.Reply].Dst = outside.Addr().As16() // what NAT does
		}
		p := alg.Packet{Bytes: b, H: &h, Meta: &m, Room: 1500}
		kit.Handle(0, &c, &p, nil)
		table.Confirm(0, 0, &c)
		if payload := p.Bytes[h.Payload:]; len(payload) > 0 {
			fmt.Printf("%q\n", payload)
		}
	}
	send(testpkt.TCP{Src: client, Dst: server, Seq: 1, Flags: packet.FlagSYN})
	send(testpkt.TCP{Src: server, Dst: outside, Seq: 9, Ack: 2, Flags: packet.FlagSYN | packet.FlagACK})
	send(testpkt.TCP{Src: client, Dst: server, Seq: 2, Ack: 10, Flags: packet.FlagACK, Payload: []byte("hi\nCALL ME 10.77.0.2 5000\n")})
	for _, e := range table.Expectations(0, 0) {
		fmt.Println("expected:", e.Tuple.SrcAddr(), "to", e.Tuple.DstAddr(), "port", e.Tuple.DstID)
	}
	// Output:
	// "hi\nCALL ME 203.0.113.1 5000\n"
	// expected: 198.51.100.7 to 203.0.113.1 port 5000
}

// TestReadme: the example in the README is the one that is compiled here.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(source), "// README: begin\n\n")
	code, _, ok := strings.Cut(code, "\n// README: end\n")
	if !ok || !strings.Contains(string(readme), "```go\n"+code+"```\n") {
		t.Error("README.md does not hold the code between the marks of example_test.go")
	}
}
