package nat

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// TestVector7: frag needed about a translated packet: who sent that packet finds it as it was sent; type, code and
// MTU are the same, and the connection's deadline has not moved.
func TestVector7(t *testing.T) {
	w := newWorld(t, masquerade)
	w.pass(lan, syn("10.77.1.3:40000", "198.51.100.7:80"))
	sent := testpkt.TCP{Src: ap("10.77.1.2:40000"), Dst: ap("198.51.100.7:80"), Seq: 1000, Flags: packet.FlagSYN, DF: true}.Bytes()
	got := w.pass(lan, sent)
	before, _ := w.table.Lookup(w.now, w.conn.ID)
	w.now += second
	e := testpkt.ICMP{Src: addr("192.0.2.99"), Dst: addr("203.0.113.1"), Type: 3, Code: 4, Rest: 1400, Payload: got}.Bytes()
	out := w.pass(wan, e)
	if after, _ := w.table.Lookup(w.now, w.conn.ID); after.Deadline != before.Deadline {
		t.Error("the error moved the deadline")
	}
	h, _ := packet.Parse(out)
	if dst := packet.Addr(h.Dst(out)); dst != addr("10.77.1.2") {
		t.Errorf("the error goes to %v", dst)
	}
	if !bytes.Equal(out[20:22], e[20:22]) || !bytes.Equal(out[24:28], e[24:28]) {
		t.Errorf("type, code and MTU % x, want % x", out[20:28], e[20:28])
	}
	if !bytes.Equal(out[28:], sent) {
		t.Errorf("quote % x, sent % x", out[28:], sent)
	}
}

// errorCases are connections of all kinds: who sends an error about which packet, and who must be seen as its sender.
var errorCases = map[string]struct {
	rules            []Rule
	inside, outside  string // the first packet's ends, both as its sender sees them
	in               int    // where the first packet comes from
	backwards        bool   // the error is about the answer, else about the first packet
	errorIn          int
	from, seen, goes string // the error's sender as it is, as the receiver sees it; where it goes
}{
	"about what went out, by a router outside": {
		[]Rule{masquerade}, "10.77.1.2:5000", "198.51.100.7:53", lan, false, wan, "192.0.2.99", "192.0.2.99", "10.77.1.2"},
	"about what went out, by its receiver": {
		[]Rule{masquerade}, "10.77.1.2:5000", "198.51.100.7:53", lan, false, wan, "198.51.100.7", "198.51.100.7", "10.77.1.2"},
	"about an answer, by its receiver": {
		[]Rule{masquerade}, "10.77.1.2:5000", "198.51.100.7:53", lan, true, lan, "10.77.1.2", "203.0.113.1", "198.51.100.7"},
	"about an answer, by a router inside (RFC 5508 REQ-5)": {
		[]Rule{masquerade}, "10.77.1.2:5000", "198.51.100.7:53", lan, true, lan, "10.77.9.9", "203.0.113.1", "198.51.100.7"},
	"about what came to a forward, by the server": {
		[]Rule{forwardUDP}, "198.51.100.7:5000", "203.0.113.1:53", wan, false, dmz, "10.88.0.9", "203.0.113.1", "198.51.100.7"},
	"about what came to a forward, by a router inside": {
		[]Rule{forwardUDP}, "198.51.100.7:5000", "203.0.113.1:53", wan, false, dmz, "10.88.7.7", "203.0.113.1", "198.51.100.7"},
	"about a server's answer, by a router outside": {
		[]Rule{forwardUDP}, "198.51.100.7:5000", "203.0.113.1:53", wan, true, wan, "192.0.2.99", "192.0.2.99", "10.88.0.9"},
	"both ends translated": {
		[]Rule{{Action: DNAT, In: "lan0", Destination: addrs("10.99.0.1"), To: addrs("198.51.100.8"), ToPorts: portList(54, 54)}, masquerade},
		"10.77.1.2:5000", "10.99.0.1:53", lan, false, wan, "198.51.100.8", "10.99.0.1", "10.77.1.2"},
	"IPv6, about what went out": {
		[]Rule{masquerade}, "[fd77::2]:5000", "[2001:db8::7]:53", lan, false, wan, "2001:db8:99::1", "2001:db8:99::1", "fd77::2"},
	"IPv6, about an answer, by a router inside": {
		[]Rule{masquerade}, "[fd77::2]:5000", "[2001:db8::7]:53", lan, true, lan, "fd77::99", "2001:db8:113::1", "2001:db8::7"},
}

