package irc

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// What opens nothing passes as it came, and the next line is read again.
func TestPasses(t *testing.T) {
	long := "PRIVMSG bob :\x01DCC SEND " + strings.Repeat("f", maxLine-42) + " " + num(client) + " 5000\x01\r\n"
	for name, tt := range map[string]struct {
		line    string
		counter string
	}{
		"another's address":     {send(num("10.77.1.3"), 5000), "refused-address"},
		"the server's address":  {send(num(server), 5000), "refused-address"},
		"the router's own":      {send(num("10.77.1.1"), 5000), "refused-address"},
		"an address above four": {send("99999999999", 5000), "refused-address"},
		"the other family":      {send(client6, 5000), "refused-address"},
		"written with dots":     {send(client, 5000), "refused-address"},
		"a privileged port":     {send(num(client), 1023), "refused-port"},
		"a passive offer":       {send(num(client), 0), "refused-port"},
		"a port above all":      {send(num(client), 65536), "refused-port"},
		"no room for the line":  {long, "too-long"},
		"a chat":                {"PRIVMSG bob :hello\r\n", ""},
		"a notice":              {"NOTICE bob :" + send(num(client), 5000)[13:], ""},
		"too long a line":       {strings.Repeat("x", maxLine) + send(num(client), 5000), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := masqueraded(t, nil)
			s.says(tt.line, tt.line)
			s.awaits()
			if tt.counter != "" {
				s.w.counted(map[string]uint64{tt.counter: 1, "offers": 1})
			}
			s.says(send(num(client), 5001), send(num(outside), 5001))
			s.awaits(5001)
		})
	}
}

// All lines of a segment are read, and what is between them passes.
func TestPipelined(t *testing.T) {
	s := masqueraded(t, nil)
	s.says(
		"PING x\r\n"+send(num(client), 5000)+"PRIVMSG bob :hi\n\r\n"+send(num(client), 6000)+send(num("10.77.1.3"), 5001)+send(num(client), 7000),
		"PING x\r\n"+send(num(outside), 5000)+"PRIVMSG bob :hi\n\r\n"+send(num(outside), 6000)+send(num("10.77.1.3"), 5001)+send(num(outside), 7000))
	s.awaits(5000, 6000, 7000)
}

// However TCP cuts lines, the same arrives.
func TestEveryCut(t *testing.T) {
	in := hello + send(num(client), 5000) + "PRIVMSG bob :x\r\n" + send(num(client), 5001)
	want := hello + send(num(outside), 5000) + "PRIVMSG bob :x\r\n" + send(num(outside), 5001)
	for cut := range len(in) {
		s := session{Conn: newDial(t), w: world{t: t}}
		s.Write(conntrack.Original, in)
		sizes := []int{cut, len(in)}
		s.Settle(conntrack.Original, func(int) int {
			n := sizes[0]
			if len(sizes) > 1 {
				sizes = sizes[1:]
			}
			return n
		})
		if got := string(s.Heard(conntrack.Original)); got != want {
			t.Fatalf("cut at %d: %q, want %q", cut, got, want)
		}
	}
	for size := range 40 {
		s := session{Conn: newDial(t), w: world{t: t}}
		s.Write(conntrack.Original, in)
		s.Settle(conntrack.Original, func(int) int { return size })
		if got := string(s.Heard(conntrack.Original)); got != want {
			t.Fatalf("segments of %d: %q, want %q", size, got, want)
		}
	}
}

func newDial(t *testing.T) *algtest.Conn {
	t.Helper()
	return newWorld(t, nil, algtest.Masquerade()).Dial(client+":1025", server+":6667")
}

// Only what may have to be changed waits for the rest of its line.
func TestHolds(t *testing.T) {
	line := send(num(client), 5000)
	address := strings.Index(line, num(client))
	for n := 1; n < len(line); n++ {
		s := masqueraded(t, nil)
		if got, want := s.Say(conntrack.Original, line[:n]), line[:min(n, address)]; got != want {
			t.Errorf("of %q %q left, want %q", line[:n], got, want)
		}
	}
	s := masqueraded(t, nil)
	s.says("PRIVMSG bob :\x01DCC SEND f 17x", "PRIVMSG bob :\x01DCC SEND f 17x") // no offer any more
}

