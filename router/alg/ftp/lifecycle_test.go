package ftp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// What is awaited ends with the control connection's server side; a client that closes its side may still be sent what
// it asked for.
func TestEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(c *algtest.Conn)
		left int
	}{
		"the client closes": {func(c *algtest.Conn) { c.Close(fromClient) }, 1},
		"the server closes": {func(c *algtest.Conn) { c.Close(fromServer) }, 0},
		"the client resets": {func(c *algtest.Conn) { c.Reset(fromClient) }, 0},
		"the server resets": {func(c *algtest.Conn) { c.Reset(fromServer) }, 0},
		"nobody":            {func(*algtest.Conn) {}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, clientInside, nil)
			c := w.session(1025)
			c.Say(fromClient, portLine+"\r\nRETR x\r\n")
			tt.end(c)
			w.awaits(t, tt.left)
		})
	}
}

// What is awaited is awaited for 300 s, whatever else is said meanwhile.
func TestLifetime(t *testing.T) {
	w := newWorld(t, clientInside, nil)
	c := w.session(1025)
	c.Say(fromClient, portLine+"\r\n")
	c.Say(fromServer, "200 fine\r\n")
	w.Advance(lifetime - time.Second)
	c.Say(fromClient, "NOOP\r\n")
	w.awaits(t, 1)
	w.Advance(2 * time.Second)
	w.awaits(t, 0)
	w.goes(t, host(w.server, 20), "203.0.113.1:5000", packet.NoMapping.String())
	want(t, "again", c.Say(fromClient, portLine+"\r\n"), "PORT 203,0,113,1,19,136\r\n")
	w.awaits(t, 1)
}

// Two clients behind one address that named the same port, and one client with two sessions, keep their connections
// apart.
func TestSamePort(t *testing.T) {
	w := newWorld(t, clientInside, nil)
	first := w.session(1025)
	other := w.Dial("10.77.1.3:1025", host(w.asServer, 21))
	for _, l := range dialogue {
		other.Say(l.dir, l.text)
	}
	want(t, "first", first.Say(fromClient, "EPRT |1|10.77.1.2|5000|\r\n"), "EPRT |1|203.0.113.1|5000|\r\n")
	heard := other.Say(fromClient, "EPRT |1|10.77.1.3|5000|\r\n")
	var port int
	if _, err := fmt.Sscanf(heard, "EPRT |1|203.0.113.1|%d|", &port); err != nil || port == 5000 {
		t.Fatalf("heard %q", heard)
	}
	w.goes(t, host(w.server, 20), host("203.0.113.1", port), host(w.server, 20)+">10.77.1.3:5000")
	w.goes(t, host(w.server, 20), "203.0.113.1:5000", host(w.server, 20)+">10.77.1.2:5000")

	second := w.session(1026)
	for _, c := range []*algtest.Conn{first, second} {
		c.Say(fromClient, "EPSV\r\n")
		c.Say(fromServer, "229 (|||6000|)\r\n")
	}
	if n := w.Count("ftp", alg.CountRefusedBusy); n != 1 {
		t.Errorf("%d refused: the same tuple can't be awaited for two", n)
	}
	w.goes(t, host(w.client, 7000), host(w.asServer, 6000), host(w.asClient, 7000)+">"+host(w.server, 6000))
}

// A rewrite that makes a full segment outgrow the MTU makes two of it, and none is lost.
func TestOutgrowsMTU(t *testing.T) {
	w := newWorld(t, clientInside, nil)
	c := w.session(1025)
	text := "x\r\n" + strings.Repeat("NOOP\r\n", 239) + "PORT 10,77,1,2,19,136\r\n"
	wanted := strings.Replace(text, "10,77,1,2", "203,0,113,1", 1)
	if got := c.Say(fromClient, text); got != wanted || len(text) != 1460 || len(got) != 1462 {
		t.Errorf("%d bytes became %d: ...%q", len(text), len(got), got[max(0, len(got)-40):])
	}
	if c.Acked(fromClient) != c.Said(fromClient) || c.Drops > 0 {
		t.Errorf("%d of %d acknowledged", c.Acked(fromClient), c.Said(fromClient))
	}
}

