package beside

import "fmt"

// state is a way to bring a connection into a state of the tracker (RFC 9293, section 3.3.2), and the numbers that
// both ends would send next: what the probes of that state are built from.
type state struct {
	name         string
	text         string
	mine, theirs int // next sequence numbers of a and x
}

var states = statesOf()

func statesOf() []state {
	const (
		syn     = "h: a:5000 > x:80 tcp flags=S seq=100\n"
		synAck  = syn + "s: x:80 > h.src tcp flags=SA seq=900 ack=101\n"
		open    = synAck + "u: a:5000 > x:80 tcp flags=A seq=101 ack=901\n"
		closing = open + "f: a:5000 > x:80 tcp flags=FA seq=101 ack=901\n"
		half    = closing + "fa: x:80 > h.src tcp flags=A seq=901 ack=102\n"
		last    = half + "g: x:80 > h.src tcp flags=FA seq=901 ack=102\n"
		waiting = last + "ga: a:5000 > x:80 tcp flags=A seq=102 ack=902\n"
		reset   = open + "k: x:80 > h.src tcp flags=RA seq=901 ack=101\n"
		crossed = syn + "s: x:80 > h.src tcp flags=S seq=900\n"
	)
	return []state{
		{"a SYN", syn, 101, 900},
		{"two SYNs that cross", crossed, 101, 901},
		{"a SYN and its answer", synAck, 101, 901},
		{"the handshake", open, 101, 901},
		{"a FIN", closing, 102, 901},
		{"a FIN and its acknowledgement", half, 102, 901},
		{"FINs both ways", last, 102, 902},
		{"the close", waiting, 102, 902},
		{"a reset", reset, 101, 901},
	}
}

// tcpStateScripts send each kind of segment from each side in each state, and then an acknowledgement both ways, which
// shows what became of the connection.
func tcpStateScripts(tb *table) {
	for _, st := range states {
		for _, from := range []string{"a", "x"} {
			seq, ack, ends := st.mine, st.theirs, "a:5000 > x:80"
			if from == "x" {
				seq, ack, ends = st.theirs, st.mine, "x:80 > h.src"
			}
			for _, p := range []struct{ name, text string }{
				{"a SYN", fmt.Sprintf("flags=S seq=%d", seq+50000)},
				{"a SYN-ACK", fmt.Sprintf("flags=SA seq=%d ack=%d", seq, ack)},
				{"a FIN", fmt.Sprintf("flags=FA seq=%d ack=%d", seq, ack)},
				{"an ACK", fmt.Sprintf("flags=A seq=%d ack=%d", seq, ack)},
				{"data", fmt.Sprintf("flags=PA seq=%d ack=%d len=20", seq, ack)},
				{"a reset", fmt.Sprintf("flags=RA seq=%d ack=%d", seq, ack)},
			} {
				tb.add(fmt.Sprintf("tcp: after %s, %s from %s", st.name, p.name, from), false, fmt.Sprintf(
					"%sp: %s tcp %s\nv: a:5000 > x:80 tcp flags=A seq=%d ack=%d\nw: x:80 > h.src tcp flags=A seq=%d ack=%d\n",
					st.text, ends, p.text, st.mine, st.theirs, st.theirs, st.mine))
			}
		}
	}
}

