package tftp

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

const (
	rrq = "\x00\x01boot.img\x00octet\x00"
	wrq = "\x00\x02boot.img\x00octet\x00blksize\x001428\x00"
	ack = "\x00\x04\x00\x01"
)

var data = "\x00\x03\x00\x01" + strings.Repeat("x", 512)

// masquerade lets nobody in but the endpoint that was asked: the answer of a transfer needs the helper.
func masquerade() nat.Rule {
	r := algtest.Masquerade()
	r.Filtering = nat.AddressAndPortDependent
	return r
}

func forward(outside, server string) nat.Rule {
	return algtest.Forward(packet.ProtoUDP, netip.MustParseAddrPort(outside), netip.MustParseAddrPort(server))
}

// world is a router with the helper on port 69, or without.
type world struct{ *algtest.World }

func newWorld(t algtest.T, helped bool, rules ...nat.Rule) world {
	t.Helper()
	cfg := algtest.Config{Helpers: []alg.Helper{New()}, NAT: rules}
	if helped {
		cfg.Rules = []alg.Rule{{Name: "tftp", Proto: packet.ProtoUDP, Ports: algtest.Port(port)}}
	}
	return world{algtest.New(t, cfg)}
}

// send sends a datagram and says where it went, or why nowhere.
func (w world) send(src, dst, payload string) string {
	return w.Where(testpkt.UDP{
		Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Payload: []byte(payload),
	}.Bytes())
}

// step is a datagram: who sends what to whom, and where it goes.
type step struct{ src, dst, payload, want string }