// A super-segment is read as one stream, and its segments carry the result.
func TestSuperSegment(t *testing.T) {
	w := newWorld(t, clientInside, nil)
	c := w.session(1025)
	text := strings.Repeat("NOOP\r\n", 300) + "PORT 10,77,1,2,19,136\r\n" + strings.Repeat("NOOP\r\n", 300)
	from, start := len(c.Heard(fromClient)), c.Sent(fromClient)
	c.Write(fromClient, text)
	c.Segment(fromClient, start, c.Said(fromClient), packet.Meta{GSO: packet.GSOTCPv4, SegSize: 1460}, nil)
	want(t, "heard", string(c.Heard(fromClient)[from:]), strings.Replace(text, "10,77,1,2", "203,0,113,1", 1))
}

// A control connection that lives for eight hours with thousands of rewrites, loss and other orders in both directions,
// up to where sequence numbers have wrapped: both ends agree on every byte, and every transfer gets through.
func TestLongLife(t *testing.T) {
	for _, p := range []place{clientInside, serverInside} {
		w := newWorld(t, p, nil)
		c := w.session(1025)
		r := rand.New(rand.NewPCG(7, 7))
		cut := func(int) int { return 1 + r.IntN(30) }
		var heard [2]strings.Builder
		from := [2]int{len(c.Heard(0)), len(c.Heard(1))}
		say := func(dir conntrack.Direction, said, hears string) {
			heard[dir].WriteString(hears + "\r\n")
			c.Write(dir, said+"\r\n")
			if start := c.Sent(dir); r.IntN(3) == 0 { // sent at once, and perhaps lost
				c.Segment(dir, start, c.Said(dir), packet.Meta{}, func() bool { return r.IntN(3) == 0 })
			}
			c.Settle(dir, cut)
		}
		for i := range 600 {
			port := 20000 + i
			if p.name == clientInside.name {
				say(fromClient, "PORT "+numbers6(w.client, port), "PORT "+numbers6(w.asClient, port))
				say(fromServer, "200 fine", "200 fine")
				w.goes(t, host(w.server, 20), host(w.asClient, port), host(w.server, 20)+">"+host(w.client, port))
			} else {
				say(fromClient, "PASV", "PASV")
				say(fromServer, "227 "+numbers6(w.server, port), "227 "+numbers6(w.asServer, port))
				w.goes(t, host(w.client, 7000), host(w.asServer, port), host(w.client, 7000)+">"+host(w.server, port))
			}
			if w.Advance(48 * time.Second); t.Failed() {
				t.Fatalf("%s: transfer %d", p.name, i)
			}
		}
		for dir := range conntrack.Direction(2) {
			if got := string(c.Heard(dir)[from[dir]:]); got != heard[dir].String() {
				t.Errorf("%s, %s: %d bytes heard, want %d", p.name, dir, len(got), heard[dir].Len())
			}
		}
		if !c.Helped() {
			t.Errorf("%s: not helped any more", p.name)
		}
	}
}