// tcpResetScripts send resets that are exact, near and far (RFC 5961, section 3).
func tcpResetScripts(tb *table) {
	open := states[3].text
	for _, from := range []struct {
		name, ends string
		next       int
		ack        int
	}{{"a", "a:5000 > x:80", 101, 901}, {"x", "x:80 > h.src", 901, 101}} {
		for _, off := range []int{-1, 1, 1000, 7999, 8000, 100000, -90000} {
			seq := uint32(from.next + off)
			for _, flags := range []string{"R", "RA"} {
				tb.add(fmt.Sprintf("reset: %s %+d from %s", flags, off, from.name), false, fmt.Sprintf(
					"%sp: %s tcp flags=%s seq=%d ack=%d\nv: a:5000 > x:80 tcp flags=PA seq=101 ack=901 len=10\nw: x:80 > h.src tcp flags=PA seq=901 ack=111 len=10\n",
					open, from.ends, flags, seq, from.ack))
			}
		}
	}
	tb.both("reset: of a SYN", states[0].text+`
		p: x:80 > h.src tcp flags=RA seq=0 ack=101
		h2: a:5000 > x:80 tcp flags=S seq=7000
		s: x:80 > h2.src tcp flags=SA seq=9000 ack=7001`)
	tb.add("reset: of a SYN, of a port that is then another host's", false, states[0].text+`
		p: x:80 > h.src tcp flags=RA seq=0 ack=101
		h2: b:5000 > x:80 tcp flags=S seq=7000`)
	tb.add("reset: of a SYN, without acknowledgement", false, states[0].text+`
		p: x:80 > h.src tcp flags=R seq=0
		s: x:80 > h.src tcp flags=SA seq=900 ack=101`)
	tb.add("reset: that nobody knows, from inside", false, `p: a:5000 > x:80 tcp flags=R seq=100`)
	tb.add("reset: that nobody knows, from outside", false, `p: x:80 > pub:5000 tcp flags=RA seq=100 ack=1`)
	tb.add("reset: with data", false, open+`
		p: x:80 > h.src tcp flags=RA seq=901 ack=101 "why"`)
}

// tcpWindowScripts send segments in, at the edge of and outside the windows of both ends, with strict and liberal
// tracking.
func tcpWindowScripts(tb *table) {
	for _, g := range []string{"default", "liberal"} {
		for _, from := range []struct {
			name, ends string
			seq, ack   int
		}{{"a", "a:5000 > x:80", 101, 901}, {"x", "x:80 > h.src", 901, 101}} {
			for _, p := range []struct {
				name     string
				seq, ack int
			}{
				{"the window's last byte", 7999 - 10, 0}, {"the window's last byte and one", 8000 - 10, 0},
				{"the window's edge", 8000, 0}, {"one past the window's edge", 8001, 0}, {"far past the window", 90000, 0},
				{"old data", -50, 0}, {"very old data", -90000, 0},
				{"an acknowledgement of what was not sent", 0, 1}, {"an acknowledgement of much that was not sent", 0, 90000},
				{"an old acknowledgement", 0, -20}, {"a very old acknowledgement", 0, -100000},
			} {
				tb.in(g, fmt.Sprintf("window: %s from %s", p.name, from.name), false, fmt.Sprintf(
					"%sp: %s tcp flags=PA seq=%d ack=%d len=10\nv: a:5000 > x:80 tcp flags=A seq=101 ack=901\n",
					states[3].text, from.ends, uint32(from.seq+p.seq), uint32(from.ack+p.ack)))
			}
		}
	}
	for _, scale := range []struct{ name, mine, theirs string }{
		{"both", "ws=4", "ws=4"}, {"only a", "ws=4", "sackok"}, {"only x", "sackok", "ws=4"}, {"too much", "ws=15", "ws=15"},
	} {
		for _, seq := range []int{8101, 100000, 128101, 2000000} {
			tb.add(fmt.Sprintf("window: scaled by %s, data at %d", scale.name, seq), false, fmt.Sprintf(
				"h: a:5000 > x:80 tcp flags=S seq=100 %s\ns: x:80 > h.src tcp flags=SA seq=900 ack=101 %s\n"+
					"u: a:5000 > x:80 tcp flags=A seq=101 ack=901\nw: x:80 > h.src tcp flags=A seq=901 ack=101\np: a:5000 > x:80 tcp flags=PA seq=%d ack=901 len=10\n",
				scale.mine, scale.theirs, seq))
		}
	}
	tb.add("window: of zero, probed", false, states[3].text+`
		w: x:80 > h.src tcp flags=A seq=901 ack=101 win=0
		p: a:5000 > x:80 tcp flags=A seq=100 ack=901
		p2: a:5000 > x:80 tcp flags=PA seq=101 ack=901 "x"
		w2: x:80 > h.src tcp flags=A seq=901 ack=101 win=8000`)
	tb.add("window: it moves with acknowledgements", false, states[3].text+`
		p: a:5000 > x:80 tcp flags=PA seq=101 ack=901 len=1400
		p2: a:5000 > x:80 tcp flags=PA seq=1501 ack=901 len=1400
		w: x:80 > h.src tcp flags=A seq=901 ack=2901
		p3: a:5000 > x:80 tcp flags=PA seq=10801 ack=901 len=100
		p4: a:5000 > x:80 tcp flags=PA seq=10902 ack=901 len=100`)
	tb.add("window: sequence numbers wrap", false, `
		h: a:5000 > x:80 tcp flags=S seq=4294967290
		s: x:80 > h.src tcp flags=SA seq=4294967200 ack=4294967291
		u: a:5000 > x:80 tcp flags=A seq=4294967291 ack=4294967201
		p: a:5000 > x:80 tcp flags=PA seq=4294967291 ack=4294967201 len=100
		w: x:80 > h.src tcp flags=PA seq=4294967201 ack=95 len=200
		u2: a:5000 > x:80 tcp flags=A seq=95 ack=105
		p2: a:5000 > x:80 tcp flags=PA seq=90000 ack=105 len=10`)
}

