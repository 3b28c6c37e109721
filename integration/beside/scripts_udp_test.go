package beside

import "fmt"

// udpScripts are about mappings, and about who may use them.
func udpScripts(tb *table) {
	tb.both("udp: a question and its answer", `
		q: a:5000 > x:53 udp "hello"
		r: q.dst > q.src udp "world"
		q2: a:5000 > x:53 udp "again"
		r2: q2.dst > q2.src udp "and again"`)
	tb.both("udp: no payload", `
		q: a:5000 > x:53 udp
		r: q.dst > q.src udp`)
	for _, n := range []int{1, 2, 511, 1471, 1472} {
		tb.add(fmt.Sprintf("udp: %d bytes", n), false, with("q: a:5000 > x:53 udp len=<n>\nr: q.dst > q.src udp len=<n>", "n", fmt.Sprint(n)))
	}
	tb.both("udp: two peers", `
		q: a:5000 > x:53 udp "to x"
		r: a:5000 > y:53 udp "to y"
		s: q.dst > q.src udp "from x"
		u: r.dst > r.src udp "from y"`)
	tb.both("udp: two ports of a peer", `
		q: a:5000 > x:53 udp "one"
		r: a:5000 > x:54 udp "two"
		s: r.dst > r.src udp "from two"`)
	for _, kind := range []struct{ name, port, second string }{
		{"high", "5000", "y:53"}, {"high", "5000", "x:53"},
		{"low", "300", "x:53"}, {"middle", "700", "x:53"}, {"odd", "5001", "x:53"},
	} {
		text := with(`
			q: a:<p> > x:53 udp "from a"
			r: b:<p> > <second> udp "from b"
			s: q.dst > q.src udp "to a"
			u: r.dst > r.src udp "to b"`, "p", kind.port, "second", kind.second)
		tb.both(fmt.Sprintf("udp: two hosts, one %s port, to x and %s", kind.name, kind.second[:1]), text)
		tb.in("strict", fmt.Sprintf("udp: two hosts, one %s port, to x and %s", kind.name, kind.second[:1]), false, text)
	}
	for _, who := range []struct{ name, from string }{
		{"another port of the peer", "x:54"}, {"another host", "y:53"},
	} {
		text := with(`
			q: a:5000 > x:53 udp "hello"
			r: <from> > q.src udp "who am I"
			s: x:53 > q.src udp "the peer"`, "from", who.from)
		tb.both("udp: an answer from "+who.name, text)
		tb.in("strict", "udp: an answer from "+who.name, false, text)
	}
	tb.both("udp: nobody asked", `r: x:53 > pub:5000 udp "hello"`)
	tb.both("udp: nobody asked the router", `r: x:53 > wan:5000 udp "hello"`)
	tb.both("udp: to the router from inside", `q: a:5000 > lan:33434 udp "hello"`)
	tb.both("udp: to the router's outside address from inside", `q: a:5000 > wan:33434 udp "hello"`)
	tb.both("udp: to an outside address that nobody uses", `q: a:5000 > pub:7000 udp "hello"`)
	tb.both("udp: between inside hosts", `
		q: a:5000 > b:53 udp "hello"
		r: b:53 > a:5000 udp "world"`)
	tb.both("udp: port 0 of the source", `q: a:0 > x:53 udp "hello"`)
	tb.both("udp: port 0 of the destination", `q: a:5000 > x:0 udp "hello"`)
	for _, tos := range []string{"0x10", "0xb8", "3"} {
		tb.both("udp: type of service "+tos, with(`
			q: a:5000 > x:53 udp tos=<tos> "hello"
			r: q.dst > q.src udp tos=<tos> "world"`, "tos", tos))
	}
	tb.add("udp: do not fragment", false, `
		q: a:5000 > x:53 udp df "hello"
		r: q.dst > q.src udp df "world"`)
	for _, ttl := range []string{"2", "3", "255"} {
		tb.both("udp: hops left "+ttl, with(`
			q: a:5000 > x:53 udp ttl=<ttl> "hello"
			r: q.dst > q.src udp ttl=<ttl> "world"`, "ttl", ttl))
	}
}