// An offer that goes on too late leaves as it is and opens nothing; so does one of which the server's window has room for a
// part. The next one is read.
func TestLetGo(t *testing.T) {
	line := send(num(client), 5000)
	for _, cut := range []int{strings.Index(line, num(client)) + 1, len(line) - 4, len(line) - 1} {
		s := masqueraded(t, nil)
		s.Say(conntrack.Original, line[:cut])
		s.w.Advance(2 * time.Second)
		s.Settle(conntrack.Original, func(n int) int { return n })
		s.says(line[cut:], line[cut:])
		if got := string(s.Heard(conntrack.Original)); !strings.HasSuffix(got, line) {
			t.Errorf("cut at %d: %q", cut, got)
		}
		s.awaits()
		s.says(send(num(client), 5001), send(num(outside), 5001))
		s.awaits(5001)
	}
}

// CVE-2022-2663: what others made a client say within a line of its own is no offer, wherever a segment begins.
func TestCVE2022_2663(t *testing.T) {
	offer := send(num(client), 5000)
	for name, parts := range map[string][]string{
		"an answer to a ping":         {"PONG :" + offer},
		"a ping's answer, cut":        {"PONG :", offer},
		"a message that quotes one":   {"PRIVMSG eve :" + offer},
		"a quote, cut":                {"PRIVMSG eve :you said ", offer},
		"behind other text":           {"PRIVMSG bob :see " + offer[13:]},
		"an answer to a CTCP ping":    {"NOTICE eve :\x01PING " + offer},
		"a name":                      {"JOIN #" + offer},
		"behind a carriage return":    {"PONG :x\r" + offer},
		"behind a long line, cut":     {"PONG :" + strings.Repeat("x", 506), offer},
		"behind a longer line":        {"PONG :" + strings.Repeat("x", 600), strings.Repeat("y", 600), offer},
		"behind spaces":               {"   " + offer},
		"with a prefix of others":     {":bob!b@example.org " + offer},
		"an answer cut at the number": {"PONG :PRIVMSG bob :\x01DCC SEND f ", num(client) + " 5000\x01\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := masqueraded(t, nil)
			for _, p := range parts {
				s.says(p, p)
			}
			s.awaits()
			s.w.connects(peer, outside+":5000", "no-mapping")
			if !s.Helped() {
				t.Error("taken off")
			}
		})
	}
}

// Another protocol on the port, as a browser's that a page makes connect there: nothing of it is an offer.
func TestNotIRC(t *testing.T) {
	offer := send(num(client), 5000)
	for name, text := range map[string]string{
		"HTTP":                   "POST / HTTP/1.1\r\nHost: x\r\n\r\n" + offer,
		"HTTP, cut oddly":        "\r\nGET /" + strings.Repeat("x", 500) + "\r\n" + offer,
		"TLS":                    "\x16\x03\x01\x02\x00\n" + offer,
		"a first line too long":  "NICK " + strings.Repeat("x", maxLine) + "\r\n" + offer,
		"a command that is none": "NICKS al\r\n" + offer,
		"a command with a tab":   "NICK\tal\r\n" + offer,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil, algtest.Masquerade())
			s := session{w.Dial(client+":1025", server+":6667"), w}
			s.says(text, text)
			s.says(offer, offer)
			s.awaits()
			if s.Helped() {
				t.Error("still read")
			}
			w.counted(map[string]uint64{"not-irc": 1, "offers": 0})
		})
	}
}

// After STARTTLS the bytes are a TLS client's.
func TestBecomesTLS(t *testing.T) {
	s := masqueraded(t, nil)
	s.says(send(num(client), 5000)+"STARTTLS\r\n", send(num(outside), 5000)+"STARTTLS\r\n")
	clientHello := "\x16\x03\x01\x02\x00\x01\x00"
	s.says(clientHello, clientHello)
	s.says(send(num(client), 5001), send(num(client), 5001))
	s.awaits(5000)
	if s.Helped() {
		t.Error("still read")
	}
}

// What the server says is never an offer: others speak through it.
func TestServerSays(t *testing.T) {
	s := masqueraded(t, nil)
	for _, line := range []string{
		send(num(server), 5000), send(num(client), 5000), send(num(outside), 5000),
		":bob!b@example.org PRIVMSG al :\x01DCC SEND f " + num(server) + " 5000\x01\r\n",
	} {
		if got := s.Say(conntrack.Reply, line); got != line {
			t.Errorf("%q arrived as %q", line, got)
		}
	}
	s.awaits()
}