// badFlags are sets that no segment carries (RFC 9293, section 3.10.7).
var badFlags = []string{"N", "SF", "SFA", "SR", "SRA", "FR", "F", "P", "U", "FPU", "FSRPAU", "FU"}

// tcpScripts are about the rest of TCP.
func tcpScripts(tb *table) {
	for _, flags := range badFlags {
		tb.add("tcp: a first segment with flags "+flags, false, "p: a:5000 > x:80 tcp seq=100 flags="+flags)
		tb.add("tcp: a segment in between with flags "+flags, false, states[3].text+"p: a:5000 > x:80 tcp seq=101 ack=901 flags="+flags)
	}
	tb.both("tcp: a conversation", states[3].text+`
		p: a:5000 > x:80 tcp flags=PA seq=101 ack=901 "GET / HTTP/1.0\r\n\r\n"
		w: x:80 > h.src tcp flags=PA seq=901 ack=119 "HTTP/1.0 200 OK\r\n\r\n"
		p2: a:5000 > x:80 tcp flags=A seq=119 ack=920
		f: x:80 > h.src tcp flags=FA seq=920 ack=119
		fa: a:5000 > x:80 tcp flags=FA seq=119 ack=921
		g: x:80 > h.src tcp flags=A seq=921 ack=120`)
	tb.both("tcp: a SYN that nobody asked for", `p: x:80 > pub:5000 tcp flags=S seq=100`)
	tb.both("tcp: a SYN to the router from outside", `p: x:80 > wan:5000 tcp flags=S seq=100`)
	tb.both("tcp: a SYN to the router from inside", `p: a:5000 > lan:80 tcp flags=S seq=100`)
	tb.add("tcp: an ACK that nobody knows, from outside", false, `p: x:80 > pub:5000 tcp flags=A seq=100 ack=1`)
	tcpSharedScripts(tb)
	tcpOpenScripts(tb)
	tcpAgainScripts(tb)
	tcpOptionScripts(tb)
}