var forwardUDP = Rule{Action: DNAT, In: "wan0", Ports: portList(53, 53), To: addrs("10.88.0.9"), ToPorts: portList(5353, 5353)}

// TestICMPErrors: in each direction the receiver finds the packet that it sent, and no inside address is outside
// (docs/spec/nat.md, section 7; RFC 5508 REQ-4, REQ-5).
func TestICMPErrors(t *testing.T) {
	for name, tt := range errorCases {
		for kind, first := range map[string][]byte{
			"UDP": udp(tt.inside, tt.outside), "TCP": syn(tt.inside, tt.outside),
			"SCTP": testpkt.SCTP{Src: ap(tt.inside), Dst: ap(tt.outside), Chunks: sctpInit}.Bytes(),
			"DCCP": dccpRequest(ap(tt.inside), ap(tt.outside), nil),
		} {
			if kind == "DCCP" && tt.backwards {
				continue // the answer is another type of packet
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				w := newWorld(t, tt.rules...)
				left := w.pass(tt.in, first)
				sent := first // what the receiver of the error sent, and how it looked where the error is made
				if tt.backwards {
					sent = answerTo(t, left, kind)
					left = w.pass(map[bool]int{true: wan, false: dmz}[tt.in == lan], sent)
				}
				checkError(t, w, tt.errorIn, left, sent, addr(tt.from), addr(tt.seen), addr(tt.goes))
			})
		}
	}
}

// answerTo returns the first answer to a packet.
func answerTo(t testing.TB, b []byte, kind string) []byte {
	t.Helper()
	src, dst := ends(b)
	switch kind {
	case "TCP":
		return testpkt.TCP{Src: dst, Dst: src, Seq: 1, Ack: 1001, Flags: packet.FlagSYN | packet.FlagACK}.Bytes()
	case "SCTP":
		ack := bytes.Clone(sctpInit)
		ack[0] = 2 // INIT ACK
		return testpkt.SCTP{Src: dst, Dst: src, Tag: 0x01020304, Chunks: ack}.Bytes()
	}
	return testpkt.UDP{Src: dst, Dst: src, Payload: []byte("answer")}.Bytes()
}

// checkError sends errors that quote left, whole, cut short and with an extension behind (RFC 4884).
func checkError(t *testing.T, w *world, in int, left, sent []byte, from, seen, goes netip.Addr) {
	t.Helper()
	h, _ := packet.Parse(left)
	extension := []byte{0x20, 0, 0, 0, 0, 8, 1, 1, 1, 2, 3, 4}
	padded := func(b []byte) []byte {
		return append(append(bytes.Clone(b), make([]byte, 128-len(b))...), extension...)
	}
	for _, tt := range []struct {
		quote, want []byte
		rest        uint32
	}{
		{left, sent, 0},
		{left[:h.L4+8], sent[:h.L4+8], 0},
		{left[:len(left)-1], sent[:len(sent)-1], 0},
		{padded(left), padded(sent), 32 << 16},
	} {
		typ := uint8(11)
		if h.Family == 6 {
			typ = 3
		}
		e := testpkt.ICMP{Src: from, Dst: packet.Addr(h.Src(left)), Type: typ, Rest: tt.rest, Payload: tt.quote}.Bytes()
		out := w.pass(in, e)
		eh, _ := packet.Parse(out)
		if src, dst := packet.Addr(eh.Src(out)), packet.Addr(eh.Dst(out)); src != seen || dst != goes {
			t.Errorf("error goes %v > %v, want %v > %v", src, dst, seen, goes)
		}
		quote := out[eh.L4+8:]
		if h.Proto == packet.ProtoSCTP && len(quote) >= int(h.L4)+12 { // the CRC of a quote can't follow
			copy(tt.want[h.L4+8:h.L4+12], quote[h.L4+8:])
		}
		if !bytes.Equal(quote, tt.want) {
			t.Errorf("quote % x\nwant  % x", quote, tt.want)
		}
	}
}