// A client outside, of a server inside, opens nothing towards itself.
func TestClientOutside(t *testing.T) {
	w := newWorld(t, nil, algtest.Forward(packet.ProtoTCP, netip.MustParseAddrPort(outside+":6667"), netip.MustParseAddrPort("10.77.1.50:6667")))
	s := w.session("198.51.100.9:1025", outside+":6667")
	s.says(send(num("198.51.100.9"), 5000), send(num("198.51.100.9"), 5000))
	s.awaits()
	w.counted(map[string]uint64{"refused-outside": 1})
}

// Above the limit the oldest offer gives way, and its port outside is free again.
func TestLimit(t *testing.T) {
	for limit, options := range map[int]map[string]any{8: nil, 2: {"max_dcc": 2}, 20: {"max_dcc": 20}} {
		s := masqueraded(t, options)
		for i := range limit + 1 {
			s.says(send(num(client), 5000+i), send(num(outside), 5000+i))
		}
		var want []int
		for i := range limit {
			want = append(want, 5001+i)
		}
		s.awaits(want...)
		s.says(send(num(client), 5001), send(num(outside), 5001)) // now the newest
		s.awaits(append(want[1:], 5001)...)
		s.w.connects(peer, outside+":5000", "no-mapping")
		s.w.connects("10.77.1.9:5000", server+":80", outside+":5000>"+server+":80")
		s.w.connects(peer, outside+":5001", peer+">"+client+":5001")
	}
}

// The life of an offer: renewed when it is made again, over after its time, and its port held as long as anything
// needs it.
func TestLife(t *testing.T) {
	reach := func(w world, free bool) {
		t.Helper()
		src, _, _ := strings.Cut(w.Connect(fmt.Sprintf("10.77.1.9:%d", 5000), fmt.Sprintf("198.51.100.9:%d", 1024+w.Now/1e6%60000)), ">")
		if (src == outside+":5000") != free {
			t.Errorf("the port is free: %v; another host got %s", !free, src)
		}
	}
	s := masqueraded(t, map[string]any{"timeout": time.Minute}) // renewed, and over
	s.says(send(num(client), 5000), send(num(outside), 5000))
	s.w.Advance(50 * time.Second)
	s.says(send(num(client), 5000), send(num(outside), 5000))
	s.w.Advance(50 * time.Second)
	s.awaits(5000)
	s.w.Advance(12 * time.Second)
	s.awaits()
	reach(s.w, true)

	s = masqueraded(t, map[string]any{"timeout": time.Minute}) // the first of two is over
	s.says(send(num(client), 5000), send(num(outside), 5000))
	s.w.Advance(30 * time.Second)
	s.says(send(num(client), 6000), send(num(outside), 6000))
	s.w.Advance(32 * time.Second)
	s.awaits(6000)
	reach(s.w, true)

	s = masqueraded(t, nil) // it is not
	s.says(send(num(client), 5000), send(num(outside), 5000))
	reach(s.w, false)

	s = masqueraded(t, nil) // taken, and made again while its connection lives
	s.says(send(num(client), 5000), send(num(outside), 5000))
	s.w.connects(peer, outside+":5000", peer+">"+client+":5000")
	s.says(send(num(client), 6000), send(num(outside), 6000)) // it is noticed that the first was taken
	s.awaits(6000)
	reach(s.w, false)
	got := s.Say(conntrack.Original, send(num(client), 5000))
	if got == send(num(client), 5000) || len(s.w.Expectations()) != 2 {
		t.Errorf("the same port again is offered as %q; awaited %v", got, s.w.Expectations())
	}

	s = masqueraded(t, nil) // the connection to the server has ended
	s.says(send(num(client), 5000), send(num(outside), 5000))
	s.Reset(conntrack.Original)
	s.w.Advance(10 * time.Minute)
	if list := s.w.Expectations(); len(list) != 0 {
		t.Errorf("%v awaited of a connection that is over", list)
	}
	reach(s.w, true)
}

// Where nothing can be opened the offer passes as it came, and nothing stays reserved.
func TestNotOpened(t *testing.T) {
	for room, why := range map[int]string{1: alg.CountRefusedFull, 2: alg.CountRefusedHost} {
		tracker := conntrack.DefaultConfig()
		tracker.MaxExpect = room
		w := world{algtest.New(t, algtest.Config{
			Helpers: []alg.Helper{New()}, NAT: []nat.Rule{algtest.Masquerade()}, Tracker: &tracker,
			Rules: []alg.Rule{{Name: "irc", Proto: packet.ProtoTCP, Ports: algtest.Port(port)}},
		}), t}
		s := w.session(client+":1025", server+":6667")
		s.says(send(num(client), 5000), send(num(outside), 5000))
		s.says(send(num(client), 6000), send(num(client), 6000))
		s.awaits(5000)
		w.counted(map[string]uint64{"not-opened": 1, why: 1})
		w.connects("10.77.1.9:6000", server+":80", outside+":6000>"+server+":80")
	}
}

