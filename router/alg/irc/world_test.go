package irc

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

const (
	client  = "10.77.1.2"
	server  = "198.51.100.7"
	outside = "203.0.113.1"
	peer    = "192.0.2.99:4444" // whoever gets an offer

	client6, server6, outside6, peer6 = "fd77::2", "2001:db8::7", "2001:db8:113::1", "[2001:db8:99::9]:4444"
)

const hello = "NICK al\r\n"

// num writes an IPv4 address as DCC does.
func num(addr string) string {
	a := netip.MustParseAddr(addr).As4()
	return fmt.Sprint(binary.BigEndian.Uint32(a[:]))
}

// send is an offer of a file at an address as DCC writes it.
func send(addr string, port int) string {
	return fmt.Sprintf("PRIVMSG bob :\x01DCC SEND f %s %d 1024\x01\r\n", addr, port)
}

// world is a router with the helper on port 6667.
type world struct {
	*algtest.World
	t algtest.T
}

func newWorld(t algtest.T, options map[string]any, rules ...nat.Rule) world {
	t.Helper()
	return world{algtest.New(t, algtest.Config{
		Helpers: []alg.Helper{New()}, NAT: rules,
		Rules: []alg.Rule{{Name: "irc", Proto: packet.ProtoTCP, Ports: algtest.Port(port), Options: options}},
	}), t}
}

// session is a client's connection to the server that has said hello.
type session struct {
	*algtest.Conn
	w world
}

func (w world) session(from, to string) session {
	w.t.Helper()
	s := session{w.Dial(from, to), w}
	s.says(hello, hello)
	return s
}

// masqueraded is a session of the usual client behind the usual address.
func masqueraded(t algtest.T, options map[string]any) session {
	t.Helper()
	return newWorld(t, options, algtest.Masquerade()).session(client+":1025", server+":6667")
}

// says lets the client say something in one segment and checks what the server gets of it.
func (s session) says(in, want string) {
	s.w.t.Helper()
	if got := s.Say(conntrack.Original, in); got != want {
		s.w.t.Errorf("%q arrived as %q, want %q", in, got, want)
	}
}

// awaits checks the ports, outside, at which something is awaited.
func (s session) awaits(ports ...int) {
	s.w.t.Helper()
	var list, want []string
	for _, e := range s.w.Table.Expectations(s.w.Now, s.ID) {
		list = append(list, fmt.Sprint(e.Tuple.DstAddr(), " ", e.Tuple.DstID))
		if e.Mask != (conntrack.Mask{}) || e.Tuple.Proto != packet.ProtoTCP || e.Master != s.ID {
			s.w.t.Errorf("awaited: %+v", e)
		}
	}
	for _, p := range ports {
		want = append(want, fmt.Sprint(s.Tuples[conntrack.Reply].DstAddr(), " ", p))
	}
	if strings.Join(list, ", ") != strings.Join(want, ", ") {
		s.w.t.Errorf("awaited at %v, want %v", list, want)
	}
}

// connects checks where a connection goes, or that it goes nowhere.
func (w world) connects(from, to, want string) {
	w.t.Helper()
	if got := w.Connect(from, to); got != want {
		w.t.Errorf("%s>%s went %s, want %s", from, to, got, want)
	}
}

func (w world) counted(want map[string]uint64) {
	w.t.Helper()
	for name, n := range want {
		if got := w.Count("irc", name); got != n {
			w.t.Errorf("%s is %d, want %d", name, got, n)
		}
	}
}

// An offer leaves with the outside endpoint, and a peer that goes there comes to the client. Without the helper it
// would not.
func TestOffer(t *testing.T) {
	for name, tt := range map[string]struct {
		rules               []nat.Rule
		from, to, in, out   string // the two ends; the address in the offer, and in what leaves
		peer, seen, arrives string // who connects, whereto, and where that goes
		refused             string // without an offer
	}{
		"masquerade": {
			[]nat.Rule{algtest.Masquerade()}, client + ":1025", server + ":6667", num(client), num(outside),
			peer, outside + ":5000", client + ":5000", "no-mapping",
		},
		"masquerade, IPv6": {
			[]nat.Rule{algtest.Masquerade()}, "[" + client6 + "]:1025", "[" + server6 + "]:6667", client6, outside6,
			peer6, "[" + outside6 + "]:5000", "[" + client6 + "]:5000", "no-mapping",
		},
		"the client knows its outside address": {
			[]nat.Rule{algtest.Masquerade()}, client + ":1025", server + ":6667", num(outside), num(outside),
			peer, outside + ":5000", client + ":5000", "no-mapping",
		},
		"routed": {
			nil, "[" + client6 + "]:1025", "[" + server6 + "]:6667", client6, client6,
			peer6, "[" + client6 + "]:5000", "[" + client6 + "]:5000", "filtered",
		},
		"server and client inside": {
			[]nat.Rule{algtest.Masquerade(), algtest.Forward(packet.ProtoTCP, netip.MustParseAddrPort(outside+":6667"), netip.MustParseAddrPort("10.77.1.50:6667"))},
			client + ":1025", outside + ":6667", num(client), num(outside),
			peer, outside + ":5000", client + ":5000", "no-mapping",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil, tt.rules...)
			s := w.session(tt.from, tt.to)
			w.connects(tt.peer, tt.seen, tt.refused)
			s.says(send(tt.in, 5000), send(tt.out, 5000))
			s.says("PRIVMSG bob :there\r\n", "PRIVMSG bob :there\r\n")
			w.connects(tt.peer, tt.seen, tt.peer+">"+tt.arrives)
			w.connects(tt.peer[:len(tt.peer)-1]+"5", tt.seen, tt.refused) // used up
		})
	}
}

