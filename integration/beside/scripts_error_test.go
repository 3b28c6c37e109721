package beside

import "fmt"

// asked are flows that errors are about: what a sends, what x answers.
var asked = []struct{ proto, text string }{
	{"udp", `q: a:5000 > x:53 udp len=600
		r: q.dst > q.src udp len=600`},
	{"tcp", `h: a:5000 > x:80 tcp flags=S seq=100
		s: x:80 > h.src tcp flags=SA seq=900 ack=101
		u: a:5000 > x:80 tcp flags=A seq=101 ack=901
		q: a:5000 > x:80 tcp flags=PA seq=101 ack=901 len=600
		r: x:80 > q.src tcp flags=PA seq=901 ack=101 len=600`},
	{"echo", `q: a > x echo id=77 n=1 len=600
		r: x > q.src pong id=q.id n=1 len=600`},
}

// The errors that a router translates (RFC 792, RFC 1812 section 5.2.7; RFC 4443, section 3).
var (
	errors4 = []string{"3/0", "3/1", "3/2", "3/3", "3/4", "3/13", "4/0", "5/1", "11/0", "11/1", "12/0"}
	errors6 = []string{"1/0", "1/1", "1/3", "1/4", "2/0", "3/0", "3/1", "4/0", "4/1"}
)

// errorScripts are about ICMP errors from both sides, about each protocol.
func errorScripts(tb *table) {
	for _, v6 := range []bool{false, true} {
		kinds := errors4
		if v6 {
			kinds = errors6
		}
		for _, f := range asked {
			for _, kind := range kinds {
				rest := "0"
				if kind == "3/4" || kind == "2/0" {
					rest = "1300"
				}
				from := with("\ne: y > q.src icmp type=<kind> rest=<rest> quote=q", "kind", kind, "rest", rest)
				back := with("\ne: a > x icmp type=<kind> rest=<rest> quote=r", "kind", kind, "rest", rest)
				tb.add("error: "+kind+" from outside about "+f.proto, v6, f.text+from)
				tb.add("error: "+kind+" from inside about "+f.proto, v6, f.text+back)
			}
			quoteScripts(tb, f.proto, v6, f.text)
		}
	}
	tb.both("error: about udp before an answer", `
		q: a:5000 > x:53 udp len=600
		e: y > q.src icmp type=3/3 quote=q`)
	tb.add("error: about tcp before an answer", false, `
		q: a:5000 > x:80 tcp flags=S seq=100
		e: y > q.src icmp type=3/3 quote=q
		s: x:80 > q.src tcp flags=SA seq=900 ack=101`)
	tb.add("error: about tcp, a sequence number that was never sent", false, asked[1].text+`
		f: x:80 > q.src tcp flags=PA seq=90000901 ack=701 len=10
		e: a > x icmp type=3/4 rest=1300 sent=f`)
	for _, kind := range []string{"3/1", "3/4"} {
		tb.add("error: "+kind+" about tcp that was acknowledged", false, asked[1].text+with(`
			v: x:80 > q.src tcp flags=A seq=1501 ack=701
			e: y > q.src icmp type=<kind> rest=1300 quote=q`, "kind", kind))
	}
	tb.add("error: about sctp", false, `
		q: a:5000 > x:80 sctp chunk=0100001412345678000100000001000100000001
		e: y > q.src icmp type=3/3 quote=q`)
	tb.add("error: a redirect from the far end's router", false, asked[0].text+`
		e: y > q.src icmp type=5/0 quote=q`)
	tb.both("error: about an error", asked[0].text+`
		e: y > q.src icmp type=3/3 quote=q
		f: y > q.src icmp type=11/0 quote=e`)
	tb.add("error: from another inside host", false, asked[0].text+`
		e: b > x icmp type=3/3 quote=r`)
	tb.add("error: the flow goes on behind it", false, asked[0].text+`
		e: y > q.src icmp type=3/3 quote=q
		q2: a:5000 > x:53 udp "still here"
		r2: x:53 > q.src udp "so am I"`)
}

// quoteScripts are about what an error quotes.
func quoteScripts(tb *table, proto string, v6 bool, text string) {
	header := 20
	if v6 {
		header = 40
	}
	typ := "3/1"
	if v6 {
		typ = "1/3"
	}
	add := func(name, more string) {
		tb.add("error: "+name+" about "+proto, v6, text+"\n"+with(more, "typ", typ))
	}
	for _, n := range []int{0, 4, 7, 8, 12, 20, 28, 528} {
		if n == 12 && proto != "tcp" {
			continue
		}
		add(fmt.Sprintf("a quote of %d bytes behind the IP header", n), fmt.Sprintf("e: y > q.src icmp type=<typ> quote=q trim=%d", header+n))
	}
	add("half an IP header quoted", fmt.Sprintf("e: y > q.src icmp type=<typ> quote=q trim=%d", header/2))
	add("a wrong checksum", "e: y > q.src icmp type=<typ> quote=q sum=bad")
	add("a forged quote", "e: x > q.src icmp type=<typ> sent=q")
	add("another destination", "e: x > wan icmp type=<typ> quote=q")
	add("a quote of what never was", "f: a:5999 > y:53 udp via=out \"forged\"\ne: x > q.src icmp type=<typ> sent=f")
}

