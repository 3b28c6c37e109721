package ftp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// attack is what two ends say, one of them to open a port that it should not have.
type attack struct {
	place   place
	login   bool // it comes behind a login
	lines   []spoken
	options map[string]any
	left    bool   // the connection is left alone from then on
	counter string // that shows why nothing came of it
	port    int    // where everybody then tries to get in
}

// body is what a browser is made to send to port 21: padding, so that a segment or fragment begins with the command.
func body(begin string, padding int, line string) string {
	return begin + strings.Repeat("A", padding) + "\r\n" + line + "\r\n"
}

const (
	portLine = "PORT 10,77,1,2,19,136"
	eprtLine = "EPRT |1|10.77.1.2|5000|"
	post     = "POST / HTTP/1.1\r\nHost: example.com:21\r\nContent-Length: 99999\r\n\r\n"
)

var attacks = map[string]attack{
	"FTP bounce to a third host inside (RFC 2577, section 3)": {
		place: clientInside, login: true, lines: say("PORT 10,77,1,9,19,136", ""), counter: "foreign-address", port: 5000,
	},
	"FTP bounce to a third host outside": {
		place: clientInside, login: true, lines: say("EPRT |1|192.0.2.66|5000|", ""), counter: "foreign-address", port: 5000,
	},
	"FTP bounce by a client outside, to the server's neighbour": {
		place: serverInside, login: true, lines: say("PORT 10,77,1,51,19,136", ""), counter: "foreign-address", port: 5000,
	},
	"FTP bounce to the router": {
		place: clientInside, login: true, lines: say("PORT 10,77,0,1,19,136", ""), counter: "foreign-address", port: 5000,
	},
	"FTP bounce to a service of the client's": {
		place: clientInside, login: true, lines: say("PORT 10,77,1,2,0,22", ""), counter: "low-port", port: 22,
	},
	"a browser's HTTP, client first": {
		place: clientInside, left: true, lines: say(body(post, 0, portLine), ""), counter: "client-first", port: 5000,
	},
	"a browser's HTTP to a server that greets": {
		place: clientInside, left: true, counter: "not-ftp", port: 5000,
		lines: append([]spoken{{fromServer, "220 come in\r\n331 x\r\n230 you are in", ""}}, say(body(post, 0, portLine), "")...),
	},
	"TLS to a server that greets": {
		place: clientInside, left: true, port: 5000,
		lines: append([]spoken{{fromServer, "220 come in", ""}}, say("\x16\x03\x01\x02\x00"+portLine+"\r\n"+portLine, "")...),
	},
	"slipstreaming 1: SIP in padding": {
		place: clientInside, left: true, counter: "client-first", port: 5000,
		lines: say(body(post, 1460, "REGISTER sip:x SIP/2.0\r\n"+portLine), ""),
	},
	"slipstreaming 2: TURN over TCP": {
		place: clientInside, left: true, port: 5000,
		lines: append([]spoken{{fromServer, "220 x", ""}}, say("\x00\x03\x00\x40\x21\x12\xa4\x42"+body("", 1400, eprtLine), "")...),
	},
	"injection into a user name (XXE, Java's FTP URLs)": {
		place: clientInside, counter: "not-logged-in", port: 5000,
		lines: []spoken{{fromServer, "220 x", ""}, {fromClient, "USER a\r\n" + portLine + "\r\n" + eprtLine, ""}, {fromServer, "331 p", ""}},
	},
	"injection behind the password, before the server has let it in": {
		place: clientInside, counter: "not-logged-in", port: 5000,
		lines: []spoken{{fromServer, "220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "331 p", ""}, {fromClient, "PASS b\r\n" + portLine, ""}, {fromServer, "230 x", ""}},
	},
	"an unasked for 230 is no login": {
		place: clientInside, counter: "not-logged-in", port: 5000,
		lines: []spoken{{fromServer, "220 x\r\n230 you are in", ""}, {fromClient, "NOOP\r\n" + portLine, ""}},
	},
	"a 227 is no login": {
		place: clientInside, counter: "not-logged-in", port: 5000,
		lines: []spoken{{fromServer, "220 x", ""}, {fromClient, "USER x", ""}, {fromServer, "227 (198,51,100,7,19,136)", ""}, {fromClient, portLine, ""}},
	},
	"a 227 of a third host": {
		place: clientInside, login: true, counter: "foreign-address", port: 5000,
		lines: ask("PASV", "227 go (192,0,2,66,19,136)"),
	},
	"a 227 of the client's neighbour": {
		place: clientInside, login: true, counter: "foreign-address", port: 5000,
		lines: ask("PASV", "227 go (10,77,1,9,19,136)"),
	},
	"a 227 that nobody asked for": {
		place: serverInside, login: true, counter: "unsolicited", port: 5000,
		lines: []spoken{{fromServer, "227 go (10,77,1,50,19,136)", ""}},
	},
	"a 227 within a listing (STAT of a file that has the name)": {
		place: serverInside, login: true, port: 5000,
		lines: ask("STAT x\r\nPASV", "213-status\r\n227 go (10,77,1,50,19,136)\r\n 213 x\r\n213-\r\n"),
	},
	"a 227 within an error that repeats the command": {
		place: serverInside, login: true, port: 5000,
		lines: ask("227 go (10,77,1,50,19,136)\r\nPASV", "500 unknown: 227 go (10,77,1,50,19,136)"),
	},
	"a command in a file's name": {
		place: clientInside, login: true, port: 5000, lines: say("STOR x\r"+portLine, ""),
	},
	"a command behind too long a line": {
		place: clientInside, login: true, counter: "too-long", port: 5000,
		lines: say("STOR "+strings.Repeat("x", 507)+portLine, ""),
	},
	"a command behind a NUL": {
		place: clientInside, login: true, port: 5000, lines: say("\x00"+portLine, ""),
	},
	"encrypted, with a command in it": {
		place: clientInside, login: true, left: true, counter: "encrypted", port: 5000,
		lines: append(ask("AUTH TLS", "234 go"), say("\x17\x03\x03\x00\x20\r\n"+portLine, "")...),
	},
	"encrypted without a word": {
		place: clientInside, login: true, left: true, port: 5000, lines: say("\x16\x03\x01\x02\x00\r\n"+portLine, ""),
	},
	"behind AUTH, of which the server throws it away": {
		place: clientInside, login: true, counter: "auth-pending", port: 5000, lines: say("AUTH TLS\r\n"+portLine, ""),
	},
	"behind AUTH, half of it before encryption": {
		place: clientInside, login: true, left: true, options: map[string]any{"ccc": true}, counter: "encrypted", port: 5000,
		lines: []spoken{{fromClient, "AUTH TLS\r\n" + portLine[:9] + "~", ""}, {fromServer, "234 go", ""}, {fromClient, "\r\n" + portLine, ""}},
	},
}

// Each attack fails closed: what is said leaves as it came, nobody is awaited, and nobody gets in.
func TestAttacks(t *testing.T) {
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, a.place, a.options)
			c := w.dial(1025)
			if a.login {
				c = w.session(1026)
			}
			for _, l := range a.lines {
				text := strings.TrimSuffix(l.said, "~")
				if len(text) == len(l.said) {
					text += "\r\n"
				}
				for from := 0; from < len(text); from += 1000 {
					part := text[from:min(from+1000, len(text))]
					want(t, "said", c.Say(l.dir, part), part)
				}
			}
			w.awaits(t, 0)
			for _, from := range []string{w.client, w.server, w.third} {
				for _, to := range []string{w.asClient, w.asServer} {
					if algtest.WAN == w.Route(addrPort(from, 20).Addr()) && w.Route(addrPort(to, 1).Addr()) == algtest.WAN {
						if got := w.Connect(host(from, 20), host(to, a.port)); strings.Contains(got, ">") {
							t.Errorf("%s gets in: %s", from, got)
						}
					}
				}
			}
			if c.Helped() == a.left {
				t.Errorf("helped: %v", c.Helped())
			}
			if a.counter != "" && w.Count("ftp", a.counter) == 0 {
				t.Errorf("not counted as %s: %v", a.counter, w.Kit.Counters())
			}
			if a.left { // for good: not even a right dialogue is read now
				for _, l := range dialogue {
					c.Say(l.dir, l.text)
				}
				want(t, "later", c.Say(fromClient, portLine+"\r\n"), portLine+"\r\n")
				w.awaits(t, 0)
			}
		})
	}
}