// transfers are whole transfers through the router, by how the ends stand to it. Without the helper the step of that
// index has another end: that of without.
var transfers = map[string]struct {
	rules   []nat.Rule
	steps   []step
	fails   int
	without string
}{
	"client inside": {[]nat.Rule{masquerade()}, []step{
		{"10.77.1.2:2000", "198.51.100.7:69", rrq, "203.0.113.1:2000>198.51.100.7:69"},
		{"198.51.100.7:3000", "203.0.113.1:2000", data, "198.51.100.7:3000>10.77.1.2:2000"},
		{"10.77.1.2:2000", "198.51.100.7:3000", ack, "203.0.113.1:2000>198.51.100.7:3000"},
		{"198.51.100.7:3000", "203.0.113.1:2000", data, "198.51.100.7:3000>10.77.1.2:2000"},
	}, 1, "no-mapping"},
	"client inside writes": {[]nat.Rule{masquerade()}, []step{
		{"10.77.1.2:2000", "198.51.100.7:69", wrq, "203.0.113.1:2000>198.51.100.7:69"},
		{"198.51.100.7:3000", "203.0.113.1:2000", "\x00\x06blksize\x001428\x00", "198.51.100.7:3000>10.77.1.2:2000"},
		{"10.77.1.2:2000", "198.51.100.7:3000", data, "203.0.113.1:2000>198.51.100.7:3000"},
	}, 1, "no-mapping"},
	"client inside, IPv6": {[]nat.Rule{masquerade()}, []step{
		{"[fd77::2]:2000", "[2001:db8::7]:69", rrq, "[2001:db8:113::1]:2000>[2001:db8::7]:69"},
		{"[2001:db8::7]:3000", "[2001:db8:113::1]:2000", data, "[2001:db8::7]:3000>[fd77::2]:2000"},
		{"[fd77::2]:2000", "[2001:db8::7]:3000", ack, "[2001:db8:113::1]:2000>[2001:db8::7]:3000"},
	}, 1, "no-mapping"},
	"two clients of one server": {[]nat.Rule{masquerade()}, []step{
		{"10.77.1.3:2000", "198.51.100.7:69", rrq, "203.0.113.1:2000>198.51.100.7:69"},
		{"10.77.1.2:1500", "198.51.100.7:69", rrq, "203.0.113.1:1500>198.51.100.7:69"},
		{"198.51.100.7:3001", "203.0.113.1:1500", data, "198.51.100.7:3001>10.77.1.2:1500"},
		{"198.51.100.7:3000", "203.0.113.1:2000", data, "198.51.100.7:3000>10.77.1.3:2000"},
	}, 2, "no-mapping"},
	"server inside": {[]nat.Rule{forward("203.0.113.1:69", "10.77.1.50:69")}, []step{
		{"198.51.100.7:2000", "203.0.113.1:69", rrq, "198.51.100.7:2000>10.77.1.50:69"},
		{"10.77.1.50:3000", "198.51.100.7:2000", data, "203.0.113.1:3000>198.51.100.7:2000"},
		{"198.51.100.7:2000", "203.0.113.1:3000", ack, "198.51.100.7:2000>10.77.1.50:3000"},
		{"10.77.1.50:3000", "198.51.100.7:2000", data, "203.0.113.1:3000>198.51.100.7:2000"},
	}, 1, "10.77.1.50:3000>198.51.100.7:2000"},
	"server inside on another port": {[]nat.Rule{forward("203.0.113.1:69", "10.77.1.50:6969")}, []step{
		{"198.51.100.7:2000", "203.0.113.1:69", rrq, "198.51.100.7:2000>10.77.1.50:6969"},
		{"10.77.1.50:3000", "198.51.100.7:2000", data, "203.0.113.1:3000>198.51.100.7:2000"},
	}, 1, "10.77.1.50:3000>198.51.100.7:2000"},
	"server inside, IPv6": {[]nat.Rule{forward("[2001:db8:113::1]:69", "[fd77::50]:69")}, []step{
		{"[2001:db8::7]:2000", "[2001:db8:113::1]:69", rrq, "[2001:db8::7]:2000>[fd77::50]:69"},
		{"[fd77::50]:3000", "[2001:db8::7]:2000", data, "[2001:db8:113::1]:3000>[2001:db8::7]:2000"},
		{"[2001:db8::7]:2000", "[2001:db8:113::1]:3000", ack, "[2001:db8::7]:2000>[fd77::50]:3000"},
	}, 1, "[fd77::50]:3000>[2001:db8::7]:2000"},
	"both inside": {[]nat.Rule{masquerade(), forward("203.0.113.1:69", "10.77.1.50:69")}, []step{
		{"10.77.1.2:2000", "203.0.113.1:69", rrq, "203.0.113.1:2000>10.77.1.50:69"},
		{"10.77.1.50:3000", "203.0.113.1:2000", data, "203.0.113.1:3000>10.77.1.2:2000"},
		{"10.77.1.2:2000", "203.0.113.1:3000", ack, "203.0.113.1:2000>10.77.1.50:3000"},
	}, -1, ""},
	"client inside on a privileged port": {[]nat.Rule{masquerade()}, []step{
		{"10.77.1.2:69", "198.51.100.7:69", rrq, "203.0.113.1:69>198.51.100.7:69"},
		{"198.51.100.7:3000", "203.0.113.1:69", data, "198.51.100.7:3000>10.77.1.2:69"},
		{"10.77.1.2:69", "198.51.100.7:3000", ack, "203.0.113.1:69>198.51.100.7:3000"},
		{"198.51.100.7:3000", "203.0.113.1:69", data, "198.51.100.7:3000>10.77.1.2:69"},
	}, 1, "no-mapping"},
	"client inside on a privileged port, IPv6": {[]nat.Rule{masquerade()}, []step{
		{"[fd77::2]:69", "[2001:db8::7]:69", rrq, "[2001:db8:113::1]:69>[2001:db8::7]:69"},
		{"[2001:db8::7]:3000", "[2001:db8:113::1]:69", data, "[2001:db8::7]:3000>[fd77::2]:69"},
		{"[fd77::2]:69", "[2001:db8::7]:3000", ack, "[2001:db8:113::1]:69>[2001:db8::7]:3000"},
	}, 1, "no-mapping"},
	"server inside, client on a privileged port": {[]nat.Rule{forward("203.0.113.1:69", "10.77.1.50:69")}, []step{
		{"198.51.100.7:69", "203.0.113.1:69", rrq, "198.51.100.7:69>10.77.1.50:69"},
		{"10.77.1.50:3000", "198.51.100.7:69", data, "203.0.113.1:3000>198.51.100.7:69"},
		{"198.51.100.7:69", "203.0.113.1:3000", ack, "198.51.100.7:69>10.77.1.50:3000"},
	}, 1, "10.77.1.50:3000>198.51.100.7:69"},
	"server inside, client on a privileged port, IPv6": {[]nat.Rule{forward("[2001:db8:113::1]:69", "[fd77::50]:69")}, []step{
		{"[2001:db8::7]:69", "[2001:db8:113::1]:69", rrq, "[2001:db8::7]:69>[fd77::50]:69"},
		{"[fd77::50]:3000", "[2001:db8::7]:69", data, "[2001:db8:113::1]:3000>[2001:db8::7]:69"},
		{"[2001:db8::7]:69", "[2001:db8:113::1]:3000", ack, "[2001:db8::7]:69>[fd77::50]:3000"},
	}, 1, "[fd77::50]:3000>[2001:db8::7]:69"},
	"routed, client on a privileged port": {nil, []step{
		{"[fd77::2]:69", "[2001:db8::7]:69", rrq, "[fd77::2]:69>[2001:db8::7]:69"},
		{"[2001:db8::7]:3000", "[fd77::2]:69", data, "[2001:db8::7]:3000>[fd77::2]:69"},
	}, 1, "filtered"},
	"two requests from one port": {[]nat.Rule{masquerade()}, []step{
		{"10.77.1.2:2000", "198.51.100.7:69", rrq, "203.0.113.1:2000>198.51.100.7:69"},
		{"10.77.1.2:2000", "198.51.100.7:69", wrq, "203.0.113.1:2000>198.51.100.7:69"},
		{"198.51.100.7:3000", "203.0.113.1:2000", "\x00\x05\x00\x01none\x00", "198.51.100.7:3000>10.77.1.2:2000"},
		{"198.51.100.7:3001", "203.0.113.1:2000", "\x00\x06blksize\x001428\x00", "198.51.100.7:3001>10.77.1.2:2000"},
		{"198.51.100.7:3002", "203.0.113.1:2000", data, "no-mapping"},
	}, 2, "no-mapping"},
	"two requests from one port, IPv6, server inside": {[]nat.Rule{forward("[2001:db8:113::1]:69", "[fd77::50]:69")}, []step{
		{"[2001:db8::7]:2000", "[2001:db8:113::1]:69", rrq, "[2001:db8::7]:2000>[fd77::50]:69"},
		{"[2001:db8::7]:2000", "[2001:db8:113::1]:69", wrq, "[2001:db8::7]:2000>[fd77::50]:69"},
		{"[fd77::50]:69", "[2001:db8::7]:2000", "\x00\x05\x00\x01none\x00", "[2001:db8:113::1]:69>[2001:db8::7]:2000"},
		{"[fd77::50]:3001", "[2001:db8::7]:2000", data, "[2001:db8:113::1]:3001>[2001:db8::7]:2000"},
	}, 3, "[fd77::50]:3001>[2001:db8::7]:2000"},
	"routed": {nil, []step{
		{"[fd77::2]:2000", "[2001:db8::7]:69", rrq, "[fd77::2]:2000>[2001:db8::7]:69"},
		{"[2001:db8::7]:3000", "[fd77::2]:2000", data, "[2001:db8::7]:3000>[fd77::2]:2000"},
		{"[fd77::2]:2000", "[2001:db8::7]:3000", ack, "[fd77::2]:2000>[2001:db8::7]:3000"},
	}, 1, "filtered"},
}