// Quoted queries: the identifier goes back too, with its checksum.
func TestICMPErrorAboutQuery(t *testing.T) {
	w := newWorld(t, masquerade)
	w.pass(lan, testpkt.Echo{Src: addr("10.77.1.3"), Dst: addr("198.51.100.7"), ID: 9}.Bytes())
	sent := testpkt.Echo{Src: addr("10.77.1.2"), Dst: addr("198.51.100.7"), ID: 9, Payload: []byte("trace")}.Bytes()
	left := w.pass(lan, sent)
	checkError(t, w, wan, left, sent, addr("192.0.2.99"), addr("192.0.2.99"), addr("10.77.1.2"))
	w6 := newWorld(t, masquerade)
	w6.pass(lan, testpkt.Echo{Src: addr("fd77::3"), Dst: addr("2001:db8::7"), ID: 9}.Bytes())
	sent = testpkt.Echo{Src: addr("fd77::2"), Dst: addr("2001:db8::7"), ID: 9, Payload: []byte("trace")}.Bytes()
	left = w6.pass(lan, sent)
	checkError(t, w6, wan, left, sent, addr("2001:db8:9::1"), addr("2001:db8:9::1"), addr("fd77::2"))
}

// Quoted enhanced GRE: the call ID in the quote is its receiver's, so only an error from inside has one to restore.
func TestICMPErrorAboutCall(t *testing.T) {
	const greV1 = 0x10
	tuple := func(src, dst string, srcID, dstID uint16) conntrack.Tuple {
		return conntrack.Tuple{
			Src: addr(src).As16(), Dst: addr(dst).As16(), SrcID: srcID, DstID: dstID, Proto: packet.ProtoGRE, Family: 4 | greV1,
		}
	}
	gre := func(src, dst string, id uint16) []byte {
		return testpkt.GREv1{Src: addr(src), Dst: addr(dst), CallID: id, HasSeq: true, Payload: []byte("ppp")}.Bytes()
	}
	c := conntrack.Conn{
		Tuples:  [2]conntrack.Tuple{tuple("10.77.1.2", "198.51.100.7", 11, 22), tuple("198.51.100.7", "203.0.113.1", 22, 33)},
		Status:  conntrack.SrcNAT,
		ErrorL3: 28,
	}
	for name, tt := range map[string]struct {
		dir          conntrack.Direction
		outer        testpkt.ICMP
		quote, want  []byte
		seenF, seenT string
	}{
		"from outside": {
			conntrack.Reply, testpkt.ICMP{Src: addr("198.51.100.7"), Dst: addr("203.0.113.1"), Type: 3, Code: 2},
			gre("203.0.113.1", "198.51.100.7", 22), gre("10.77.1.2", "198.51.100.7", 22), "198.51.100.7", "10.77.1.2"},
		"from inside": {
			conntrack.Original, testpkt.ICMP{Src: addr("10.77.1.2"), Dst: addr("198.51.100.7"), Type: 3, Code: 2},
			gre("198.51.100.7", "10.77.1.2", 11), gre("198.51.100.7", "203.0.113.1", 33), "203.0.113.1", "198.51.100.7"},
	} {
		tt.outer.Payload = tt.quote
		b := tt.outer.Bytes()
		h, _ := packet.Parse(b)
		c.Dir = tt.dir
		rewriteBoth(t, b, &h, &packet.Meta{}, &c)
		if err := testpkt.Verify(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(b[28:], tt.want) {
			t.Errorf("%s: quote % x, want % x", name, b[28:], tt.want)
		}
	}
}

// A wrong outer checksum is not made right, and a redirect is not translated.
func TestICMPErrorRefused(t *testing.T) {
	w := newWorld(t, masquerade)
	left := w.pass(lan, udp("10.77.1.2:5000", "198.51.100.7:53"))
	for name, tt := range map[string]struct {
		typ  uint8
		edit func(b []byte) []byte
		meta packet.Meta
		want packet.DropReason
	}{
		"right":               {11, nil, packet.Meta{}, packet.NotDropped},
		"wrong checksum":      {11, func(b []byte) []byte { b[24] ^= 1; return b }, packet.Meta{}, packet.BadChecksum},
		"vouched for":         {11, func(b []byte) []byte { b[24] ^= 1; return b }, packet.Meta{CsumValid: true}, packet.NotDropped},
		"redirect":            {5, nil, packet.Meta{}, packet.NATUnmappable},
		"quote cut in the IP": {11, func(b []byte) []byte { return b[:47] }, packet.Meta{}, packet.Malformed},
		"quote of IPv6":       {11, func(b []byte) []byte { b[28] = 0x65; return b }, packet.Meta{}, packet.Malformed},
	} {
		b := testpkt.ICMP{Src: addr("192.0.2.99"), Dst: addr("203.0.113.1"), Type: tt.typ, Payload: left}.Bytes()
		h, _ := packet.Parse(b)
		c := w.conn
		c.Dir, c.ErrorL3 = conntrack.Reply, 28
		if tt.edit != nil {
			b = tt.edit(b)
			h.Len = uint32(len(b))
		}
		if got := RewriteDst(b, &h, &tt.meta, &c); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestICMPErrorAllocs(t *testing.T) {
	w := newWorld(t, masquerade)
	left := w.pass(lan, udp("10.77.1.2:5000", "198.51.100.7:53"))
	b := testpkt.ICMP{Src: addr("192.0.2.99"), Dst: addr("203.0.113.1"), Type: 11, Payload: left}.Bytes()
	h, _ := packet.Parse(b)
	c := w.conn
	c.Dir, c.ErrorL3 = conntrack.Reply, 28
	m := packet.Meta{CsumValid: true}
	if n := testing.AllocsPerRun(100, func() {
		RewriteDst(b, &h, &m, &c)
		RewriteSrc(b, &h, &m, &c, netip.Addr{})
	}); n != 0 {
		t.Errorf("%v allocations an error", n)
	}
}

// A quoted segment of a connection with edits shows its sender the numbers that it used (docs/spec/nat.md, section 7.5).
func TestUnadjustQuote(t *testing.T) {
	var edits [2]conntrack.Edits
	for dir, e := range []conntrack.Edit{{Start: 1000, Len: 22, New: make([]byte, 27)}, {Start: 9000, Len: 30, New: make([]byte, 20)}} {
		if err := edits[dir].Add(e); err != nil {
			t.Fatal(err)
		}
	}
	quoted := func(seq, ack uint32, options []byte) []byte {
		return testpkt.TCP{Src: ap("10.77.1.2:5000"), Dst: ap("198.51.100.7:21"), Seq: seq, Ack: ack, Flags: packet.FlagACK, Options: options, Payload: []byte("data")}.Bytes()
	}
	sack := func(lead int, left, right uint32) []byte {
		b := append(bytes.Repeat([]byte{1}, lead), 5, 10)
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, left), right)
		return append(b, make([]byte, (4-len(b)%4)%4)...)
	}
	c := conntrack.Conn{Dir: conntrack.Reply, ErrorL3: 28}
	for name, tt := range map[string]struct {
		n          int
		left, sent []byte // options
	}{
		"whole":                {n: 44},
		"without the checksum": {n: 36},
		"eight bytes":          {n: 28},
		"SACK":                 {n: 56, left: sack(2, 9060, 9100), sent: sack(2, 9050, 9090)},
		"SACK at an odd place": {n: 56, left: sack(1, 9060, 9100), sent: sack(1, 9050, 9090)},
	} {
		n := tt.n
		e := testpkt.ICMP{Src: addr("192.0.2.99"), Dst: addr("10.77.1.2"), Type: 11, Payload: quoted(1027, 9030, tt.left)[:n]}
		b := e.Bytes()
		h, _ := packet.Parse(b)
		if reason := UnadjustQuote(b, &h, &packet.Meta{}, &c, &edits); reason != packet.NotDropped {
			t.Fatal(name, reason)
		}
		if err := testpkt.Verify(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want := quoted(1022, 9020, tt.sent)[:n]; !bytes.Equal(b[28:], want) {
			t.Errorf("%s: quote % x, want % x", name, b[28:], want)
		}
	}
}

// A quoted SYN shows its sender the maximum segment size that it wrote and the checksum that it sent, as far as the quote
// has them; nothing else of it changes.
func TestUnclampQuote(t *testing.T) {
	mss := func(lead []byte, v uint16) []byte {
		return append(append(bytes.Clone(lead), 2, 4, byte(v>>8), byte(v)), make([]byte, (4-len(lead)%4)%4)...)
	}
	for name, tt := range map[string]struct {
		flags uint8
		lead  []byte // options before it
		left  uint16 // in the quote; 0: as clamped
		cut   int    // bytes of the TCP header that are quoted
		sent  uint16 // 0: as quoted
	}{
		"whole":                       {packet.FlagSYN, nil, 0, 24, 1460},
		"SYN-ACK":                     {packet.FlagSYN | packet.FlagACK, nil, 0, 24, 1460},
		"at an odd offset":            {packet.FlagSYN, []byte{1}, 0, 28, 1460},
		"behind others":               {packet.FlagSYN, []byte{3, 3, 7, 4, 2}, 0, 32, 1460},
		"the option cut off":          {packet.FlagSYN, nil, 0, 20, 1460},
		"an odd option cut off":       {packet.FlagSYN, []byte{1}, 0, 20, 1460},
		"the checksum cut off":        {packet.FlagSYN, nil, 0, 16, 0},
		"eight bytes":                 {packet.FlagSYN, nil, 0, 8, 0},
		"no SYN":                      {packet.FlagACK, nil, 0, 24, 0},
		"another SYN's, too large":    {packet.FlagSYN, nil, 65500, 24, 0},
		"a SYN that sends data along": {packet.FlagSYN, nil, 0, 28, 1460},
	} {
		for _, e := range [][4]string{{"10.77.1.2:5000", "198.51.100.7:80", "192.0.2.99", "10.77.1.2"}, {"[fd77::2]:5000", "[2001:db8::7]:80", "2001:db8:99::9", "fd77::2"}} {
			build := testpkt.TCP{Src: ap(e[0]), Dst: ap(e[1]), Seq: 7, Flags: tt.flags, Options: mss(tt.lead, 1460), Payload: []byte("data")}
			left := build.Bytes()
			h, _ := packet.Parse(left)
			changed := ClampMSS(left, &h, &packet.Meta{}, 1200)
			if tt.flags&packet.FlagSYN == 0 {
				changed = ^packet.Delta(260) // of the SYN that went before it
			}
			if tt.left != 0 {
				build.Options = mss(tt.lead, tt.left)
				left = build.Bytes()
			}
			n := int(h.L4) + tt.cut
			want := bytes.Clone(left[:n])
			if tt.sent != 0 {
				build.Options = mss(tt.lead, tt.sent)
				want = build.Bytes()[:n]
			}
			for _, partial := range []bool{false, true} {
				b := testpkt.ICMP{Src: addr(e[2]), Dst: addr(e[3]), Type: 3, Payload: left[:n]}.Bytes()
				eh, _ := packet.Parse(b)
				var m packet.Meta
				if partial {
					m.CsumStart, m.CsumOff = uint16(eh.L4), 2
					var pseudo uint16
					if eh.Family == 6 {
						pseudo = packet.PseudoHeader(eh.Src(b), eh.Dst(b), packet.ProtoICMPv6, len(b)-int(eh.L4))
					}
					binary.BigEndian.PutUint16(b[eh.L4+2:], pseudo)
				}
				c := conntrack.Conn{Dir: conntrack.Reply, ErrorL3: uint16(eh.L4) + 8, ErrorClamp: changed}
				UnclampQuote(b, &eh, &m, &c)
				if partial {
					packet.FinishChecksum(b, &eh, &m)
				}
				if err := testpkt.Verify(b); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if got := b[eh.L4+8:]; !bytes.Equal(got, want) {
					t.Errorf("%s: quote\n% x, want\n% x", name, got, want)
				}
			}
		}
	}
}

// FuzzICMPError: what a mapping did to a packet an error about it undoes, however the quote is cut; and the outer
// checksum stays right.
func FuzzICMPError(f *testing.F) {
	for _, e := range [][2]string{{"10.77.1.2:40000", "203.0.113.1:8080"}, {"[fd77::2]:40000", "[2001:db8:113::1]:8080"}} {
		for _, b := range firstPackets(ap(e[0]), ap(e[1]), []byte("seed")) {
			f.Add(b, uint16(60), uint16(1), uint16(2))
			f.Add(b, uint16(packet.IPv4Size+12), uint16(1), uint16(2)) // a header of SCTP, whole, and nothing behind it
			f.Add(b, uint16(packet.IPv6Size+12), uint16(1), uint16(2))
		}
	}
	f.Fuzz(func(t *testing.T, sent []byte, cut, srcID, dstID uint16) {
		h, reason := packet.Parse(sent)
		if reason != packet.NotDropped || h.Fragment {
			return
		}
		sent = sent[:h.Len]
		var c conntrack.Conn
		p := conntrack.Packet{Bytes: sent, H: &h, Meta: &packet.Meta{}}
		if conntrack.New(conntrack.DefaultConfig()).Track(0, second, &p, &c) != packet.NotDropped || c.Info != conntrack.InfoNew {
			return
		}
		src, dst, from := addr("198.51.100.1"), addr("10.88.0.9"), addr("192.0.2.99")
		if h.Family == 6 {
			src, dst, from = addr("2001:db8::1"), addr("fd88::9"), addr("2001:db8:99::9")
		}
		bindAs(&c, netip.AddrPortFrom(src, srcID), netip.AddrPortFrom(dst, dstID))
		left := bytes.Clone(sent)
		rewriteBoth(t, left, &h, &packet.Meta{}, &c)
		n := min(len(left), max(int(cut), int(h.L4)+8))
		if n < int(h.L4)+8 || len(left) > 60000 {
			return
		}
		e := testpkt.ICMP{Src: from, Dst: packet.Addr(h.Src(left)), Type: 3, Payload: left[:n]}.Bytes()
		eh, reason := packet.Parse(e)
		if reason != packet.NotDropped {
			t.Fatal(reason)
		}
		c.Dir, c.ErrorL3 = conntrack.Reply, eh.L4+8
		rewriteBoth(t, e, &eh, &packet.Meta{}, &c)
		if err := testpkt.Verify(e); err != nil {
			t.Fatalf("% x: %v", e, err)
		}
		quote := e[eh.L4+8:]
		clearSum(&h, quote)
		want := bytes.Clone(sent[:n])
		clearSum(&h, want)
		if !bytes.Equal(quote, want) {
			t.Errorf("quote % x\nsent  % x", quote, want)
		}
	})
}

// clearSum takes a transport checksum out of a comparison where there are two ways to write it, or none to update
// it: half of one, and 0 and ffff in sums that were wrong from the start.
func clearSum(h *packet.Headers, b []byte) {
	off, _ := checksumOffset(h.Proto)
	at := int(h.L4) + int(off)
	switch {
	case h.Proto == packet.ProtoSCTP && len(b) < int(h.L4)+12: // half a checksum is not updated
		clear(b[min(len(b), int(h.L4)+8):])
	case off != 0 && len(b) == at+1: // half a checksum is not updated
		b[at] = 0
	case off != 0 && len(b) >= at+2 && b[at] == 0xff && b[at+1] == 0xff:
		b[at], b[at+1] = 0, 0
	}
}