func TestConfigure(t *testing.T) {
	for name, tt := range map[string]struct {
		options map[string]any
		want    settings
		bad     string
	}{
		"none":              {nil, settings{8, 5 * time.Minute}, ""},
		"both":              {map[string]any{"max_dcc": 255, "timeout": time.Second}, settings{255, time.Second}, ""},
		"no offers":         {map[string]any{"max_dcc": 0}, settings{}, "max_dcc"},
		"too many":          {map[string]any{"max_dcc": 256}, settings{}, "max_dcc"},
		"no number":         {map[string]any{"max_dcc": "8"}, settings{}, "max_dcc"},
		"too short":         {map[string]any{"timeout": time.Millisecond}, settings{}, "timeout"},
		"an unknown option": {map[string]any{"port": 1}, settings{}, "port"},
	} {
		got, err := New().Configure(tt.options)
		if tt.bad != "" {
			if err == nil || !strings.Contains(err.Error(), tt.bad) {
				t.Errorf("%s: %v", name, err)
			}
		} else if err != nil || got != tt.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// Reading lines that offer nothing allocates nothing, whole or in parts.
func TestAllocs(t *testing.T) {
	s := &stream{settings: defaults}
	texts := [][]byte{
		[]byte(hello), []byte("PRIVMSG bob :hello\r\nPING"), []byte(" x\r\nPRIVMSG bob :\x01DCC SEND"), []byte(" f 1x 2\r\n"),
		[]byte(strings.Repeat("x", 1400)), []byte("\r\n"),
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range texts {
			for dir := range conntrack.Direction(2) {
				if r := s.Stream(nil, dir, b); r.Consumed != len(b) || r.Detach || len(r.Edits) != 0 {
					t.Fatalf("%q: %+v", b, r)
				}
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Every type of offer is translated and opens its port, in both families, with a name in quotation marks too. As a passive
// one, with port 0, it passes as it came and opens nothing; the answer to a passive one is an offer.
func TestTypes(t *testing.T) {
	for _, kind := range types {
		for _, e := range []struct{ from, to, in, out, peer, seen, arrives string }{
			{client + ":1025", server + ":6667", num(client), num(outside), peer, outside + ":5000", client + ":5000"},
			{"[" + client6 + "]:1025", "[" + server6 + "]:6667", client6, outside6, peer6, "[" + outside6 + "]:5000", "[" + client6 + "]:5000"},
		} {
			for _, rest := range []string{"", " 1024", " 1024 7"} {
				for _, name := range []string{"f", `"my file"`} {
					w := newWorld(t, nil, algtest.Masquerade())
					s := w.session(e.from, e.to)
					line := func(addr string, port int) string {
						return fmt.Sprintf("PRIVMSG bob :\x01DCC %s %s %s %d%s\x01\r\n", kind, name, addr, port, rest)
					}
					s.says(line(e.in, 0), line(e.in, 0))
					s.awaits()
					w.counted(map[string]uint64{"offers": 1, "refused-port": 1})
					s.says(line(e.in, 5000), line(e.out, 5000))
					s.awaits(5000)
					w.connects(e.peer, e.seen, e.peer+">"+e.arrives)
				}
			}
		}
	}
}

// To resume is agreed upon by the port's number alone. Where the port could be kept it means the same on both sides, by TLS
// as without, and nothing of it is changed; what it names stays open.
func TestResume(t *testing.T) {
	for _, kind := range []string{"SEND", "SSEND"} {
		s := masqueraded(t, nil)
		offer := "PRIVMSG bob :\x01DCC " + kind + " f %s 5000 1024\x01\r\n"
		s.says(fmt.Sprintf(offer, num(client)), fmt.Sprintf(offer, num(outside)))
		resume := ":bob!b@example.org PRIVMSG al :\x01DCC RESUME f 5000 512\x01\r\n"
		if got := s.Say(conntrack.Reply, resume); got != resume {
			t.Errorf("%s: %q arrived as %q", kind, resume, got)
		}
		const accept = "PRIVMSG bob :\x01DCC ACCEPT f 5000 512\x01\r\n"
		s.says(accept, accept)
		s.awaits(5000)
		s.w.connects(peer, outside+":5000", peer+">"+client+":5000")
	}
}