func TestTransfers(t *testing.T) {
	for name, tt := range transfers {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, true, tt.rules...)
			for _, s := range tt.steps {
				if got := w.send(s.src, s.dst, s.payload); got != s.want {
					t.Errorf("%.20q from %s to %s went %s, want %s", s.payload, s.src, s.dst, got, s.want)
				}
			}
			w = newWorld(t, false, tt.rules...)
			for i, s := range tt.steps[:tt.fails+1] {
				want := s.want
				if i == tt.fails {
					want = tt.without
				}
				if got := w.send(s.src, s.dst, s.payload); got != want {
					t.Errorf("without the helper %.20q from %s to %s went %s, want %s", s.payload, s.src, s.dst, got, want)
				}
			}
		})
	}
}

// Two clients whose ports are equal have other ones outside, and each gets its own answer.
func TestSamePort(t *testing.T) {
	w := newWorld(t, true, masquerade())
	for _, client := range []string{"10.77.1.2:2000", "10.77.1.3:2000", "10.77.1.4:2000"} {
		outside, _, _ := strings.Cut(w.send(client, "198.51.100.7:69", rrq), ">")
		if got := w.send("198.51.100.7:3000", outside, data); got != "198.51.100.7:3000>"+client {
			t.Errorf("the answer to %s went %s", client, got)
		}
	}
}