// tcpSharedScripts are about connections that nobody saw begin, and about ports that several use.
func tcpSharedScripts(tb *table) {
	for _, g := range []string{"default", "careful"} {
		for _, p := range []struct{ name, text string }{
			{"an ACK", "flags=A"}, {"data", "flags=PA len=100"}, {"a FIN", "flags=FA"}, {"a SYN-ACK", "flags=SA"},
		} {
			tb.in(g, "tcp: picked up by "+p.name, false, with(`
				p: a:5000 > x:80 tcp seq=101 ack=901 <p>
				w: x:80 > p.src tcp flags=A seq=901 ack=101
				p2: a:5000 > x:80 tcp flags=PA seq=101 ack=901 "more"`, "p", p.text))
		}
		tb.in(g, "tcp: the handshake", false, states[3].text)
	}
	tb.both("tcp: two hosts, one port", `
		h: a:5000 > x:80 tcp flags=S seq=100
		h2: b:5000 > x:80 tcp flags=S seq=200
		s: x:80 > h.src tcp flags=SA seq=900 ack=101
		s2: x:80 > h2.src tcp flags=SA seq=800 ack=201`)
	for _, g := range []string{"default", "strict"} {
		tb.in(g, "tcp: two hosts, one port, to x and y", false, `
			h: a:5000 > x:80 tcp flags=S seq=100
			h2: b:5000 > y:80 tcp flags=S seq=200
			s2: y:80 > h2.src tcp flags=SA seq=800 ack=201`)
		tb.in(g, "tcp: one port, to x and y", false, `
			h: a:5000 > x:80 tcp flags=S seq=100
			h2: a:5000 > y:80 tcp flags=S seq=200
			s2: y:80 > h2.src tcp flags=SA seq=800 ack=201`)
		tb.in(g, "tcp: a SYN from another port of the peer", false, `
			h: a:5000 > x:80 tcp flags=S seq=100
			p: x:81 > h.src tcp flags=S seq=300
			s: a:5000 > x:81 tcp flags=SA seq=700 ack=301`)
		tb.in(g, "tcp: a SYN from another host", false, `
			h: a:5000 > x:80 tcp flags=S seq=100
			p: y:80 > h.src tcp flags=S seq=300`)
	}
}

// tcpOpenScripts are about handshakes that are not the usual one.
func tcpOpenScripts(tb *table) {
	tb.both("tcp: both open at once", states[1].text+`
		c: a:5000 > x:80 tcp flags=SA seq=100 ack=901
		d: x:80 > h.src tcp flags=SA seq=900 ack=101
		p: a:5000 > x:80 tcp flags=PA seq=101 ack=901 "hello"
		w: x:80 > h.src tcp flags=PA seq=901 ack=106 "world"`)
	tb.add("tcp: a SYN sent again", false, states[0].text+`
		h2: a:5000 > x:80 tcp flags=S seq=100
		s: x:80 > h.src tcp flags=SA seq=900 ack=101
		s2: x:80 > h.src tcp flags=SA seq=900 ack=101`)
	tb.add("tcp: a SYN sent again with another number", false, states[0].text+`
		h2: a:5000 > x:80 tcp flags=S seq=7000
		s: x:80 > h.src tcp flags=SA seq=900 ack=7001
		u: a:5000 > x:80 tcp flags=A seq=7001 ack=901`)
	tb.add("tcp: an answer to a SYN with a wrong number", false, states[0].text+`
		s: x:80 > h.src tcp flags=SA seq=900 ack=5000
		s2: x:80 > h.src tcp flags=SA seq=900 ack=101`)
}

// tcpAgainScripts are about ports that are used again.
func tcpAgainScripts(tb *table) {
	tb.add("tcp: the port is used again after the close", false, states[7].text+`
		h2: a:5000 > x:80 tcp flags=S seq=70000
		s2: x:80 > h2.src tcp flags=SA seq=80000 ack=70001
		u2: a:5000 > x:80 tcp flags=A seq=70001 ack=80001
		p: a:5000 > x:80 tcp flags=PA seq=70001 ack=80001 "again"`)
	tb.add("tcp: the port is used again after a reset", false, states[8].text+`
		h2: a:5000 > x:80 tcp flags=S seq=70000
		s2: x:80 > h2.src tcp flags=SA seq=80000 ack=70001
		u2: a:5000 > x:80 tcp flags=A seq=70001 ack=80001`)
	tb.add("tcp: a client that started anew", false, states[3].text+`
		h2: a:5000 > x:80 tcp flags=S seq=70000
		c: x:80 > h.src tcp flags=A seq=901 ack=101
		k: a:5000 > x:80 tcp flags=R seq=101
		h3: a:5000 > x:80 tcp flags=S seq=70000
		s3: x:80 > h3.src tcp flags=SA seq=80000 ack=70001`)
	tb.add("tcp: a challenge while closing", false, states[6].text+`
		h2: a:5000 > x:80 tcp flags=S seq=70000
		c: x:80 > h.src tcp flags=A seq=902 ack=102
		k: a:5000 > x:80 tcp flags=R seq=102`)
}