// Slipstreaming chooses where segments begin, by its MSS, by fragments and by padding. Whatever begins there, it is not
// the first byte of the connection.
func TestSegmentsBeginAnywhere(t *testing.T) {
	w, n := newWorld(t, clientInside, nil), 1024
	for _, begin := range []string{post, "STOR ", "A"} {
		for padding := 1390; padding < 1470; padding++ {
			n++
			c := w.session(n)
			text := body(begin, padding, "x") + strings.Repeat("B", 7) + portLine + "\r\n"
			at := strings.Index(text, portLine)
			for from := 0; from < at; from += 1400 {
				c.Say(fromClient, text[from:min(at, from+1400)])
			}
			want(t, "the command's segment", c.Say(fromClient, text[at:]), text[at:])
			w.awaits(t, 0)
		}
	}
}

// A connection whose beginning the router has not seen is never read: what seems to be its first byte is not.
func TestJoinedLate(t *testing.T) {
	w := newWorld(t, clientInside, nil)
	c := w.session(1025)
	for _, e := range w.Table.Expectations(w.Now, 0) {
		w.Table.Unexpect(e.ID)
	}
	w.Table.Delete(w.Now, c.ID) // as after a restart
	c.Say(fromClient, "NOOP\r\n")
	for _, l := range dialogue {
		c.Say(l.dir, l.text)
	}
	want(t, "command", c.Say(fromClient, portLine+"\r\n"), portLine+"\r\n")
	w.awaits(t, 0)
	if w.Count("ftp", "joined-late") == 0 || c.Drops > 0 {
		t.Error("not counted")
	}
}

