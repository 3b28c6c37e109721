package beside

import "strings"

// tftpScripts are about the helper: a server answers from a port of its own (RFC 1350, section 4).
func tftpScripts(tb *table) {
	const read, written = `"\x00\x01boot.img\x00octet\x00"`, `"\x00\x02boot.img\x00octet\x00"`
	for name, request := range map[string]string{"a read": read, "a write": written} {
		tb.both("tftp: "+name, `
			q: a:5000 > x:69 udp `+request+`
			r: x:6969 > q.src udp "\x00\x03\x00\x01data"
			s: a:5000 > x:6969 udp "\x00\x04\x00\x01"
			u: x:6969 > q.src udp "\x00\x03\x00\x02more"`)
		tb.in("strict", "tftp: "+name, false, `
			q: a:5000 > x:69 udp `+request+`
			r: x:6969 > q.src udp "\x00\x03\x00\x01data"
			s: a:5000 > x:6969 udp "\x00\x04\x00\x01"
			u: x:6970 > q.src udp "\x00\x03\x00\x01another"`)
	}
	tb.in("strict", "tftp: not a request", false, `
		q: a:5000 > x:69 udp "\x00\x04\x00\x01"
		r: x:6969 > q.src udp "\x00\x03\x00\x01data"`)
	tb.in("strict", "tftp: an answer from another host", false, `
		q: a:5000 > x:69 udp `+read+`
		r: y:6969 > q.src udp "\x00\x03\x00\x01data"`)
	tb.in("strict", "tftp: a request sent again", false, `
		q: a:5000 > x:69 udp `+read+`
		q2: a:5000 > x:69 udp `+read+`
		r: x:6969 > q.src udp "\x00\x03\x00\x01data"`)
	tb.in("strict", "tftp: two hosts, one port", false, `
		q: a:5000 > x:69 udp `+read+`
		q2: b:5000 > x:69 udp `+read+`
		r: x:6969 > q2.src udp "\x00\x03\x00\x01for b"
		s: x:6970 > q.src udp "\x00\x03\x00\x01for a"`)
	tb.in("strict", "tftp: no hop left for the answer, then enough", false, `
		q: a:5000 > x:69 udp `+read+`
		r: x:6969 > q.src udp ttl=1 "\x00\x03\x00\x01data"
		r2: x:6969 > q.src udp "\x00\x03\x00\x01data"`)
	tb.in("strict", "tftp: an error from the main port", false, `
		q: a:5000 > x:69 udp `+read+`
		r: x:69 > q.src udp "\x00\x05\x00\x01none\x00"`)
	for name, port := range map[string]string{"": "5000", ", a client on port 69": "69"} {
		tb.in("strict", "tftp: a server behind a forward"+name, false, `
			forward udp 69 a:69
			q: x:`+port+` > pub:69 udp `+read+`
			r: a:6969 > x:`+port+` udp "\x00\x03\x00\x01data"
			s: x:`+port+` > r.src udp "\x00\x04\x00\x01"`)
	}
	tftpRequestScripts(tb)
}

// tftpRequestScripts are about what counts as a request, and about several of one client.
func tftpRequestScripts(tb *table) {
	const refusal = `"\x00\x05\x00\x01none\x00"`
	for name, request := range map[string]string{
		"without its last NUL": `"\x00\x01boot.img\x00octet"`, "with bytes behind it": `"\x00\x01boot.img\x00octet\x00\xff\xff"`,
		"with an option twice":         `"\x00\x01boot.img\x00octet\x00tsize\x000\x00tsize\x001\x00"`,
		"with an option without value": `"\x00\x01boot.img\x00octet\x00tsize\x00"`,
		"with an unknown mode":         `"\x00\x01boot.img\x00iMaGe\x00"`, "without a mode": `"\x00\x01boot.img\x00"`,
		"of 600 bytes": `"\x00\x01` + strings.Repeat("n", 590) + `\x00octet\x00"`, "without a whole name": `"\x00\x01boot.img"`,
	} {
		tb.in("strict", "tftp: a request "+name, false, `
			q: a:5000 > x:69 udp `+request+`
			r: x:6969 > q.src udp `+refusal)
	}
	const read, another = `"\x00\x01boot.img\x00octet\x00"`, `"\x00\x01boot.cfg\x00octet\x00"`
	tb.in("strict", "tftp: a client on port 69", false, `
		q: a:69 > x:69 udp `+read+`
		r: x:6969 > q.src udp "\x00\x03\x00\x01data"
		s: a:69 > x:6969 udp "\x00\x04\x00\x01"`)
	tb.in("strict", "tftp: two requests from one port", false, `
		q: a:5000 > x:69 udp `+read+`
		q2: a:5000 > x:69 udp `+another+`
		r: x:6969 > q.src udp `+refusal+`
		s: x:6970 > q.src udp "\x00\x03\x00\x01data"
		u: x:6971 > q.src udp "\x00\x03\x00\x01more"`)
	tb.in("strict", "tftp: two requests, an error from the main port", false, `
		q: a:5000 > x:69 udp `+read+`
		q2: a:5000 > x:69 udp `+another+`
		e: x:69 > q.src udp `+refusal+`
		r: x:6969 > q.src udp "\x00\x03\x00\x01data"`)
	tb.in("strict", "tftp: an error from the main port, then an answer", false, `
		q: a:5000 > x:69 udp `+read+`
		e: x:69 > q.src udp `+refusal+`
		r: x:6969 > q.src udp "\x00\x03\x00\x01data"`)
}
