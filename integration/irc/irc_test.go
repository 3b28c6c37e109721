package irc

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
)

// helperRule assigns the helper.
const helperRule = `
[[helper]]
name = "irc"
protocol = "tcp"
port = 6667
`

// scene is a lab with a server outside, alice inside and bob outside.
type scene struct {
	*lab.Lab
	ends       lab.Ends
	ircd       *ircd
	alice, bob *user
}

// each runs a test in both families, in one lab.
func each(t *testing.T, rules string, run func(t *testing.T, s *scene)) {
	t.Helper()
	lab.NeedLab(t)
	l := lab.New(t, lab.Config{Rules: rules})
	lab.Sniff(t, l.Server, "wan0", lab.Translated(lab.Checksums), nil)
	for _, e := range lab.Families {
		t.Run(e.Name, func(t *testing.T) {
			at := netip.AddrPortFrom(e.Server, port)
			s := &scene{Lab: l, ends: e, ircd: serve(t, l.Server, at)}
			s.alice, s.bob = join(t, l.Client, at, "alice"), join(t, l.Server, at, "bob")
			run(t, s)
			s.talk(t)
		})
	}
}

// talk has both users say something: the connection of the one inside is whole.
func (s *scene) talk(t *testing.T) {
	t.Helper()
	s.alice.say("PRIVMSG bob :hello")
	if got, want := s.bob.hear(), ":alice!user@example.org PRIVMSG bob :hello"; got != want {
		t.Errorf("bob heard %q, want %q", got, want)
	}
	s.bob.say("PRIVMSG alice :hello")
	if got, want := s.alice.hear(), ":bob!user@example.org PRIVMSG alice :hello"; got != want {
		t.Errorf("alice heard %q, want %q", got, want)
	}
}

// TestSend has alice send files by DCC: what bob is offered is an endpoint of the router, and there he gets the file.
func TestSend(t *testing.T) {
	each(t, helperRule, func(t *testing.T, s *scene) {
		for i, say := range []func(string){s.alice.say, s.alice.spell} {
			file := s.alice.share(0, byte(i))
			say("PRIVMSG bob :" + offer(s.alice.own, file.at.Port()))
			got := readOffer(t, s.bob.hear())
			if want := netip.AddrPortFrom(s.ends.WAN, file.at.Port()); got != want {
				t.Errorf("offered %s, want %s", got, want)
			}
			s.bob.fetch(got, file)
			s.talk(t)
		}
	})
}

// TestSendInside has alice send a file to carol, who is inside as well and on one host with her: carol goes to the
// router's endpoint as anybody does, and neither end sees the other as itself.
func TestSendInside(t *testing.T) {
	each(t, helperRule, func(t *testing.T, s *scene) {
		carol := join(t, s.Client, netip.AddrPortFrom(s.ends.Server, port), "carol")
		file := s.alice.share(0, 5)
		s.alice.say("PRIVMSG carol :" + offer(s.alice.own, file.at.Port()))
		got := readOffer(t, carol.hear())
		if want := netip.AddrPortFrom(s.ends.WAN, file.at.Port()); got != want {
			t.Errorf("offered %s, want %s", got, want)
		}
		carol.fetch(got, file)
	})
}

// TestSendAtOnce has alice offer several files in one go, one of them at a port that is taken outside. Bob fetches them
// in another order.
func TestSendAtOnce(t *testing.T) {
	each(t, helperRule, func(t *testing.T, s *scene) {
		var files []*source
		var lines []string
		for i := range 4 {
			files = append(files, s.alice.share(0, byte(i)))
		}
		taken := s.take(t, files[0].at.Port())
		defer taken.Close()
		for _, f := range files {
			lines = append(lines, "PRIVMSG bob :"+offer(s.alice.own, f.at.Port()))
		}
		s.alice.say(strings.Join(lines, "\r\n"))
		var offered []netip.AddrPort
		for i, f := range files {
			got := readOffer(t, s.bob.hear())
			if kept := got.Port() == f.at.Port(); got.Addr() != s.ends.WAN || kept != (i > 0) {
				t.Errorf("%s is offered as %s", f.at, got)
			}
			offered = append(offered, got)
		}
		for i := len(files) - 1; i >= 0; i-- {
			s.bob.fetch(offered[i], files[i])
		}
	})
}

// take makes a port of the router's outside address another connection's: of a second address of alice's host.
func (s *scene) take(t *testing.T, wanted uint16) net.Conn {
	t.Helper()
	second := s.ends.Client.Next()
	lab.Must(t, s.Client.Address("lan0", netip.PrefixFrom(second, second.BitLen())))
	var c net.Conn
	lab.Must(t, s.Client.Do(func() (err error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(second, wanted)), Timeout: patience}
		c, err = d.DialContext(t.Context(), "tcp", netip.AddrPortFrom(s.ends.Server, port).String())
		return err
	}))
	return c
}

// TestReceive has bob send a file: his offer comes to alice as he made it.
func TestReceive(t *testing.T) {
	each(t, helperRule, func(t *testing.T, s *scene) {
		file := s.bob.share(0, 9)
		s.bob.say("PRIVMSG alice :" + offer(s.bob.own, file.at.Port()))
		got := readOffer(t, s.alice.hear())
		if got != file.at {
			t.Errorf("offered %s, want %s", got, file.at)
		}
		s.alice.fetch(got, file)
	})
}

// TestWithoutHelper shows what the helper is for: bob is offered an address that he can't reach, and the port is not
// open at the router's.
func TestWithoutHelper(t *testing.T) {
	each(t, "", func(t *testing.T, s *scene) {
		file := s.alice.share(0, 1)
		s.alice.say("PRIVMSG bob :" + offer(s.alice.own, file.at.Port()))
		if got := readOffer(t, s.bob.hear()); got != file.at {
			t.Errorf("offered %s, want %s", got, file.at)
		}
		s.closed(t, file)
	})
}

// closed checks that nobody outside gets a file of alice's.
func (s *scene) closed(t *testing.T, file *source) {
	t.Helper()
	before := s.Status().Drops["no-mapping"]
	if c, err := s.bob.reach(netip.AddrPortFrom(s.ends.WAN, file.at.Port()), silence); err == nil {
		c.Close()
		t.Errorf("port %d of alice is open", file.at.Port())
	}
	if s.Status().Drops["no-mapping"] == before {
		t.Error("no packet was refused")
	}
}

// TestForgedOffer is the attack of CVE-2022-2663: a server, or whoever can make alice's client repeat a text, has it say
// what looks like an offer in the middle of a line. Nothing is opened, nothing changed.
func TestForgedOffer(t *testing.T) {
	each(t, helperRule, func(t *testing.T, s *scene) {
		file := s.alice.share(0, 1)
		forged := "PRIVMSG bob :" + offer(s.alice.own, file.at.Port())
		s.ircd.tell("alice", "PING :"+forged)
		_, token, _ := strings.Cut(s.alice.hear(), ":")
		if token != forged {
			t.Fatalf("alice is asked for %q", token)
		}
		s.alice.say("PONG :" + token)
		s.alice.say("PRIVMSG bob :you wrote " + forged)
		if got, want := s.bob.hear(), ":alice!user@example.org PRIVMSG bob :you wrote "+forged; got != want {
			t.Errorf("bob heard %q, want %q", got, want)
		}
		s.closed(t, file)
		if n := s.Status().Helpers["irc"]["expect-created"]; n != 0 {
			t.Errorf("%d ports were opened", n)
		}
	})
}