// CCC ends encryption (RFC 4217, section 12.3). By ccc the helper reads on, at a record's end and nowhere else.
func TestCCC(t *testing.T) {
	const record = "\x17\x03\x03\x00\x1d\r\nPORT 10,77,1,2,19,136\r\nxxxx"
	for name, tt := range map[string]struct {
		options map[string]any
		there   string // what the client sends encrypted
		back    string
		reads   bool
	}{
		"off":                      {nil, record, record, false},
		"on":                       {map[string]any{"ccc": true}, record + record + "\x15\x03\x03\x00\x02\x01\x00", record, true},
		"an empty record":          {map[string]any{"ccc": true}, "\x17\x03\x03\x00\x00", record, true},
		"no record":                {map[string]any{"ccc": true}, "", record, false},
		"too long a record":        {map[string]any{"ccc": true}, "\x17\x03\x03\x48\x01" + strings.Repeat("x", 18433), record, false},
		"another version":          {map[string]any{"ccc": true}, "\x17\x02\x03\x00\x00", record, false},
		"no type of record":        {map[string]any{"ccc": true}, record + "\x18\x03\x03\x00\x00", record, false},
		"within a record":          {map[string]any{"ccc": true}, record[:12], record, false},
		"within a record's header": {map[string]any{"ccc": true}, record + record[:3], record, false},
	} {
		t.Run(name, func(t *testing.T) {
			for cut := range 3 {
				w := newWorld(t, clientInside, tt.options)
				c := w.session(1025)
				c.Say(fromClient, "AUTH TLS\r\n")
				c.Say(fromServer, "234 go\r\n")
				for n, rest := []int{1, 3, 1400}[cut], tt.there; len(rest) > 0; rest = rest[min(n, len(rest)):] {
					part := rest[:min(n, len(rest))]
					want(t, "encrypted", c.Say(fromClient, part), part)
				}
				want(t, "encrypted", c.Say(fromServer, tt.back), tt.back)
				heard := portLine + "\r\n"
				if tt.reads {
					heard = "PORT 203,0,113,1,19,136\r\n"
				}
				want(t, "after", c.Say(fromClient, portLine+"\r\n"), heard)
				w.awaits(t, map[bool]int{true: 1}[tt.reads])
				if tt.reads { // and replies count again
					c.Say(fromServer, "500 no\r\n")
					w.awaits(t, 0)
				}
			}
		})
	}
}

// More commands than are remembered: the latest count, and none is taken for another.
func TestPipelining(t *testing.T) {
	const inner, outer = "227 (10,77,1,50,19,136)\r\n", "227 (203,0,113,1,19,136)\r\n"
	for _, n := range []int{1, maxPending - 1, maxPending, maxPending + 1, 100} {
		w := newWorld(t, serverInside, nil)
		c := w.session(1025)
		c.Say(fromClient, strings.Repeat("NOOP\r\n", n)+"PASV\r\n")
		c.Say(fromServer, strings.Repeat("200 x\r\n", n-1))
		want(t, "the latest", c.Say(fromServer, "200 x\r\n"+inner), "200 x\r\n"+outer)
		c.Say(fromClient, "PASV\r\n"+strings.Repeat("NOOP\r\n", n))
		want(t, "an older one", c.Say(fromServer, inner), map[bool]string{true: outer, false: inner}[n < maxPending])
	}
}

func TestConfigure(t *testing.T) {
	for name, tt := range map[string]struct {
		value any
		good  bool
	}{
		"loose": {algtest.Ranges("10.0.0.0/8"), true}, "data_port": {algtest.Port(5), true}, "deny_port": {algtest.Port(5), true}, "min_port": {1, true},
		"strict20": {true, true}, "lprt": {true, true}, "ccc": {false, true}, "port": {21, false},
	} {
		for value, good := range map[any]bool{&tt: tt.good, "x": false, nil: false, 0: false, 65536: false} {
			options := map[string]any{name: value}
			if value == any(&tt) {
				options[name] = tt.value
			}
			if _, err := New().Configure(options); (err == nil) != good {
				t.Errorf("%v: %v", options, err)
			}
		}
	}
	if s, err := New().Configure(nil); err != nil || s.(*settings).minPort != 1024 {
		t.Errorf("defaults: %v, %v", s, err)
	}
}

