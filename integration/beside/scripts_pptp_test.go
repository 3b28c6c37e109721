package beside

import (
	"fmt"
	"strings"
)

// The control connection of PPTP (RFC 2637, section 3.1), from a's SYN to the reply to its start. Both ends have sent
// 156 bytes more: a goes on at 257, x at 1057.
const pptpOpen = `
	h: a:<p> > x:1723 tcp flags=S seq=100
	s: x:1723 > h.src tcp flags=SA seq=900 ack=101
	u: a:<p> > x:1723 tcp flags=A seq=101 ack=901
	c: a:<p> > x:1723 tcp flags=PA seq=101 ack=901 pptp=scrq
	d: x:1723 > h.src tcp flags=PA seq=901 ack=257 pptp=scrp
`

// pptpCall is a call on it: a's ID is 1111, x's is 2222. a goes on at 425, x at 1089.
const pptpCall = pptpOpen + `
	o: a:<p> > x:1723 tcp flags=PA seq=257 ack=1057 pptp=ocrq,1111
	op: x:1723 > h.src tcp flags=PA seq=1057 ack=425 pptp=ocrp,2222,o.call
`

// pptpData is data of the call, both ways.
const pptpData = `
	g: a > x gre call=2222 seq=0 len=40
	gr: x > pub gre call=o.call seq=0 ack=0 len=40
	g2: a > x gre call=2222 seq=1 ack=0 len=40
	gr2: x > pub gre call=o.call ack=1
`

// pptpScripts are about the helper: call IDs, and the GRE of calls.
func pptpScripts(tb *table) {
	add := func(name, text string) { tb.add("pptp: "+name, false, with(text, "p", "40000")) }
	add("a call", pptpCall+pptpData)
	add("a call, the server's data first", pptpCall+`
		gr: x > pub gre call=o.call seq=0 len=40
		g: a > x gre call=2222 seq=0 ack=0 len=40`)
	add("data before the reply", pptpOpen+`
		o: a:<p> > x:1723 tcp flags=PA seq=257 ack=1057 pptp=ocrq,1111
		gr: x > pub gre call=o.call seq=0 len=40
		op: x:1723 > h.src tcp flags=PA seq=1057 ack=425 pptp=ocrp,2222,o.call
		gr2: x > pub gre call=o.call seq=1 len=40`)
	add("data of another call ID", pptpCall+`
		gr: x > pub gre call=333 seq=0 len=40
		g: a > x gre call=444 seq=0 len=40`)
	add("data of another peer", pptpCall+`
		gr: y > pub gre call=o.call seq=0 len=40`)
	add("call ID 0", pptpOpen+`
		o: a:<p> > x:1723 tcp flags=PA seq=257 ack=1057 pptp=ocrq,0
		op: x:1723 > h.src tcp flags=PA seq=1057 ack=425 pptp=ocrp,0,o.call
		g: a > x gre call=0 seq=0 len=40
		gr: x > pub gre call=o.call seq=0 len=40`)
	add("two clients, one call ID, one port", `
		h: a:<p> > x:1723 tcp flags=S seq=100
		s: x:1723 > h.src tcp flags=SA seq=900 ack=101
		u: a:<p> > x:1723 tcp flags=A seq=101 ack=901
		c: a:<p> > x:1723 tcp flags=PA seq=101 ack=901 pptp=scrq
		d: x:1723 > h.src tcp flags=PA seq=901 ack=257 pptp=scrp
		o: a:<p> > x:1723 tcp flags=PA seq=257 ack=1057 pptp=ocrq,1111
		op: x:1723 > h.src tcp flags=PA seq=1057 ack=425 pptp=ocrp,2222,o.call
		bh: b:<p> > x:1723 tcp flags=S seq=100
		bs: x:1723 > bh.src tcp flags=SA seq=900 ack=101
		bu: b:<p> > x:1723 tcp flags=A seq=101 ack=901
		bc: b:<p> > x:1723 tcp flags=PA seq=101 ack=901 pptp=scrq
		bd: x:1723 > bh.src tcp flags=PA seq=901 ack=257 pptp=scrp
		bo: b:<p> > x:1723 tcp flags=PA seq=257 ack=1057 pptp=ocrq,1111
		bop: x:1723 > bh.src tcp flags=PA seq=1057 ack=425 pptp=ocrp,2222,bo.call
		g: a > x gre call=2222 seq=0 len=40
		bg: b > x gre call=2222 seq=0 len=41
		gr: x > pub gre call=o.call seq=0 len=40
		bgr: x > pub gre call=bo.call seq=0 len=41`)
	add("two calls of one connection", pptpCall+`
		o2: a:<p> > x:1723 tcp flags=PA seq=425 ack=1089 pptp=ocrq,1112
		op2: x:1723 > h.src tcp flags=PA seq=1089 ack=593 pptp=ocrp,2223,o2.call`+pptpData+`
		k: a > x gre call=2223 seq=0 len=41
		kr: x > pub gre call=o2.call seq=0 len=41`)
	add("a call that the server makes", pptpOpen+`
		i: x:1723 > h.src tcp flags=PA seq=1057 ack=257 pptp=icrq,7777
		ip: a:<p> > x:1723 tcp flags=PA seq=257 ack=1277 pptp=icrp,8888,7777
		ic: x:1723 > h.src tcp flags=PA seq=1277 ack=281 pptp=iccn,ip.call
		g: a > x gre call=7777 seq=0 len=40
		gr: x > pub gre call=ip.call seq=0 len=40`)
	pptpMessageScripts(add)
	pptpSegmentScripts(add)
	pptpDataScripts(add)
	pptpServerScripts(add)
}

