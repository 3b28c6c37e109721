package beside

import "fmt"

// forwardScripts are about ports that lead inside.
func forwardScripts(tb *table) {
	tb.both("forward: tcp", `
		forward tcp 8080 a:80
		h: x:6000 > pub:8080 tcp flags=S seq=100
		s: h.dst > h.src tcp flags=SA seq=900 ack=101
		u: x:6000 > pub:8080 tcp flags=A seq=101 ack=901
		p: x:6000 > pub:8080 tcp flags=PA seq=101 ack=901 "GET"
		w: h.dst > h.src tcp flags=PA seq=901 ack=104 "200"`)
	tb.both("forward: udp", `
		forward udp 8053 a:53
		q: x:6000 > pub:8053 udp "hello"
		r: q.dst > q.src udp "world"`)
	tb.both("forward: udp, two peers of one port", `
		forward udp 8053 a:53
		q: x:6000 > pub:8053 udp "from x"
		r: y:6000 > pub:8053 udp "from y"
		s: q.dst > q.src udp "to x"
		u: r.dst > r.src udp "to y"`)
	tb.add("forward: two ports to two hosts", false, `
		forward tcp 8080 a:80
		forward tcp 8081 b:80
		h: x:6000 > pub:8080 tcp flags=S seq=100
		h2: x:6000 > pub:8081 tcp flags=S seq=200
		s: h.dst > h.src tcp flags=SA seq=900 ack=101
		s2: h2.dst > h2.src tcp flags=SA seq=900 ack=201`)
	tb.add("forward: two ports to one, from one endpoint", false, `
		forward udp 8053 a:53
		forward udp 8054 a:53
		q: x:6000 > pub:8053 udp "one"
		r: x:6000 > pub:8054 udp "two"
		s: q.dst > q.src udp "to one"
		u: a:53 > r.src udp "to two"`)
	tb.add("forward: another protocol of the port", false, `
		forward tcp 8080 a:80
		q: x:6000 > pub:8080 udp "hello"`)
	tb.add("forward: the port beside", false, `
		forward tcp 8080 a:80
		h: x:6000 > pub:8081 tcp flags=S seq=100`)
	forwardSharedScripts(tb)
	forwardErrorScripts(tb)
}

// forwardSharedScripts are about the outside port of a forward, and others who want it.
func forwardSharedScripts(tb *table) {
	tb.add("forward: the host itself asks from the port", false, `
		forward udp 8053 a:53
		q: a:53 > x:53 udp "hello"
		r: x:53 > q.src udp "world"`)
	tb.add("forward: another host asks from the outside port", false, `
		forward udp 8053 a:53
		q: b:8053 > x:53 udp "hello"
		r: x:53 > q.src udp "world"
		s: y:53 > pub:8053 udp "for a"`)
	tb.add("forward: another host asks the same peer from the outside port", false, `
		forward udp 8053 a:53
		q: b:8053 > x:53 udp "hello"
		r: x:53 > pub:8053 udp "for whom"`)
}

// forwardErrorScripts are about refusals, errors, pieces and connections that nobody saw begin.
func forwardErrorScripts(tb *table) {
	tb.add("forward: a closed port answers with a reset", false, `
		forward tcp 8080 a:80
		h: x:6000 > pub:8080 tcp flags=S seq=100
		k: h.dst > h.src tcp flags=RA seq=0 ack=101
		h2: x:6000 > pub:8080 tcp flags=S seq=5000`)
	tb.both("forward: port unreachable from inside", `
		forward udp 8053 a:53
		q: x:6000 > pub:8053 udp "hello"
		e: a > x icmp type=3/3 quote=q`)
	tb.both("forward: an error from outside about an answer", `
		forward udp 8053 a:53
		q: x:6000 > pub:8053 udp "hello"
		r: q.dst > q.src udp "world"
		e: y > pub icmp type=3/1 quote=r`)
	tb.both("forward: no hop left", `
		forward udp 8053 a:53
		q: x:6000 > pub:8053 udp ttl=1 "hello"`)
	tb.both("forward: in fragments", `
		forward udp 8053 a:53
		q: x:6000 > pub:8053 udp len=1300 frag=576
		r: q.dst > q.src udp len=1300 frag=576`)
	tb.add("forward: sctp", false, `
		forward sctp 8080 a:80
		q: x:6000 > pub:8080 sctp chunk=0100001412345678000100000001000100000001
		r: q.dst > q.src sctp tag=305419896 chunk=0200001487654321000100000001000100000001`)
	tb.add("forward: a middle state of nobody's", false, `
		forward tcp 8080 a:80
		p: x:6000 > pub:8080 tcp flags=A seq=101 ack=901`)
	tb.in("careful", "forward: a middle state of nobody's", false, `
		forward tcp 8080 a:80
		p: x:6000 > pub:8080 tcp flags=A seq=101 ack=901`)
	tb.in("careful", "forward: tcp", false, `
		forward tcp 8080 a:80
		h: x:6000 > pub:8080 tcp flags=S seq=100
		s: h.dst > h.src tcp flags=SA seq=900 ack=101`)
}

