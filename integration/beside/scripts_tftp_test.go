package beside

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
	tb.in("strict", "tftp: a server behind a forward", false, `
		forward udp 69 a:69
		q: x:5000 > pub:69 udp `+read+`
		r: a:6969 > x:5000 udp "\x00\x03\x00\x01data"
		s: x:5000 > r.src udp "\x00\x04\x00\x01"`)
}