// tcpOptionScripts are about what else segments carry, and about their order at the end.
func tcpOptionScripts(tb *table) {
	tb.add("tcp: keepalives", false, states[3].text+`
		p: a:5000 > x:80 tcp flags=A seq=100 ack=901
		w: x:80 > h.src tcp flags=A seq=901 ack=101
		p2: x:80 > h.src tcp flags=A seq=900 ack=101 "\x00"
		w2: a:5000 > x:80 tcp flags=A seq=101 ack=901`)
	tb.add("tcp: urgent data", false, states[3].text+`p: a:5000 > x:80 tcp flags=PAU seq=101 ack=901 urg=3 "abc"`)
	tb.add("tcp: congestion flags", false, `
		h: a:5000 > x:80 tcp flags=SEC seq=100
		s: x:80 > h.src tcp flags=SAE seq=900 ack=101
		u: a:5000 > x:80 tcp flags=AC seq=101 ack=901 tos=2
		w: x:80 > h.src tcp flags=AE seq=901 ack=101 tos=3`)
	tb.add("tcp: options", false, `
		h: a:5000 > x:80 tcp flags=S seq=100 mss=1460 sackok ts=1000 ws=7
		s: x:80 > h.src tcp flags=SA seq=900 ack=101 mss=1460 sackok ts=2000 ws=7
		u: a:5000 > x:80 tcp flags=A seq=101 ack=901 ts=1001`)
	tb.add("tcp: selective acknowledgements", false, `
		h: a:5000 > x:80 tcp flags=S seq=100 sackok
		s: x:80 > h.src tcp flags=SA seq=900 ack=101 sackok
		u: a:5000 > x:80 tcp flags=A seq=101 ack=901
		p: a:5000 > x:80 tcp flags=PA seq=101 ack=901 len=100
		p2: a:5000 > x:80 tcp flags=PA seq=301 ack=901 len=100
		w: x:80 > h.src tcp flags=A seq=901 ack=201 sack=301-401
		w2: x:80 > h.src tcp flags=A seq=901 ack=201 sack=90301-90401`)
	tb.add("tcp: a SYN with data", false, `
		h: a:5000 > x:80 tcp flags=S seq=100 "early"
		s: x:80 > h.src tcp flags=SA seq=900 ack=106
		u: a:5000 > x:80 tcp flags=A seq=106 ack=901`)
	tb.add("tcp: wrong checksums", false, states[3].text+`
		p: a:5000 > x:80 tcp flags=PA seq=101 ack=901 sum=bad "x"
		w: x:80 > h.src tcp flags=PA seq=901 ack=101 sum=bad "x"
		p2: a:5000 > x:80 tcp flags=PA seq=101 ack=901 "x"`)
	tb.add("tcp: data after half a close", false, states[5].text+`
		w: x:80 > h.src tcp flags=PA seq=901 ack=102 len=500
		p: a:5000 > x:80 tcp flags=A seq=102 ack=1401
		g: x:80 > h.src tcp flags=FA seq=1401 ack=102
		ga: a:5000 > x:80 tcp flags=A seq=102 ack=1402`)
	tb.add("tcp: FINs that cross", false, states[4].text+`
		g: x:80 > h.src tcp flags=FA seq=901 ack=101
		ga: a:5000 > x:80 tcp flags=A seq=102 ack=902
		gb: x:80 > h.src tcp flags=A seq=902 ack=102`)
	tb.add("tcp: a FIN sent again", false, states[4].text+`
		f2: a:5000 > x:80 tcp flags=FA seq=101 ack=901
		fa: x:80 > h.src tcp flags=A seq=901 ack=102`)
}