// Two clients that send from port 69 have two ports outside, and neither is that of a forward.
func TestSamePrivilegedPort(t *testing.T) {
	w := newWorld(t, true, masquerade(), forward("203.0.113.1:69", "10.77.1.50:69"))
	seen := map[uint16]bool{69: true}
	for _, client := range []string{"10.77.1.2:69", "10.77.1.3:69"} {
		outside, _, _ := strings.Cut(w.send(client, "198.51.100.7:69", rrq), ">")
		if port := netip.MustParseAddrPort(outside).Port(); seen[port] || port >= 1024 {
			t.Errorf("%s asks from port %d", client, port)
		} else {
			seen[port] = true
		}
		if got := w.send("198.51.100.7:3000", outside, data); got != "198.51.100.7:3000>"+client {
			t.Errorf("the answer to %s went %s", client, got)
		}
	}
}

// However a request is written, what the server makes of it comes back, if only an error.
func TestEveryRequestIsAnswered(t *testing.T) {
	for name, tt := range requests {
		w := newWorld(t, true, masquerade())
		if got := w.send("10.77.1.2:2000", "198.51.100.7:69", tt.in); got != "203.0.113.1:2000>198.51.100.7:69" {
			t.Errorf("%s: went %s", name, got)
		}
		want := "no-mapping"
		if tt.want == request {
			want = "198.51.100.7:3000>10.77.1.2:2000"
		}
		if got := w.send("198.51.100.7:3000", "203.0.113.1:2000", "\x00\x05\x00\x04what?\x00"); got != want {
			t.Errorf("%s: the answer went %s, want %s", name, got, want)
		}
	}
}

// The port from which a server inside answers may be taken outside: then another one stands for it.
func TestServerPortTaken(t *testing.T) {
	w := newWorld(t, true, masquerade(), forward("203.0.113.1:69", "10.77.1.50:69"))
	w.send("10.77.1.9:3000", "198.51.100.9:53", "x")
	w.send("198.51.100.7:2000", "203.0.113.1:69", rrq)
	seen, to, _ := strings.Cut(w.send("10.77.1.50:3000", "198.51.100.7:2000", data), ">")
	if from := netip.MustParseAddrPort(seen); from.Addr().String() != "203.0.113.1" || from.Port() == 3000 || to != "198.51.100.7:2000" {
		t.Errorf("the answer comes from %s, to %s", seen, to)
	}
	if got := w.send("198.51.100.7:2000", seen, ack); got != "198.51.100.7:2000>10.77.1.50:3000" {
		t.Errorf("the client's acknowledgement went %s", got)
	}
}

// What is opened is for the server that was asked, in UDP, once, and to the client's own port.
func TestOnlyTheAnswer(t *testing.T) {
	w := newWorld(t, true, masquerade())
	w.send("10.77.1.2:2000", "198.51.100.7:69", rrq)
	for _, s := range []step{
		{"198.51.100.8:69", "203.0.113.1:2000", data, "no-mapping"},
		{"198.51.100.8:3000", "203.0.113.1:2000", data, "no-mapping"},
		{"198.51.100.7:3000", "203.0.113.1:2001", data, "no-mapping"},
		{"198.51.100.7:3000", "203.0.113.1:2000", data, "198.51.100.7:3000>10.77.1.2:2000"},
		{"198.51.100.7:3001", "203.0.113.1:2000", data, "no-mapping"},
	} {
		if got := w.send(s.src, s.dst, s.payload); got != s.want {
			t.Errorf("%s>%s went %s, want %s", s.src, s.dst, got, s.want)
		}
	}
	w.send("10.77.1.2:2000", "198.51.100.7:69", rrq)
	if got := w.Connect("198.51.100.7:3000", "203.0.113.1:2000"); got != "no-mapping" {
		t.Errorf("TCP to the client went %s", got)
	}
}