// datagramScripts are about checksums, headers and addresses that a router must refuse or keep.
func datagramScripts(tb *table) {
	tb.both("udp: no checksum", `
		q: a:5000 > x:53 udp sum=none "hello"
		r: q.dst > q.src udp sum=none "world"`)
	tb.both("udp: a wrong checksum from inside", `
		q: a:5000 > x:53 udp sum=bad "hello"
		r: a:5000 > x:53 udp "hello"`)
	tb.both("udp: a wrong checksum from outside", `
		q: a:5000 > x:53 udp "hello"
		r: q.dst > q.src udp sum=bad "world"`)
	tb.add("udp: a wrong IP checksum from inside", false, `q: a:5000 > x:53 udp ipsum=bad "hello"`)
	tb.add("udp: a wrong IP checksum from outside", false, `
		q: a:5000 > x:53 udp "hello"
		r: q.dst > q.src udp ipsum=bad "world"`)
	for name, opt := range map[string]string{
		"router alert (RFC 2113)": "94040000", "no-operations": "01010101", "record route (RFC 791)": "0707040000000000", "full timestamp (RFC 791)": "4408090000000000",
	} {
		tb.add("udp: IP option "+name, false, with(`
			q: a:5000 > x:53 udp opt=<opt> "hello"
			r: q.dst > q.src udp opt=<opt> "world"`, "opt", opt))
	}
	tb.both("udp: an inside source from outside", `q: a:5000 > x:53 udp via=out "hello"`)
	tb.both("udp: an inside source from outside to an inside host", `q: a:5000 > b:53 udp via=out "hello"`)
	tb.both("udp: an outside source from inside", `q: x:5000 > y:53 udp via=in "hello"`)
	tb.both("udp: the shared address as a source from outside", `q: pub:5000 > x:53 udp via=out "hello"`)
	tb.both("udp: the router as a source from outside", `q: wan:5000 > pub:53 udp via=out "hello"`)
	tb.both("udp: the router as a source from inside", `q: lan:5000 > x:53 udp via=in "hello"`)
	tb.both("udp: to itself", `q: a:5000 > a:53 udp "hello"`)
	tb.both("udp: to an inside host from outside", `q: x:5000 > a:53 udp "hello"`)
	tb.both("udp: to an inside host from outside, of a flow that is known", `
		q: a:5000 > x:53 udp "hello"
		r: x:53 > a:5000 udp "world"`)
	tb.both("udplite: a question and its answer", `
		q: a:5000 > x:53 udplite "hello"
		r: q.dst > q.src udplite "world"`)
	tb.both("udplite: a wrong checksum", `q: a:5000 > x:53 udplite sum=bad "hello"`)
	tb.both("udp and tcp: one port", `
		q: a:5000 > x:53 udp "hello"
		r: a:5000 > x:53 tcp flags=S seq=100
		s: x:53 > r.src tcp flags=SA seq=900 ack=101`)
	tb.both("udp and udplite: one port", `
		q: a:5000 > x:53 udp "hello"
		r: b:5000 > x:53 udplite "hello"
		s: r.dst > r.src udplite "world"`)
}

// icmpQueryScripts are about echo and the other questions of ICMP.
func icmpQueryScripts(tb *table) {
	tb.both("echo: a question and its answer", `
		q: a > x echo id=77 n=1 "ping"
		r: x > q.src pong id=q.id n=1 "ping"
		q2: a > x echo id=77 n=2 "ping"
		r2: x > q.src pong id=q2.id n=2 "ping"`)
	tb.both("echo: two hosts, one identifier", `
		q: a > x echo id=77 n=1 "from a"
		r: b > x echo id=77 n=1 "from b"
		s: x > q.src pong id=q.id n=1 "from a"
		u: x > r.src pong id=r.id n=1 "from b"`)
	tb.both("echo: two hosts, one identifier, to x and y", `
		q: a > x echo id=77 n=1 "from a"
		r: b > y echo id=77 n=1 "from b"
		u: y > r.src pong id=r.id n=1 "from b"`)
	tb.both("echo: one identifier, to x and y", `
		q: a > x echo id=77 n=1 "to x"
		r: a > y echo id=77 n=1 "to y"
		u: y > r.src pong id=r.id n=1 "to y"`)
	tb.both("echo: identifier 0", `
		q: a > x echo id=0 n=0 "ping"
		r: x > q.src pong id=q.id n=0 "ping"`)
	tb.both("echo: an answer from another host", `
		q: a > x echo id=77 n=1 "ping"
		r: y > q.src pong id=q.id n=1 "ping"`)
	tb.both("echo: an answer with another identifier", `
		q: a > x echo id=77 n=1 "ping"
		r: x > q.src pong id=4242 n=1 "ping"`)
	tb.both("echo: two answers to one question", `
		q: a > x echo id=77 n=1 "ping"
		r: x > q.src pong id=q.id n=1 "ping"
		s: x > q.src pong id=q.id n=1 "ping"`)
	tb.both("echo: an answer that nobody asked for, from inside", `q: a > x pong id=77 n=1 "ping"`)
	tb.both("echo: a question from outside to the shared address", `q: x > pub echo id=77 n=1 "ping"`)
	tb.both("echo: a question from outside to the router", `q: x > wan echo id=77 n=1 "ping"`)
	tb.both("echo: a question from inside to the router", `q: a > lan echo id=77 n=1 "ping"`)
	tb.both("echo: a question from inside to the router's outside address", `q: a > wan echo id=77 n=1 "ping"`)
	tb.both("echo: a question from outside to the router's inside address", `q: x > lan echo id=77 n=1 "ping"`)
	tb.both("echo: a question back", `
		q: a > x echo id=77 n=1 "ping"
		r: x > q.src echo id=q.id n=1 "ping"`)
	tb.both("echo: a wrong checksum", `
		q: a > x echo id=77 n=1 sum=bad "ping"
		r: a > x echo id=77 n=1 "ping"
		s: x > r.src pong id=r.id n=1 sum=bad "ping"`)
	for typ, name := range map[int]string{13: "timestamp", 15: "information", 17: "address mask", 10: "router solicitation", 9: "router advertisement", 19: "a type that is not assigned"} {
		tb.add("icmp: "+name+" request", false, fmt.Sprintf("q: a > x icmp type=%d/0 rest=5046273 \"123456789012\"", typ))
	}
	for typ, name := range map[int]string{14: "timestamp", 16: "information", 18: "address mask"} {
		tb.add("icmp: "+name+" reply that nobody asked for", false, fmt.Sprintf("q: x > pub icmp type=%d/0 rest=5046273 \"123456789012\"", typ))
	}
	for typ, name := range map[int]string{139: "node information query", 133: "router solicitation", 130: "multicast listener query", 200: "a private type"} {
		tb.add("icmp: "+name, true, fmt.Sprintf("q: a > x icmp type=%d/0 rest=5046273 \"123456789012\"", typ))
	}
}
