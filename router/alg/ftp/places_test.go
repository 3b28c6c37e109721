package ftp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
)

// Wherever the ends are: active and passive mode, in the old form and in the extended one. What the other end hears is
// an endpoint that it can reach; who connects there gets to who named it, and nobody else does, and nobody twice.
func TestPlaces(t *testing.T) {
	for _, p := range places {
		for _, extended := range []bool{false, true} {
			if !extended && netip.MustParseAddr(p.client).Is6() {
				continue
			}
			t.Run(fmt.Sprintf("%s, extended %v", p.name, extended), func(t *testing.T) {
				w := newWorld(t, p, nil)
				c := w.session(1025)
				port, passive, answer := func(a string) string { return "PORT " + numbers6(a, 5000) + "\r\n" },
					"PASV\r\n", func(a string) string { return "227 go (" + numbers6(a, 6000) + ").\r\n" }
				if extended {
					port = func(a string) string { return "EPRT " + piped(a, 5000) + "\r\n" }
					passive, answer = "EPSV\r\n", func(string) string { return "229 go (|||6000|)\r\n" }
				}
				want(t, "active", c.Say(fromClient, port(p.client)), port(p.asClient))
				w.onlyFrom(t, host(p.server, 20), host(p.asClient, 5000), host(p.asServer, 20)+">"+host(p.client, 5000))
				c.Say(fromServer, "200 fine\r\n")
				c.Say(fromClient, passive)
				want(t, "passive", c.Say(fromServer, answer(p.server)), answer(p.asServer))
				w.onlyFrom(t, host(p.client, 7000), host(p.asServer, 6000), host(p.asClient, 7000)+">"+host(p.server, 6000))
				if !c.Helped() || c.Drops > 0 {
					t.Errorf("helped %v, %d drops", c.Helped(), c.Drops)
				}
			})
		}
	}
}

// onlyFrom wants one connection to be let in, from one host, as what it is awaited as.
func (w *world) onlyFrom(t testing.TB, from, to, where string) {
	t.Helper()
	w.awaits(t, 1)
	_, target, _ := strings.Cut(where, ">")
	reaches := func(from string) bool { return !w.open && strings.HasSuffix(w.Connect(from, to), ">"+target) }
	if reaches(host(w.third, 20)) {
		t.Errorf("a third host gets to %s", target)
	}
	w.goes(t, from, to, where)
	w.awaits(t, 0)
	again := netip.MustParseAddrPort(from)
	if w.Route(again.Addr()) == algtest.WAN && reaches(host(again.Addr().String(), 21)) {
		t.Errorf("a second connection gets to %s", target)
	}
}

// The endpoint of a server may be its outside one already: it is configured so. Then the text stays.
func TestConfiguredOutside(t *testing.T) {
	w := newWorld(t, serverInside, nil)
	c := w.session(1025)
	c.Say(fromClient, "PASV\r\n")
	const reply = "227 go (203,0,113,1,195,80)\r\n"
	want(t, "reply", c.Say(fromServer, reply), reply)
	w.goes(t, host(w.client, 7000), "203.0.113.1:50000", host(w.client, 7000)+">10.77.1.50:50000")

	w = newWorld(t, clientInside, nil)
	c = w.session(1025)
	const command = "PORT 203,0,113,1,195,80\r\n"
	want(t, "command", c.Say(fromClient, command), command)
	w.goes(t, host(w.server, 20), "203.0.113.1:50000", host(w.server, 20)+">10.77.1.2:50000")
}