// hairpinScripts are about inside hosts that reach each other by the outside address (RFC 4787, REQ-9).
func hairpinScripts(tb *table) {
	tb.both("hairpin: tcp to a forward", `
		forward tcp 8080 b:80
		h: a:5000 > pub:8080 tcp flags=S seq=100
		s: h.dst > h.src tcp flags=SA seq=900 ack=101
		u: a:5000 > pub:8080 tcp flags=A seq=101 ack=901
		p: a:5000 > pub:8080 tcp flags=PA seq=101 ack=901 "GET"
		w: h.dst > h.src tcp flags=PA seq=901 ack=104 "200"`)
	tb.both("hairpin: udp to a forward", `
		forward udp 8053 b:53
		q: a:5000 > pub:8053 udp "hello"
		r: q.dst > q.src udp "world"`)
	tb.both("hairpin: udp to a forward of one's own", `
		forward udp 8053 a:53
		q: a:5000 > pub:8053 udp "hello"
		r: q.dst > q.src udp "world"`)
	tb.both("hairpin: udp to a mapping", `
		q: b:5001 > x:53 udp "open"
		r: a:5000 > q.src udp "hello"`)
	tb.both("hairpin: udp to a mapping, both have asked", `
		q: b:5001 > x:53 udp "open"
		r: a:5000 > x:53 udp "open"
		s: a:5000 > q.src udp "to b"
		u: b:5001 > r.src udp "to a"
		w: a:5000 > q.src udp "to b again"`)
	tb.both("hairpin: an error about it", `
		forward udp 8053 b:53
		q: a:5000 > pub:8053 udp "hello"
		e: b > q.src icmp type=3/3 quote=q`)
	tb.both("hairpin: no hop left", `
		forward udp 8053 b:53
		q: a:5000 > pub:8053 udp ttl=1 "hello"`)
	tb.both("hairpin: echo to the shared address", `q: a > pub echo id=77 n=1 "ping"`)
	tb.add("hairpin: in fragments", false, `
		forward udp 8053 b:53
		q: a:5000 > pub:8053 udp len=1300 frag=576
		r: q.dst > q.src udp len=1300 frag=576`)
	tb.add("hairpin: from a port that is mapped already", false, `
		forward udp 8053 b:53
		m: a:5000 > x:53 udp "open"
		q: a:5000 > pub:8053 udp "hello"
		r: q.dst > q.src udp "world"`)
	tb.add("hairpin: two hosts, one port", false, `
		forward udp 8053 b:53
		q: a:5000 > pub:8053 udp "from a"
		r: b:5000 > pub:8053 udp "from b"
		s: b:53 > q.src udp "to a"
		u: b:53 > r.src udp "to b"`)
}