// FTPS is encrypted from its first byte on: the helper is never on it, whatever a rule says, on either side of NAT.
func TestImplicitTLS(t *testing.T) {
	w := newWorld(t, clientInside, nil)
	c := w.Dial(host(w.client, 1025), host(w.asServer, implicitPort))
	for _, l := range dialogue {
		c.Say(l.dir, l.text)
	}
	want(t, "command", c.Say(fromClient, portLine+"\r\n"), portLine+"\r\n")
	if w.awaits(t, 0); c.Helped() {
		t.Error("helped")
	}
}

// A flood of commands: one connection is awaited, one port reserved, and there is an end to it. What was refused by
// number leaves as it came, and later there is more.
func TestFlood(t *testing.T) {
	w := newWorld(t, clientInside, nil)
	c := w.session(1025)
	before := w.NAT.Stats().Mappings
	changed := 0
	start := w.Now
	for i := range 3 * burst {
		text := fmt.Sprintf("PORT 10,77,1,2,%d,%d\r\n", 40+i/256, i%256)
		if c.Say(fromClient, text) != text {
			changed++
		}
		if n := len(w.Expectations()); n > 1 {
			t.Fatalf("%d awaited", n)
		}
		if n := w.NAT.Stats().Mappings; n > before+1 {
			t.Fatalf("%d mappings, %d before", n, before)
		}
		w.Now = start // as fast as can be
	}
	if changed < burst || changed > burst+1 {
		t.Errorf("%d commands helped at once, want %d", changed, burst)
	}
	if n := w.Count("ftp", "too-many"); n == 0 {
		t.Error("nothing counted")
	}
	w.Now += second / 2
	changed = 0
	for i := range rate {
		text := fmt.Sprintf("PORT 10,77,1,2,90,%d\r\n", i)
		at := w.Now
		if c.Say(fromClient, text) != text {
			changed++
		}
		w.Now = at
	}
	if changed != rate/2 {
		t.Errorf("%d more in half a second, want %d", changed, rate/2)
	}
}

// Who is let in is the end of the control connection, to the port that was named, from any port or, by strict20, from 20;
// and once.
func TestExactPeer(t *testing.T) {
	for name, tt := range map[string]struct {
		strict bool
		from   string
		to     string
		in     bool
	}{
		"the server":               {false, "198.51.100.7:20", "203.0.113.1:5000", true},
		"the server, another port": {false, "198.51.100.7:60000", "203.0.113.1:5000", true},
		"its neighbour":            {false, "198.51.100.8:20", "203.0.113.1:5000", false},
		"the next port":            {false, "198.51.100.7:20", "203.0.113.1:5001", false},
		"strict20":                 {true, "198.51.100.7:20", "203.0.113.1:5000", true},
		"strict20, another port":   {true, "198.51.100.7:21", "203.0.113.1:5000", false},
		"the client's own address": {false, "198.51.100.7:20", "10.77.1.2:5000", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, clientInside, map[string]any{"strict20": tt.strict})
			w.session(1025).Say(fromClient, portLine+"\r\n")
			got := w.Connect(tt.from, tt.to)
			if in := strings.HasSuffix(got, ">10.77.1.2:5000"); in != tt.in || in && got != tt.from+">10.77.1.2:5000" {
				t.Errorf("went %s", got)
			}
			if tt.in {
				if got := w.Connect("198.51.100.7:21", tt.to); strings.Contains(got, ">") {
					t.Errorf("twice: %s", got)
				}
			}
		})
	}
}

// The data connection has the mark of its master, and no helper: what it carries opens nothing.
func TestChild(t *testing.T) {
	w := newWorld(t, clientInside, nil)
	c := w.session(1025)
	c.Say(fromClient, "PORT 10,77,1,2,19,136\r\n")
	w.goes(t, host(w.server, 21), "203.0.113.1:5000", host(w.server, 21)+">10.77.1.2:5000")
	if l := &w.Last; l.Helper != 0 || l.Status&conntrack.Expected == 0 || l.Master != c.ID || l.Tuples[0].Proto != packet.ProtoTCP {
		t.Errorf("child: helper %d, status %v, master %v", l.Helper, l.Status, l.Master)
	}
}