// A port that is another's outside is changed in the text, and led back to the one that was named; also where the address
// stays and where only the port is named.
func TestPortTaken(t *testing.T) {
	for name, tt := range map[string]struct {
		place        place
		ask          string
		dir          conntrack.Direction
		said, heard  string
		from, target string
	}{
		"PORT":         {clientInside, "", 0, "PORT 10,77,1,2,19,136", "PORT 203,0,113,1,%s", "198.51.100.7:20", "10.77.1.2:5000"},
		"PORT outside": {clientInside, "", 0, "PORT 203,0,113,1,19,136", "PORT 203,0,113,1,%s", "198.51.100.7:20", "10.77.1.2:5000"},
		"EPRT":         {clientInside, "", 0, "EPRT !1!10.77.1.2!5000!", "EPRT !1!203.0.113.1!%s!", "198.51.100.7:20", "10.77.1.2:5000"},
		"PASV":         {serverInside, "PASV", 1, "227 =10,77,1,50,19,136", "227 =203,0,113,1,%s", "198.51.100.7:9", "10.77.1.50:5000"},
		"PASV outside": {serverInside, "PASV", 1, "227 (203,0,113,1,19,136)", "227 (203,0,113,1,%s)", "198.51.100.7:9", "10.77.1.50:5000"},
		"EPSV":         {serverInside, "EPSV", 1, "229 (!!!5000!)", "229 (!!!%s!)", "198.51.100.7:9", "10.77.1.50:5000"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.place, nil)
			c := w.session(1025)
			if _, ok := w.NAT.Reserve(w.Now, 6, netip.MustParseAddr("203.0.113.1"), netip.MustParseAddrPort("10.77.1.99:5000")); !ok {
				t.Fatal("5000 was not free")
			}
			if tt.ask != "" {
				c.Say(fromClient, tt.ask+"\r\n")
			}
			heard := c.Say(tt.dir, tt.said+"\r\n")
			e := w.Table.Expectations(w.Now, 0)
			if len(e) != 1 || e[0].Tuple.DstID == 5000 {
				t.Fatalf("awaited: %v", w.Expectations())
			}
			p := e[0].Tuple.DstID
			number := fmt.Sprintf("%d,%d", p>>8, p&255)
			if tt.said[0] == 'E' || tt.ask == "EPSV" {
				number = fmt.Sprint(p)
			}
			want(t, "heard", heard, fmt.Sprintf(tt.heard, number)+"\r\n")
			w.goes(t, tt.from, host("203.0.113.1", int(p)), tt.from+">"+tt.target)
		})
	}
}

// A reserved port comes back: when the next one is announced, when the time of the expectation is over, and at the end of
// the connection. One that a data connection has does not.
func TestReservedPorts(t *testing.T) {
	used := func(w *world) int { return w.NAT.Stats().Mappings }
	w := newWorld(t, clientInside, nil)
	c := w.session(1025)
	before := used(w)
	for i := range 50 {
		c.Say(fromClient, fmt.Sprintf("PORT 10,77,1,2,20,%d\r\n", i))
		c.Say(fromServer, "200 fine\r\n")
	}
	free := func(port uint16) bool {
		got, ok := w.NAT.Reserve(w.Now, 6, netip.MustParseAddr("203.0.113.1"), netip.AddrPortFrom(netip.MustParseAddr("10.77.1.99"), port))
		w.NAT.Unreserve(w.Now, 6, netip.MustParseAddr("203.0.113.1"), got)
		return ok && got == port
	}
	if !free(20<<8+48) || free(20<<8+49) {
		t.Errorf("the one before is free: %v; the last one is: %v", free(20<<8+48), free(20<<8+49))
	}
	w.goes(t, host(w.server, 20), "203.0.113.1:5169", host(w.server, 20)+">10.77.1.2:5169")
	w.Advance(lifetime + time.Second)
	if free(5169) != (w.Table.Len() < 2) {
		t.Errorf("free: %v, with %d connections", free(5169), w.Table.Len())
	}
	c.Say(fromClient, "PORT 10,77,1,2,21,0\r\n")
	w.Advance(lifetime + time.Second)
	w.awaits(t, 0)
	if !free(21 << 8) {
		t.Error("the port of an expectation that is over is not free")
	}
	c.Say(fromClient, "PORT 10,77,1,2,22,0\r\n")
	c.Reset(fromClient)
	w.awaits(t, 0)
	if !free(22 << 8) {
		t.Error("the port of a connection that is over is not free")
	}
	w.Advance(24 * time.Hour)
	if n := used(w); n > before {
		t.Errorf("%d mappings, %d before", n, before)
	}
}

// A client that listens where it listened before is told to the server by the same outside port, also while its last
// data connection is closing: as another it could not be reached from the server's one port.
func TestSamePortAgain(t *testing.T) {
	w := newWorld(t, clientInside, nil)
	c := w.session(1025)
	const line = "PORT 10,77,1,2,20,49\r\n"
	heard := c.Say(fromClient, line)
	c.Say(fromServer, "200 fine\r\n")
	w.goes(t, host(w.server, 20), "203.0.113.1:5169", host(w.server, 20)+">10.77.1.2:5169")
	want(t, "the second time", c.Say(fromClient, line), heard)
	c.Say(fromServer, "200 fine\r\n")
	w.goes(t, host(w.server, 21000), "203.0.113.1:5169", host(w.server, 21000)+">10.77.1.2:5169")
}