// pptpMessageScripts are about what ends or disturbs a call.
func pptpMessageScripts(add func(name, text string)) {
	for _, m := range []struct{ name, text string }{
		{"a client that hangs up", "m: a:<p> > x:1723 tcp flags=PA seq=425 ack=1089 pptp=ccrq,1111"},
		{"a server that hangs up", "m: x:1723 > h.src tcp flags=PA seq=1089 ack=425 pptp=cdn,2222"},
		{"an error on the line", "m: x:1723 > h.src tcp flags=PA seq=1089 ack=425 pptp=wen,o.call"},
		{"link information", "m: a:<p> > x:1723 tcp flags=PA seq=425 ack=1089 pptp=sli,2222"},
		{"link information from the server", "m: x:1723 > h.src tcp flags=PA seq=1089 ack=425 pptp=sli,o.call"},
		{"an echo", "m: a:<p> > x:1723 tcp flags=PA seq=425 ack=1089 pptp=echorq"},
		{"a stop", "m: a:<p> > x:1723 tcp flags=PA seq=425 ack=1089 pptp=stoprq"},
	} {
		add(m.name, pptpCall+pptpData+m.text+`
			z: x > pub gre call=o.call seq=9 len=40
			z2: a > x gre call=2222 seq=9 len=40`)
	}
	add("the control connection is reset", pptpCall+pptpData+`
		m: x:1723 > h.src tcp flags=RA seq=1089 ack=425
		z: x > pub gre call=o.call seq=9 len=40
		z2: a > x gre call=2222 seq=9 len=40`)
	add("a request sent again", pptpOpen+`
		o: a:<p> > x:1723 tcp flags=PA seq=257 ack=1057 pptp=ocrq,1111
		o2: a:<p> > x:1723 tcp flags=PA seq=257 ack=1057 pptp=ocrq,1111
		op: x:1723 > h.src tcp flags=PA seq=1057 ack=425 pptp=ocrp,2222,o.call
		op2: x:1723 > h.src tcp flags=PA seq=1057 ack=425 pptp=ocrp,2222,o.call`+pptpData)
}

// pptpSegmentScripts are about messages as segments carry them.
func pptpSegmentScripts(add func(name, text string)) {
	for _, at := range []int{4, 9, 12, 13, 14, 100} {
		add(fmt.Sprintf("a request in two segments, cut at %d", at), pptpOpen+fmt.Sprintf(`
			o1: a:<p> > x:1723 tcp flags=PA seq=257 ack=1057 pptp=ocrq,1111 cut=0-%d
			o2: a:<p> > x:1723 tcp flags=PA seq=%d ack=1057 pptp=ocrq,1111 cut=%d-168`, at, 257+at, at))
	}
	add("two messages in a segment", pptpOpen+`
		o: a:<p> > x:1723 tcp flags=PA seq=257 ack=1057 pptp=echorq/ocrq,1111`)
	add("three messages in a segment of the server", pptpOpen+`
		o: a:<p> > x:1723 tcp flags=PA seq=257 ack=1057 pptp=ocrq,1111
		op: x:1723 > h.src tcp flags=PA seq=1057 ack=425 pptp=echorp/ocrp,2222,o.call/echorq`+pptpData)
	add("not PPTP at all", pptpOpen+`
		o: a:<p> > x:1723 tcp flags=PA seq=257 ack=1057 "GET / HTTP/1.1\r\n\r\n"
		r: x:1723 > h.src tcp flags=PA seq=1057 ack=275 "HTTP/1.1 400\r\n\r\n"`)
}