// portlessScripts are about protocols without ports, and those whose ports are not TCP's or UDP's.
func portlessScripts(tb *table) {
	const initChunk, initAck = "0100001412345678000100000001000100000001", "0200001487654321000100000001000100000001"
	tb.both("sctp: an association begins", `
		q: a:5000 > x:80 sctp chunk=`+initChunk+`
		r: x:80 > q.src sctp tag=305419896 chunk=`+initAck+`
		s: a:5000 > x:80 sctp tag=2271560481 chunk=0a00000868656c6c
		u: x:80 > q.src sctp tag=305419896 chunk=0b000004`)
	tb.add("sctp: a wrong verification tag", false, `
		q: a:5000 > x:80 sctp chunk=`+initChunk+`
		r: x:80 > q.src sctp tag=1 chunk=`+initAck)
	tb.add("sctp: a wrong checksum", false, `q: a:5000 > x:80 sctp sum=bad chunk=`+initChunk)
	tb.add("sctp: data that nobody knows", false, `q: a:5000 > x:80 sctp tag=7 chunk=0003001400000001000000000000000068656c6c`)
	tb.add("sctp: two hosts, one port", false, `
		q: a:5000 > x:80 sctp chunk=`+initChunk+`
		r: b:5000 > x:80 sctp chunk=`+initChunk+`
		s: x:80 > r.src sctp tag=305419896 chunk=`+initAck)
	for proto, name := range map[int]string{50: "esp", 51: "ah", 4: "ipip", 89: "ospf", 115: "l2tp", 253: "an experiment"} {
		tb.add("portless: "+name, false, fmt.Sprintf(`
			q: a > x raw proto=%d "0123456789abcdef"
			r: x > q.src raw proto=%d "fedcba9876543210"`, proto, proto))
		tb.add("portless: "+name+" that nobody asked for", false, fmt.Sprintf("r: x > pub raw proto=%d \"0123456789abcdef\"", proto))
	}
	for _, p := range []struct{ name, text string }{
		{"esp", "raw proto=50"}, {"gre0", "gre0"}, {"gre0 with a key", "gre0 key=7"}, {"ipip", "raw proto=4"},
	} {
		flow := with("q: a > x <p> len=40\nr: x > q.src <p> len=40\n", "p", p.text)
		tb.add("error: 3/4 from outside about "+p.name, false, flow+"e: y > q.src icmp type=3/4 rest=1300 quote=q")
		tb.add("error: 3/2 from inside about "+p.name, false, flow+"e: a > x icmp type=3/2 quote=r")
	}
	tb.add("portless: esp of two hosts to one peer", false, `
		q: a > x raw proto=50 "0123456789abcdef"
		s: b > x raw proto=50 "0123456789abcdef"
		r: x > q.src raw proto=50 "fedcba9876543210"`)
	tb.add("portless: esp of two hosts to two peers", false, `
		q: a > x raw proto=50 "0123456789abcdef"
		s: b > y raw proto=50 "0123456789abcdef"
		r: y > s.src raw proto=50 "fedcba9876543210"`)
	tb.add("gre0: a tunnel", false, `
		q: a > x gre0 len=40
		r: x > q.src gre0 len=40`)
	tb.add("gre0: a tunnel with a key", false, `
		q: a > x gre0 key=7 len=40
		r: x > q.src gre0 key=7 len=40`)
	tb.add("gre0: another key in the answer", false, `
		q: a > x gre0 key=7 len=40
		r: x > q.src gre0 key=8 len=40`)
	tb.add("gre0: two hosts, two keys, one peer", false, `
		q: a > x gre0 key=7 len=40
		s: b > x gre0 key=8 len=40
		r: x > q.src gre0 key=7 len=40
		u: x > q.src gre0 key=8 len=40`)
	tb.add("gre0: two hosts, no key, one peer", false, `
		q: a > x gre0 len=40
		s: b > x gre0 len=40
		r: x > q.src gre0 len=40`)
	tb.add("gre0: that nobody asked for", false, `r: x > pub gre0 len=40`)
	tb.add("gre: a call that nobody announced, from inside", false, `q: a > x gre call=4660 seq=0 len=40`)
	tb.add("gre: a call that nobody announced, from outside", false, `q: x > pub gre call=4660 seq=0 len=40`)
}

// limitScripts are about an outside address with one port. With more, the kernel takes any of them each time.
func limitScripts(tb *table) {
	tb.in("narrow", "narrow: two flows of one host for one port, to one peer", false, `
		q: a:5000 > x:53 udp "one"
		r: a:5001 > x:53 udp "two"
		s: x:53 > q.src udp "to one"`)
	tb.in("narrow", "narrow: two hosts' flows for one port, to two peers", false, `
		q: a:5000 > x:53 udp "one"
		r: b:5001 > y:53 udp "two"
		s: x:53 > q.src udp "to one"`)
	tb.in("narrow", "narrow: tcp has ports of its own", false, `
		q: a:5000 > x:53 udp "one"
		h: a:5001 > x:53 tcp flags=S seq=100
		s: x:53 > h.src tcp flags=SA seq=900 ack=101`)
	tb.in("narrow", "narrow: a source port that is the one", false, `
		q: a:40000 > x:53 udp "one"
		r: x:53 > q.src udp "back"`)
	tb.in("narrow", "narrow: one mapping for many peers", false, `
		q: a:5000 > x:53 udp "one"
		r: a:5000 > x:54 udp "two"
		s: a:5000 > y:53 udp "three"
		u: y:53 > s.src udp "to three"`)
}