// Lines that are not of interest cost no memory.
func TestAllocations(t *testing.T) {
	w := newWorld(t, clientInside, nil)
	c := w.session(1025)
	m := &paper{ends: [2]end{{inner: addrPort("10.77.1.2", 1).Addr(), outer: addrPort("203.0.113.1", 1).Addr()}, {inner: addrPort("198.51.100.7", 1).Addr(), outer: addrPort("198.51.100.7", 1).Addr()}}}
	s := New().New(m, nil)
	for _, l := range dialogue {
		s.Stream(m, l.dir, []byte(l.text))
	}
	there := []byte("RETR some/file\r\nPOR\r\n\xff\xf4\xff\xf2ABOR\r\nPA")
	back := []byte("150 Opening data connection\r\n226-Done\r\n more text\r\n226 \r\n227 un")
	if n := testing.AllocsPerRun(100, func() {
		s.Stream(m, fromClient, there)
		s.Stream(m, fromServer, back)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !c.Helped() {
		t.Error("not helped")
	}
}

// Where no port is free, and where nobody more can be awaited, what was said leaves as it came, and nothing is kept.
func TestNoRoom(t *testing.T) {
	w := newWorld(t, clientInside, nil)
	c := w.session(1025)
	outside := addrPort(w.asClient, 1).Addr()
	taken := 0
	for port := range 1 << 16 {
		if got, ok := w.NAT.Reserve(w.Now, packet.ProtoTCP, outside, netip.AddrPortFrom(netip.MustParseAddr("10.77.1.99"), uint16(port))); ok && got != 0 {
			taken++
		}
	}
	want(t, "no port", c.Say(fromClient, portLine+"\r\n"), portLine+"\r\n")
	if w.awaits(t, 0); w.Count("ftp", "no-port") != 1 || taken < 60000 {
		t.Errorf("%d ports taken, %v", taken, w.Kit.Counters())
	}

	tracker := conntrack.DefaultConfig()
	tracker.MaxExpect = 1
	p := clientInside
	w = &world{algtest.New(t, algtest.Config{
		Helpers: []alg.Helper{New()}, NAT: p.rules, Tracker: &tracker,
		Rules: []alg.Rule{{Name: "ftp", Proto: packet.ProtoTCP, Ports: algtest.Port(port)}},
	}), p}
	first, second := w.session(1025), w.session(1026)
	want(t, "first", first.Say(fromClient, "PORT 10,77,1,2,19,136\r\n"), "PORT 203,0,113,1,19,136\r\n")
	mappings := w.NAT.Stats().Mappings
	want(t, "second", second.Say(fromClient, "PORT 10,77,1,2,19,137\r\n"), "PORT 10,77,1,2,19,137\r\n")
	if w.awaits(t, 1); w.Count("ftp", alg.CountRefusedFull) != 1 || w.NAT.Stats().Mappings != mappings {
		t.Errorf("%d mappings, %d before; %v", w.NAT.Stats().Mappings, mappings, w.Kit.Counters())
	}
}

// What has left can't be changed: a command whose first half went before the login, which nothing held then, is not
// helped, and the next one is.
func TestNotHeld(t *testing.T) {
	w := newWorld(t, clientInside, nil)
	c := w.dial(1025)
	c.Say(fromServer, "220 ready\r\n")
	want(t, "first half", c.Say(fromClient, "USER u\r\n"+portLine[:12]), "USER u\r\n"+portLine[:12])
	c.Say(fromServer, "230 welcome\r\n")
	want(t, "second half", c.Say(fromClient, portLine[12:]+"\r\n"), portLine[12:]+"\r\n")
	if w.awaits(t, 0); w.Count("ftp", "not-held") != 1 || !c.Helped() {
		t.Errorf("helped %v, %v", c.Helped(), w.Kit.Counters())
	}
	want(t, "the next", c.Say(fromClient, portLine+"\r\n"), "PORT 203,0,113,1,19,136\r\n")

	// The verb may have gone: it is not changed.
	c = w.dial(1026)
	c.Say(fromServer, "220 ready\r\n")
	c.Say(fromClient, "USER u\r\nPORT ")
	c.Say(fromServer, "230 welcome\r\n")
	want(t, "its argument", c.Say(fromClient, portLine[5:]+"\r\n"), fmt.Sprintf("203,0,113,1,%s\r\n", outsidePort(w)))
}

// outsidePort returns the port where the latest data connection is awaited, as PORT has it.
func outsidePort(w *world) string {
	list := w.Table.Expectations(w.Now, 0)
	p := list[len(list)-1].Tuple.DstID
	return fmt.Sprintf("%d,%d", p>>8, p&255)
}