// pptpDataScripts are about the GRE of a call.
func pptpDataScripts(add func(name, text string)) {
	add("an error from outside about data", pptpCall+pptpData+`e: y > pub icmp type=3/4 rest=1300 quote=g2`)
	add("an error from inside about data", pptpCall+pptpData+`e: a > x icmp type=3/4 rest=1300 quote=gr`)
	add("data in fragments", pptpCall+`
		g: a > x gre call=2222 seq=0 len=1300 frag=576
		gr: x > pub gre call=o.call seq=0 len=1300 frag=576`)
	add("no hop left for data", pptpCall+pptpData+`z: a > x gre call=2222 seq=2 ttl=1 len=40`)
	add("no hop left for the first data, then enough", pptpCall+`
		g: x > pub gre call=o.call seq=0 ttl=1 len=40
		g2: x > pub gre call=o.call seq=1 len=40`)
	add("plain GRE beside a call", pptpCall+pptpData+`
		z: a > x gre0 len=40
		z2: x > pub gre0 len=40`)
}

// pptpServerScripts have the server inside.
func pptpServerScripts(add func(name, text string)) {
	const server = `
		forward tcp 1723 a:1723
		h: x:40000 > pub:1723 tcp flags=S seq=100
		s: a:1723 > x:40000 tcp flags=SA seq=900 ack=101
		u: x:40000 > pub:1723 tcp flags=A seq=101 ack=901
		c: x:40000 > pub:1723 tcp flags=PA seq=101 ack=901 pptp=scrq
		d: a:1723 > x:40000 tcp flags=PA seq=901 ack=257 pptp=scrp
		o: x:40000 > pub:1723 tcp flags=PA seq=257 ack=1057 pptp=ocrq,1111
		op: a:1723 > x:40000 tcp flags=PA seq=1057 ack=425 pptp=ocrp,2222,o.call
		g: x > pub gre call=op.call seq=0 len=40
		gr: a > x gre call=o.call seq=0 ack=0 len=40`
	add("a server behind a forward", server)
	other := func(text string) string { // the same from y, with other labels
		return strings.NewReplacer("x:40000", "y:40000", "x > ", "y > ", "a > x", "a > y", "o.call", "yo.call", "op.call", "yop.call",
			"\n\t\t", "\n\t\ty").Replace(text)
	}
	_, call, _ := strings.Cut(server, "a:1723\n")
	add("two clients of a server behind a forward, one call ID", server+other("\n"+call))
	add("two servers behind forwards, one call ID", `
		forward tcp 1724 b:1723`+server+`
		bh: x:40001 > pub:1724 tcp flags=S seq=100
		bs: b:1723 > x:40001 tcp flags=SA seq=900 ack=101
		bu: x:40001 > pub:1724 tcp flags=A seq=101 ack=901
		bc: x:40001 > pub:1724 tcp flags=PA seq=101 ack=901 pptp=scrq
		bd: b:1723 > x:40001 tcp flags=PA seq=901 ack=257 pptp=scrp
		bo: x:40001 > pub:1724 tcp flags=PA seq=257 ack=1057 pptp=ocrq,1112
		bop: b:1723 > x:40001 tcp flags=PA seq=1057 ack=425 pptp=ocrp,2222,bo.call
		bg: x > pub gre call=bop.call seq=0 len=41
		bgr: b > x gre call=bo.call seq=0 ack=0 len=41`)
	add("a hairpin call", `
		forward tcp 1723 b:1723
		h: a:40000 > pub:1723 tcp flags=S seq=100
		s: b:1723 > h.src tcp flags=SA seq=900 ack=101
		u: a:40000 > pub:1723 tcp flags=A seq=101 ack=901
		c: a:40000 > pub:1723 tcp flags=PA seq=101 ack=901 pptp=scrq
		d: b:1723 > h.src tcp flags=PA seq=901 ack=257 pptp=scrp
		o: a:40000 > pub:1723 tcp flags=PA seq=257 ack=1057 pptp=ocrq,1111
		op: b:1723 > h.src tcp flags=PA seq=1057 ack=425 pptp=ocrp,2222,o.call
		g: a > pub gre call=op.call seq=0 len=40
		gr: b > pub gre call=o.call seq=0 ack=0 len=40`)
	add("a server behind a forward hangs up", server+`
		m: a:1723 > x:40000 tcp flags=PA seq=1089 ack=425 pptp=cdn,2222
		z: x > pub gre call=op.call seq=9 len=40`)
}