// routerErrorScripts are about the errors that the router itself makes.
func routerErrorScripts(tb *table) {
	for _, f := range []struct{ name, text string }{
		{"udp", "a:5000 > x:53 udp"}, {"tcp", "a:5000 > x:80 tcp flags=S seq=100"}, {"echo", "a > x echo id=77"},
	} {
		tb.both("router: no hop left for "+f.name, with(`q: <p> ttl=1 len=40`, "p", f.text))
		tb.both("router: no hop left for "+f.name+", then enough", with("q: <p> ttl=1 len=40\nr: <p> len=40", "p", f.text))
	}
	for n, name := range map[int]string{0: "nothing", 8: "8 bytes", 600: "600 bytes", 1400: "1400 bytes"} {
		tb.both("router: no hop left, quoting "+name, fmt.Sprintf("q: a:5000 > x:53 udp ttl=1 len=%d", n))
	}
	tb.both("router: no hop left from outside", `
		q: a:5000 > x:53 udp "hello"
		r: q.dst > q.src udp ttl=1 "world"`)
	tb.add("router: no hop left for a packet with a type of service", false, `q: a:5000 > x:53 udp ttl=1 tos=0x10 "hello"`)
	tb.add("router: no hop left for a packet with IP options", false, `q: a:5000 > x:53 udp ttl=1 opt=94040000 "hello"`)
	tb.both("router: no hop left for an error", `
		q: a:5000 > x:53 udp "hello"
		r: q.dst > q.src udp "world"
		e: a > x icmp type=3/3 quote=r ttl=1`)
	tb.both("router: no hop left for a fragment", `q: a:5000 > x:53 udp len=1200 frag=600 ttl=1`)
	tb.add("router: no hop left for an answer to ping", false, `
		q: a > x echo id=77 n=1 "ping"
		r: x > q.src pong id=q.id n=1 ttl=1 "ping"`)
	for _, v6 := range []bool{false, true} {
		over := 28
		if v6 {
			over = 48
		}
		for _, n := range []int{1400, 1401, 1500} {
			tb.in("mtu", fmt.Sprintf("router: %d bytes for 1400, do not fragment", n), v6, fmt.Sprintf("q: a:5000 > x:53 udp df len=%d", n-over))
		}
	}
	tb.in("mtu", "router: 1500 bytes for 1400", false, `q: a:5000 > x:53 udp len=1472`)
	tb.in("mtu", "router: 1408 bytes for 1400", false, `q: a:5000 > x:53 udp len=1380`)
	tb.in("mtu", "router: a segment of 1500 bytes for 1400", false, asked[1].text+`
		w: a:5000 > x:80 tcp flags=PA seq=701 ack=1501 df len=1460
		w2: a:5000 > x:80 tcp flags=PA seq=701 ack=1501 df len=1360`)
	for _, mss := range []string{"1460", "1400", "1360", "1300", "536"} {
		tb.in("mtu", "router: a segment size of "+mss, false, with(`
			q: a:5000 > x:80 tcp flags=S seq=100 mss=<mss> ws=7 sackok
			s: x:80 > q.src tcp flags=SA seq=900 ack=101 mss=<mss> ws=7 sackok`, "mss", mss))
		tb.in("mtu", "router: a segment size of "+mss, true, with(`
			q: a:5000 > x:80 tcp flags=S seq=100 mss=<mss>
			s: x:80 > q.src tcp flags=SA seq=900 ack=101 mss=<mss>`, "mss", mss))
	}
	for _, v6 := range []bool{false, true} {
		unreachable, header := "3/1", "40"
		if v6 {
			unreachable, header = "1/3", "60"
		}
		for name, cut := range map[string]string{"": "", ", without its options": " trim=" + header} {
			tb.in("mtu", "error: about a SYN whose segment size was lowered"+name, v6, with(`
				q: a:5000 > x:80 tcp flags=S seq=100 mss=1460 ws=7
				e: y > q.src icmp type=<t> quote=q<cut>
				s: x:80 > q.src tcp flags=SA seq=900 ack=101 mss=1460 ws=7
				f: a > x icmp type=<t> quote=s<cut>`, "t", unreachable, "cut", cut))
		}
	}
	tb.in("mtu", "router: no segment size", false, `q: a:5000 > x:80 tcp flags=S seq=100 ws=7`)
	tb.in("mtu", "router: an answer that is too big to go back", false, `
		q: a > x echo id=77 n=1 df len=1372
		r: x > q.src pong id=q.id n=1 df len=1372
		w: a > x echo id=77 n=2 df len=1373`)
}