// A port that is taken outside, by a connection or a port forward, is offered as another one.
func TestPortTaken(t *testing.T) {
	forward := algtest.Forward(packet.ProtoTCP, netip.MustParseAddrPort(outside+":5000"), netip.MustParseAddrPort("10.77.1.50:80"))
	for name, rules := range map[string][]nat.Rule{
		"connection": {algtest.Masquerade()}, "port forward": {algtest.Masquerade(), forward},
	} {
		w := newWorld(t, nil, rules...)
		if len(rules) == 1 {
			w.connects("10.77.1.9:5000", server+":80", outside+":5000>"+server+":80")
		}
		s := w.session(client+":1025", server+":6667")
		got := s.Say(conntrack.Original, send(num(client), 5000))
		var addr string
		var port int
		if n, err := fmt.Sscanf(got, "PRIVMSG bob :\x01DCC SEND f %s %d 1024\x01\r\n", &addr, &port); n != 2 || err != nil {
			t.Fatalf("%s: %q: %v", name, got, err)
		}
		if addr != num(outside) || port == 5000 || port < privileged {
			t.Fatalf("%s: offered %s %d", name, addr, port)
		}
		s.awaits(port)
		w.connects(peer, fmt.Sprintf("%s:%d", outside, port), peer+">"+client+":5000")
	}
}

// A peer inside reaches the offered endpoint by the outside address, and comes with its own outside one: else the
// client's answers would go past the router (RFC 4787, REQ-9a). So it is for a client that no rule translates for others.
func TestPeerInside(t *testing.T) {
	own := algtest.Masquerade()
	own.Source = algtest.Ranges(client + "/32")
	for _, rule := range []nat.Rule{algtest.Masquerade(), own} {
		w := newWorld(t, nil, rule)
		s := w.session(client+":1025", server+":6667")
		s.says(send(num(client), 5000), send(num(outside), 5000))
		w.connects("10.77.1.9:4444", outside+":5000", outside+":4444>"+client+":5000")
		w.connects(client+":5000", outside+":4444", outside+":5000>10.77.1.9:4444") // what comes back
	}
}

// adopted sends bytes of a connection that the router has not seen the beginning of.
func (w world) adopted(seq uint32, text string) string {
	w.t.Helper()
	p := testpkt.TCP{
		Src: netip.MustParseAddrPort(client + ":1025"), Dst: netip.MustParseAddrPort(server + ":6667"),
		Seq: seq, Ack: 1, Flags: packet.FlagACK | packet.FlagPSH, Payload: []byte(text),
	}
	out, reason := w.Send(p.Bytes(), packet.Meta{})
	if len(out) != 1 {
		w.t.Fatalf("%q: %d packets left, reason %v", text, len(out), reason)
	}
	h, _ := packet.Parse(out[0].Bytes)
	return string(out[0].Bytes[h.Payload:])
}

// A connection that was there before the router is read from its next line on, if that is IRC.
func TestAdopted(t *testing.T) {
	for next, opens := range map[string]bool{"PING x\r\n": true, "Content-Length: 5\r\n": false} {
		w := newWorld(t, nil, algtest.Masquerade())
		w.adopted(1000, "x")
		lines := []string{send(num(client), 5000), next, send(num(client), 5001)}
		want := []string{lines[0], next, send(num(outside), 5001)}
		if !opens {
			want[2] = lines[2]
		}
		seq := uint32(1001)
		for i, line := range lines {
			if got := w.adopted(seq, line); got != want[i] {
				t.Errorf("%q arrived as %q, want %q", line, got, want[i])
			}
			seq += uint32(len(line))
		}
		if got := len(w.Expectations()); (got == 1) != opens {
			t.Errorf("%d awaited", got)
		}
	}
}