// What opens nothing passes as it came.
func TestNotOpened(t *testing.T) {
	for name, tt := range map[string]struct {
		src, dst, payload string
		counter           string
	}{
		"no request":          {"10.77.1.2:2000", "198.51.100.7:69", ack, ""},
		"a malformed request": {"10.77.1.2:2000", "198.51.100.7:69", "\x00\x01boot.img", "malformed"},
		"to another port":     {"10.77.1.2:2000", "198.51.100.7:70", rrq, ""},
	} {
		w := newWorld(t, true, masquerade())
		p := testpkt.UDP{Src: netip.MustParseAddrPort(tt.src), Dst: netip.MustParseAddrPort(tt.dst), Payload: []byte(tt.payload)}
		out, reason := w.Send(p.Bytes(), packet.Meta{})
		if len(out) != 1 || !bytes.HasSuffix(out[0].Bytes, []byte(tt.payload)) {
			t.Errorf("%s: %v left, reason %v", name, out, reason)
		}
		if list := w.Expectations(); len(list) != 0 {
			t.Errorf("%s: %v awaited", name, list)
		}
		if tt.counter != "" && w.Count("tftp", tt.counter) != 1 {
			t.Errorf("%s: %s is %d", name, tt.counter, w.Count("tftp", tt.counter))
		}
	}
}

// The life of what is awaited: one for a client's port, renewed when it asks again, gone when the server answers all from
// the port that was asked, and after its time.
func TestAwaited(t *testing.T) {
	w := newWorld(t, true, masquerade())
	const client, server = "10.77.1.2:2000", "198.51.100.7:69"
	want := func(when string, list ...string) {
		t.Helper()
		if got := w.Expectations(); strings.Join(got, " ") != strings.Join(list, " ") {
			t.Errorf("%s: awaited %v, want %v", when, got, list)
		}
	}
	const answer = "udp 198.51.100.7:0->203.0.113.1:2000"
	w.send(client, server, rrq)
	want("asked", answer)
	w.Advance(200 * time.Second)
	w.send(client, server, rrq)
	w.Advance(200 * time.Second)
	want("asked again", answer)
	w.send(client, server, wrq)
	want("another file", answer)
	refusal := "\x00\x05\x00\x02Access violation\x00"
	for range 2 { // the first request was sent twice: both may be about that
		w.send(server, "203.0.113.1:2000", refusal)
		want("one answered from the port that was asked", answer)
	}
	w.send(server, "203.0.113.1:2000", refusal)
	want("all answered from the port that was asked")
	w.send(server, "203.0.113.1:2000", data)
	want("and again")
	w.send(client, server, rrq)
	w.Advance(lifetime - time.Second)
	w.send(client, server, ack) // the connection lives on
	want("almost over", answer)
	w.Advance(time.Second)
	want("over")
	if got := w.Count("tftp", "requests"); got != 4 {
		t.Errorf("%d requests", got)
	}
	w.send(client, server, rrq)
	w.Kit.Detach(w.Now, w.Last.ID)
	want("taken off, still awaited", answer)
	w.Table.Delete(w.Now, w.Last.ID)
	want("connection ended")
}

