package ftp

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// beginnings are ways in which a control connection may begin. Where helped is set, a command behind them is helped.
var beginnings = map[string]struct {
	lines  []spoken
	helped bool
}{
	"200 to USER":                    {[]spoken{{fromServer, "220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "200 ok", ""}}, true},
	"250 to PASS":                    {[]spoken{{fromServer, "220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "331 x", ""}, {fromClient, "PASS a", ""}, {fromServer, "250 ok", ""}}, true},
	"299 to ACCT":                    {[]spoken{{fromServer, "220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "332 x", ""}, {fromClient, "ACCT a", ""}, {fromServer, "299-ok\r\n299 ok", ""}}, true},
	"331 is no login":                {[]spoken{{fromServer, "220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "331 x", ""}}, false},
	"530 is no login":                {[]spoken{{fromServer, "220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "530 no", ""}}, false},
	"120 is no login":                {[]spoken{{fromServer, "220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "120 soon", ""}}, false},
	"a late 200 is no login":         {[]spoken{{fromServer, "220 x", ""}, {fromClient, "NOOP\r\nUSER a", ""}, {fromServer, "200 ok", ""}}, false},
	"NOOP is never answered":         {[]spoken{{fromServer, "220 x", ""}, {fromClient, "NOOP\r\nUSER a", ""}, {fromServer, "230 in", ""}}, true},
	"a greeting of 200":              {[]spoken{{fromServer, "200 x", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, true},
	"a greeting of 120 and 220":      {[]spoken{{fromServer, "120 soon\r\n220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, true},
	"no greeting but 120":            {[]spoken{{fromServer, "120 soon", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, false},
	"no greeting but 421":            {[]spoken{{fromServer, "421 full", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, false},
	"text before the greeting":       {[]spoken{{fromServer, "welcome to x", ""}, {fromServer, "220 ready", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, true},
	"an empty line before it":        {[]spoken{{fromServer, "\r\n \r\n220 ready", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, true},
	"colours before it":              {[]spoken{{fromServer, "\x1b[1mx\r\n220 ready", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, true},
	"text that is not ASCII":         {[]spoken{{fromServer, "\xc3\xa9t\xc3\xa9\r\n220 ready", ""}, {fromClient, "USER a", ""}, {fromServer, "\xe9\r\n230 ok", ""}}, true},
	"a NUL before it":                {[]spoken{{fromServer, "\x00\r\n220 ready", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, true},
	"Telnet before the greeting":     {[]spoken{{fromServer, "\xff\xfb\x01\xff\xfd\x03220 ready", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, true},
	"Telnet before a reply":          {[]spoken{{fromServer, "220 ready", ""}, {fromClient, "USER a", ""}, {fromServer, "\xff\xf1230 ok", ""}}, true},
	"a negotiation":                  {[]spoken{{fromServer, "\xff\xfa\x18\x01\xff\xf0220 ready", ""}, {fromClient, "\xff\xfa\x18\x00vt\xff\xf0USER a", ""}, {fromServer, "230 ok", ""}}, true},
	"Telnet in answer, ungreeted":    {[]spoken{{fromServer, "\xff\xfb\x01\r\n", ""}, {fromClient, "\xff\xfe\x01", ""}, {fromServer, "220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, true},
	"empty lines of the client":      {[]spoken{{fromClient, "", ""}, {fromServer, "220 x", ""}, {fromClient, "\r\nUSER a", ""}, {fromServer, "230 ok", ""}}, true},
	"TLS of the server":              {[]spoken{{fromServer, "\x15\x03\x03\x00\x02\x02\x28\r\n220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, false},
	"OPEN, to a proxy":               {[]spoken{{fromServer, "220 x", ""}, {fromClient, "OPEN ftp.example.com", ""}, {fromServer, "220 there", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, true},
	"SITE, to a proxy":               {[]spoken{{fromServer, "220 x", ""}, {fromClient, "site ftp.example.com", ""}, {fromServer, "220 there", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, true},
	"CONNECT, to a proxy":            {[]spoken{{fromServer, "220 x", ""}, {fromClient, "CONNECT x:25 HTTP/1.1", ""}, {fromServer, "220 there", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, false},
	"a NUL first":                    {[]spoken{{fromServer, "220 x", ""}, {fromClient, "\x00", ""}, {fromClient, "USER a", ""}, {fromServer, "230 ok", ""}}, false},
	"a NUL in the password":          {[]spoken{{fromServer, "220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "331 x", ""}, {fromClient, "PASS \x00\x00", ""}, {fromServer, "230 ok", ""}}, true},
	"lines with NULs":                {[]spoken{{fromServer, "220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "230 x", ""}, {fromClient, "\x00NOOP\r\nNO\x00OP\r\n\x00", ""}, {fromServer, "500 no", ""}}, true},
	"a login of 200 after one of 53": {[]spoken{{fromServer, "220 x", ""}, {fromClient, "USER a", ""}, {fromServer, "530 no", ""}, {fromClient, "USER b", ""}, {fromServer, "200 ok", ""}}, true},
}

// endpoint returns a command with an endpoint of the client's, as it is said and as it must be heard.
func (p *place) command(port int) (said, heard string) {
	if a := netip.MustParseAddr(p.client); a.Is6() {
		return "EPRT " + piped(p.client, port), "EPRT " + piped(p.asClient, port)
	}
	return "PORT " + numbers6(p.client, port), "PORT " + numbers6(p.asClient, port)
}

// passive is the same of the server's reply to PASV or EPSV.
func (p *place) passive(port int) (command, said, heard string) {
	if a := netip.MustParseAddr(p.server); a.Is6() {
		text := fmt.Sprintf("229 go (|||%d|)", port)
		return "EPSV", text, text
	}
	return "PASV", "227 go (" + numbers6(p.server, port) + ")", "227 go (" + numbers6(p.asServer, port) + ")"
}

// However a dialogue begins, what is helped behind it is both kinds of data connection, wherever the two ends are.
func TestBeginnings(t *testing.T) {
	for name, b := range beginnings {
		t.Run(name, func(t *testing.T) {
			for _, p := range places {
				w := newWorld(t, p, nil)
				c := w.dial(1025)
				for _, l := range b.lines {
					want(t, l.said, c.Say(l.dir, l.said+"\r\n"), l.said+"\r\n")
				}
				said, heard := p.command(5000)
				if !b.helped {
					heard = said
				}
				want(t, p.name, c.Say(fromClient, said+"\r\n"), heard+"\r\n")
				if w.awaits(t, map[bool]int{true: 1}[b.helped]); b.helped {
					w.goes(t, host(p.server, 20), host(p.asClient, 5000), host(p.asServer, 20)+">"+host(p.client, 5000))
				}
				command, said, heard := p.passive(6000)
				if b.helped {
					c.Say(fromServer, "200 fine\r\n")
				} else {
					heard = said
				}
				c.Say(fromClient, command+"\r\n")
				want(t, p.name, c.Say(fromServer, said+"\r\n"), heard+"\r\n")
				if b.helped {
					w.goes(t, host(p.client, 7000), host(p.asServer, 6000), host(p.asClient, 7000)+">"+host(p.server, 6000))
				}
			}
		})
	}
}

// A server that replies twice to one command is read on: no inside address goes out in the reply that follows.
func TestOutOfStepServerInside(t *testing.T) {
	for _, reply := range []string{"250 changed", "200 ok", "350 go on", "299-a\r\n299 b", "150 x\r\n226 done"} {
		w := newWorld(t, serverInside, nil)
		c := w.session(1025)
		c.Say(fromClient, "CWD a\r\n")
		c.Say(fromServer, "200 OK\r\n")
		for _, passive := range [][2]string{{"PASV", "227 go (%s)"}, {"EPSV", "227 go (%s)"}, {"PASV", "227 =%s"}} {
			c.Say(fromClient, passive[0]+"\r\n")
			c.Say(fromServer, reply+"\r\n")
			said := fmt.Sprintf(passive[1], numbers6(w.server, 7685))
			want(t, reply, c.Say(fromServer, said+"\r\n"), fmt.Sprintf(passive[1], numbers6(w.asServer, 7685))+"\r\n")
			w.goes(t, host(w.client, 7000), host(w.asServer, 7685), host(w.client, 7000)+">"+host(w.server, 7685))
			w.Advance(10 * time.Minute)
		}
	}
}

// A refusal of what follows takes nothing back that the server has taken, whichever command it seems to be for.
func TestOutOfStepClientInside(t *testing.T) {
	for _, p := range places {
		w := newWorld(t, p, nil)
		c := w.session(1025)
		c.Say(fromClient, "NOOP\r\n")
		said, _ := p.command(5000)
		c.Say(fromClient, said+"\r\n")
		c.Say(fromServer, "200 ok\r\n")
		c.Say(fromClient, "SIZE b\r\n")
		c.Say(fromServer, "500 no\r\n")
		w.goes(t, host(p.server, 20), host(p.asClient, 5000), host(p.asServer, 20)+">"+host(p.client, 5000))
	}
}

// 0,0,0,0 in a 227 is the speaker: behind NAT his outside address is told, and the connection gets to him. Over IPv6, for
// which 227 has no room, it stays.
func TestUnspecified(t *testing.T) {
	for _, p := range places {
		w := newWorld(t, p, nil)
		c := w.session(1025)
		c.Say(fromClient, "PASV\r\n")
		heard := numbers6("0.0.0.0", 7685)
		if p.server != p.asServer && netip.MustParseAddr(p.asServer).Is4() {
			heard = numbers6(p.asServer, 7685)
		}
		want(t, p.name, c.Say(fromServer, "227 ("+numbers6("0.0.0.0", 7685)+")\r\n"), "227 ("+heard+")\r\n")
		w.goes(t, host(p.client, 7000), host(p.asServer, 7685), host(p.asClient, 7000)+">"+host(p.server, 7685))
	}
}

// lateLines are lines that come in two parts, the second too late: what is said before, and the parts.
var lateLines = map[string]struct {
	place place
	ask   string
	dir   conntrack.Direction
	parts [2]string
	again string // the same kind of line, whole, that is helped
}{
	"PORT":          {clientInside, "", fromClient, [2]string{"PORT 10,", "77,1,2,19,136\r\n"}, "PORT 10,77,1,2,19,137\r\n"},
	"a letter":      {clientInside, "", fromClient, [2]string{"p", "ort 10,77,1,2,19,136\r\n"}, "port 10,77,1,2,19,137\r\n"},
	"all but LF":    {clientInside, "", fromClient, [2]string{"PORT 10,77,1,2,19,136\r", "\n"}, "PORT 10,77,1,2,19,137\r\n"},
	"EPRT":          {clientInside, "", fromClient, [2]string{"EPRT |1|10.77", ".1.2|5000|\r\n"}, "EPRT |1|10.77.1.2|5001|\r\n"},
	"EPRT, IPv6":    {places[5], "", fromClient, [2]string{"EPRT |2|fd", "77::2|5000|\r\n"}, "EPRT |2|fd77::2|5001|\r\n"},
	"LPRT":          {clientInside, "", fromClient, [2]string{"LPRT 4,4,10", ",77,1,2,2,19,136\r\n"}, "LPRT 4,4,10,77,1,2,2,19,137\r\n"},
	"227":           {serverInside, "PASV", fromServer, [2]string{"227 go (10,77", ",1,50,19,136)\r\n"}, "227 go (10,77,1,50,19,137)\r\n"},
	"227, a digit":  {serverInside, "PASV", fromServer, [2]string{"2", "27 go (10,77,1,50,19,136)\r\n"}, "227 go (10,77,1,50,19,137)\r\n"},
	"227 to EPSV":   {serverInside, "EPSV", fromServer, [2]string{"227 go (10,77", ",1,50,19,136)\r\n"}, "227 go (10,77,1,50,19,137)\r\n"},
	"228":           {serverInside, "LPSV", fromServer, [2]string{"228 go (4,4", ",10,77,1,50,2,19,136)\r\n"}, "228 go (4,4,10,77,1,50,2,19,137)\r\n"},
	"229":           {serverInside, "EPSV", fromServer, [2]string{"229 go (|||", "5000|)\r\n"}, "229 go (|||5001|)\r\n"},
	"229, IPv6":     {places[6], "EPSV", fromServer, [2]string{"229 go (|||", "5000|)\r\n"}, "229 go (|||5001|)\r\n"},
	"behind Telnet": {serverInside, "PASV", fromServer, [2]string{"\xff\xf1227 go (10", ",77,1,50,19,136)\r\n"}, "227 go (10,77,1,50,19,137)\r\n"},
}

// inside is what no line says outside that was whole in time.
var inside = regexp.MustCompile(`10[.,]77|fd77`)

// A part of a line waits for two seconds; then it leaves as it is, and the line opens nothing. The next one is helped, and
// so is a line that is whole in time.
func TestLate(t *testing.T) {
	for name, tt := range lateLines {
		for _, wait := range []time.Duration{time.Second, 2 * time.Second, time.Minute} {
			t.Run(fmt.Sprint(name, " ", wait), func(t *testing.T) {
				w := newWorld(t, tt.place, lprt)
				c := splitSession(w, tt.ask, 1025)
				from := len(c.Heard(tt.dir))
				want(t, "part", c.Say(tt.dir, tt.parts[0]), "")
				w.Advance(wait)
				late := wait >= 2*time.Second
				c.Segment(tt.dir, c.Acked(tt.dir), c.Sent(tt.dir), packet.Meta{}, nil)
				heard := map[bool]string{true: tt.parts[0]}[late]
				want(t, "part, again", string(c.Heard(tt.dir)[from:]), heard)
				c.Ack(1-tt.dir, nil)
				c.Say(tt.dir, tt.parts[1])
				line := tt.parts[0] + tt.parts[1]
				if got := string(c.Heard(tt.dir)[from:]); late && got != line || !late && inside.MatchString(got) {
					t.Errorf("late %v: %q became %q", late, line, got)
				}
				w.awaits(t, map[bool]int{false: 1}[late])
				if late && (w.Count("ftp", "not-held") != 1 || w.Count("ftp", "let-go") != 1) {
					t.Errorf("counted: %v", w.Kit.Counters())
				}
				if tt.ask != "" {
					c.Say(fromClient, tt.ask+"\r\n")
				}
				from = len(c.Heard(tt.dir))
				if c.Say(tt.dir, tt.again); len(c.Heard(tt.dir)) == from || !c.Helped() {
					t.Errorf("the next: %q, helped %v", c.Heard(tt.dir)[from:], c.Helped())
				}
				w.awaits(t, 1)
			})
		}
	}
}

// Where the receiver's window has no room for more than a part of a line, that leaves at once, and the line opens nothing;
// where it has, the line is helped. algtest scales windows by 7 bits, so spaces make the part 128 bytes long.
func TestNarrowWindow(t *testing.T) {
	for name, tt := range lateLines {
		at := 1 + strings.Index(tt.parts[0], " ")
		if at == 0 {
			continue
		}
		part := tt.parts[0][:at] + strings.Repeat(" ", 128-len(tt.parts[0])) + tt.parts[0][at:]
		for _, win := range []uint16{1, 2} {
			t.Run(fmt.Sprint(name, " ", win), func(t *testing.T) {
				w := newWorld(t, tt.place, lprt)
				c := splitSession(w, tt.ask, 1025)
				c.Window[1-tt.dir] = win
				c.Ack(1-tt.dir, nil)
				want(t, "part", c.Say(tt.dir, part), map[bool]string{true: part}[win == 1])
				c.Say(tt.dir, tt.parts[1])
				w.awaits(t, map[bool]int{true: 1}[win == 2])
				if n := w.Count("ftp", "not-held"); (n == 1) != (win == 1) || !c.Helped() {
					t.Errorf("not held %d, helped %v", n, c.Helped())
				}
			})
		}
	}
}