// fragmentScripts are about datagrams in pieces.
func fragmentScripts(tb *table) {
	orders := map[string]string{"in order": "0,1,2", "the last first": "2,1,0", "the first last": "1,2,0", "one twice": "0,1,1,2"}
	protos := []struct{ name, q, r string }{
		{"udp", "a:5000 > x:53 udp", "q.dst > q.src udp"}, {"echo", "a > x echo id=77", "x > q.src pong id=q.id"},
	}
	for name, order := range orders {
		for _, p := range protos {
			tb.both("fragment: "+p.name+", "+name, with(`
				q: <q> len=1300 frag=576 order=<o>
				r: <r> len=1300 frag=576 order=<o>`, "q", p.q, "r", p.r, "o", order))
		}
	}
	tb.both("fragment: tcp", `
		q: a:5000 > x:80 tcp flags=S seq=100
		s: x:80 > q.src tcp flags=SA seq=900 ack=101
		u: a:5000 > x:80 tcp flags=A seq=101 ack=901
		w: a:5000 > x:80 tcp flags=PA seq=101 ack=901 len=1300 frag=576
		r: x:80 > q.src tcp flags=PA seq=901 ack=1401 len=1300 frag=576`)
	tb.both("fragment: larger than any link", `
		q: a:5000 > x:53 udp len=4000 frag=1500
		r: q.dst > q.src udp len=4000 frag=1500`)
	tb.add("fragment: the largest datagram", false, `
		q: a:5000 > x:53 udp len=65507 frag=1500
		r: q.dst > q.src udp len=65507 frag=1500`)
	tb.add("fragment: the largest datagram", true, `
		q: a:5000 > x:53 udp len=65527 frag=1500
		r: q.dst > q.src udp len=65527 frag=1500`)
	tb.both("fragment: the smallest pieces", `q: a:5000 > x:53 udp len=160 frag=96`)
	tb.add("fragment: do not fragment, in fragments", false, `
		q: a:5000 > x:53 udp df len=1300 frag=576
		r: q.dst > q.src udp df len=1300 frag=576`)
	tb.both("fragment: a piece missing", `
		q: a:5000 > x:53 udp len=1300 frag=576 order=0,2
		r: a:5000 > x:53 udp "whole"`)
	tb.both("fragment: only the last", `q: a:5000 > x:53 udp len=1300 frag=576 order=2`)
	tb.both("fragment: a wrong checksum in the whole", `q: a:5000 > x:53 udp len=1300 frag=576 sum=bad`)
	tb.both("fragment: that nobody asked for", `q: x:53 > pub:5000 udp len=1300 frag=576`)
	tb.both("fragment: to the router", `q: x > wan echo id=77 len=1300 frag=576`)
	tb.both("fragment: to the router, and its answer too", `
		q: x > wan echo id=77 len=3000 frag=1500
		w: a > lan echo id=77 len=1500 frag=1000`)
	tb.add("fragment: the largest echo to the router", false, `q: a > lan echo id=77 len=65507 frag=1500`)
	tb.add("fragment: the largest echo to the router", true, `q: a > lan echo id=77 len=65527 frag=1500`)
	tb.both("fragment: an error about what was in pieces", `
		q: a:5000 > x:53 udp len=1300 frag=576
		e: y > q.src icmp type=3/1 quote=q`)
	tb.in("mtu", "fragment: pieces that no longer fit", false, `
		q: a:5000 > x:53 udp len=2800 frag=1500
		r: q.dst > q.src udp len=2800 frag=1400`)
	tb.in("mtu", "fragment: pieces that no longer fit", true, `q: a:5000 > x:53 udp len=2800 frag=1500`)
	reuseScripts(tb)
}

// reuseScripts are about identifications that are used again, while fragments of the last time wait or not.
func reuseScripts(tb *table) {
	tb.both("fragment: an identification used again", `
		q: a:5000 > x:53 udp len=1300 frag=576 ipid=1
		w: a:5000 > x:53 udp len=1200 frag=576 ipid=1
		u: a:5001 > x:53 udp len=1300 frag=576 ipid=1`)
	tb.both("fragment: pieces twice", `q: a:5000 > x:53 udp len=1300 frag=576 order=0,0,1,1,2`)
	tb.both("fragment: a piece again, after the whole", `
		q: a:5000 > x:53 udp len=1300 frag=576 order=0,1,2,1
		w: a:5000 > x:53 udp len=1300 frag=576`)
	tb.both("fragment: another first piece", `
		q: a:5000 > x:53 udp len=1300 frag=576 order=0 ipid=1
		w: a:5000 > x:53 udp len=1200 frag=576 ipid=1`)
	tb.both("fragment: pieces that overlap, then a whole", `
		q: a:5000 > x:53 udp len=1300 frag=608 order=0 ipid=1
		w: a:5000 > x:53 udp len=1300 frag=576 order=1 ipid=1
		u: a:5000 > x:53 udp len=1300 frag=576 ipid=1`)
	for name, n := range map[string]int{"few": 10, "many": 66} {
		text := "q: a:5000 > x:53 udp len=1300 frag=576 order=0 ipid=1\n"
		for i := range n {
			text += fmt.Sprintf("w%d: a:5000 > x:53 udp len=1200 frag=1000\n", i)
		}
		tb.both("fragment: a piece late, "+name+" wholes between", text+"r: a:5000 > x:53 udp len=1300 frag=576 order=1,2 ipid=1")
	}
}