// asks and answers of one client's port and one server, and how many answers from other ports are awaited then: sent is
// what the client sends to port 69, from is what comes from there, at is what comes from a port of the server's own.
var outstanding = map[string][]struct {
	sent, from string
	at         uint16
	want       int
}{
	"an error ends the one request": {
		{sent: rrq, want: 1}, {from: "\x00\x05\x00\x01\x00"},
	},
	"an error ends one of two": {
		{sent: rrq, want: 1}, {sent: wrq, want: 2}, {from: "\x00\x05\x00\x01\x00", want: 1}, {at: 3000},
	},
	"two errors end two": {
		{sent: rrq, want: 1}, {sent: wrq, want: 2}, {from: "\x00\x05\x00\x01\x00", want: 1}, {from: "\x00\x05\x00\x01\x00"},
	},
	"an error to what was sent again ends it": {
		{sent: rrq, want: 1}, {sent: rrq, want: 1}, {from: "\x00\x05\x00\x01\x00"},
	},
	"the second error to what was sent again does not end the other": {
		{sent: rrq, want: 1}, {sent: rrq, want: 1}, {sent: wrq, want: 2}, {from: "\x00\x05\x00\x01\x00", want: 2},
		{from: "\x00\x05\x00\x01\x00", want: 1}, {at: 3000},
	},
	"an error from a port of the server's own is an answer as any other": {
		{sent: rrq, want: 1}, {sent: wrq, want: 2}, {at: 3000, want: 1}, {from: "\x00\x05\x00\x01\x00"},
	},
	"what was sent again before the answer is awaited once": {
		{sent: rrq, want: 1}, {sent: rrq, want: 1}, {at: 3000},
	},
	"what is sent again after the answer is awaited again": {
		{sent: rrq, want: 1}, {at: 3000}, {sent: rrq, want: 1}, {at: 3001},
	},
	"of two, one answered, one sent again": {
		{sent: rrq, want: 1}, {sent: wrq, want: 2}, {at: 3000, want: 1}, {sent: wrq, want: 2}, {at: 3001, want: 1}, {at: 3002},
	},
	"an error after all were answered": {
		{sent: rrq, want: 1}, {at: 3000}, {from: "\x00\x05\x00\x01\x00"}, {sent: wrq, want: 1},
	},
	"the first block from the port that was asked": {{sent: rrq, want: 1}, {from: "\x00\x03\x00\x01x"}},
	"leave to write from the port that was asked":  {{sent: wrq, want: 1}, {from: "\x00\x04\x00\x00"}},
	"options from the port that was asked":         {{sent: wrq, want: 1}, {from: "\x00\x06blksize\x001428\x00"}},
	"a transfer that goes on from the port that was asked answers nothing": {
		{sent: rrq, want: 1}, {from: "\x00\x03\x00\x01x"}, {sent: wrq, want: 1}, {from: "\x00\x03\x00\x02x", want: 1},
		{from: "\x00\x04\x00\x01", want: 1}, {at: 3000},
	},
	"what is no answer": {{sent: rrq, want: 1}, {from: "", want: 1}, {from: rrq, want: 1}, {from: "\x00\x09\x00\x01", want: 1}, {at: 3000}},
	"a malformed request between two": {
		{sent: rrq, want: 1}, {sent: "\x00\x01boot", want: 1}, {sent: wrq, want: 2}, {at: 3000, want: 1}, {at: 3001},
	},
	"more than may wait": {
		{sent: "\x00\x011\x00", want: 1}, {sent: "\x00\x012\x00", want: 2}, {sent: "\x00\x013\x00", want: 3}, {sent: "\x00\x014\x00", want: 4},
		{sent: "\x00\x015\x00", want: 5}, {sent: "\x00\x016\x00", want: 6}, {sent: "\x00\x017\x00", want: 7}, {sent: "\x00\x018\x00", want: 8},
		{sent: "\x00\x019\x00", want: 8}, {at: 3000, want: 7},
	},
}

func TestOutstanding(t *testing.T) {
	for name, steps := range outstanding {
		w := newWorld(t, true, masquerade())
		for i, s := range steps {
			where, want := "", "198.51.100.7:69>10.77.1.2:2000"
			switch {
			case s.sent != "":
				where, want = w.send("10.77.1.2:2000", "198.51.100.7:69", s.sent), "203.0.113.1:2000>198.51.100.7:69"
			case s.at != 0:
				where, want = w.send(endpoint("198.51.100.7", s.at).String(), "203.0.113.1:2000", data), endpoint("198.51.100.7", s.at).String()+">10.77.1.2:2000"
			default:
				where = w.send("198.51.100.7:69", "203.0.113.1:2000", s.from)
			}
			if where != want {
				t.Errorf("%s: step %d went %s, want %s", name, i, where, want)
			}
			n := 0
			for _, e := range w.Table.Expectations(w.Now, 0) {
				n += e.Uses
			}
			if n != s.want {
				t.Errorf("%s: after step %d %d answers are awaited, want %d", name, i, n, s.want)
			}
		}
		if got := w.send("198.51.100.7:4000", "203.0.113.1:2000", data); steps[len(steps)-1].want == 0 && got != "no-mapping" {
			t.Errorf("%s: an answer too many went %s", name, got)
		}
	}
}

// An answer from the port that was asked does not make the others' time longer.
func TestAnswerKeepsTime(t *testing.T) {
	w := newWorld(t, true, masquerade())
	w.send("10.77.1.2:2000", "198.51.100.7:69", rrq)
	w.send("10.77.1.2:2000", "198.51.100.7:69", wrq)
	w.Advance(lifetime - time.Second)
	w.send("10.77.1.2:2000", "198.51.100.7:69", ack) // the connection lives on
	w.send("198.51.100.7:69", "203.0.113.1:2000", "\x00\x05\x00\x01\x00")
	if got := w.Expectations(); len(got) != 1 {
		t.Errorf("awaited: %v", got)
	}
	w.Advance(time.Second)
	if got := w.Expectations(); len(got) != 0 {
		t.Errorf("awaited: %v", got)
	}
}

// A transfer goes on after the connection that asked for it has ended.
func TestTransferOutlivesRequest(t *testing.T) {
	w := newWorld(t, true, masquerade())
	w.send("10.77.1.2:2000", "198.51.100.7:69", rrq)
	asked := w.Last.ID
	w.send("198.51.100.7:3000", "203.0.113.1:2000", data)
	w.Table.Delete(w.Now, asked)
	w.Advance(time.Second)
	if got := w.send("10.77.1.2:2000", "198.51.100.7:3000", ack); got != "203.0.113.1:2000>198.51.100.7:3000" {
		t.Errorf("the acknowledgement went %s", got)
	}
	if got := w.send("198.51.100.7:3000", "203.0.113.1:2000", data); got != "198.51.100.7:3000>10.77.1.2:2000" {
		t.Errorf("the data went %s", got)
	}
}

// Where no expectation can be had the request passes all the same.
func TestRefused(t *testing.T) {
	tracker := conntrack.DefaultConfig()
	tracker.MaxExpect = 1
	w := world{algtest.New(t, algtest.Config{
		Helpers: []alg.Helper{New()}, NAT: []nat.Rule{masquerade()}, Tracker: &tracker,
		Rules: []alg.Rule{{Name: "tftp", Proto: packet.ProtoUDP, Ports: algtest.Port(port)}},
	})}
	w.send("10.77.1.2:2000", "198.51.100.7:69", rrq)
	if got := w.send("10.77.1.3:2001", "198.51.100.7:69", rrq); got != "203.0.113.1:2001>198.51.100.7:69" {
		t.Errorf("a request that can't be helped went %s", got)
	}
	if got := w.Count("tftp", alg.CountRefusedFull); got != 1 {
		t.Errorf("%d refused", got)
	}
}

// withdrawn counts what is taken back.
type withdrawn struct {
	alg.Master
	n int
}

func (w *withdrawn) Unexpect(conntrack.ExpectID) bool { w.n++; return true }

// Only the first answer from the port that was asked has to look for what is awaited.
func TestAnsweredOnce(t *testing.T) {
	a, w := asked{expect: 7}, &withdrawn{}
	for range 3 {
		a.Datagram(w, conntrack.Reply, []byte(data))
	}
	if w.n != 1 {
		t.Errorf("taken back %d times", w.n)
	}
}

func TestConfigure(t *testing.T) {
	if _, err := New().Configure(nil); err != nil {
		t.Error(err)
	}
	if _, err := New().Configure(map[string]any{"timeout": time.Minute}); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("an unknown option: %v", err)
	}
}

// Reading allocates nothing: neither of a transfer through the asked port, nor of a request.
func TestAllocs(t *testing.T) {
	var a asked
	packets := [][]byte{[]byte(data), []byte(ack), nil}
	whole := []byte("\x00\x01a\x00octet\x00" + options(16))
	if n := testing.AllocsPerRun(100, func() {
		for dir := range conntrack.Direction(2) {
			for _, b := range packets {
				if edits, v := a.Datagram(nil, dir, b); edits != nil || v != packet.Accept {
					t.Fatalf("%q: %v, %v", b, edits, v)
				}
			}
		}
		if classify(whole) != request {
			t.Fatal("no request")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
