package beside

// privateScripts have a private address outside: what is translated to it leaves and comes back as by any other.
func privateScripts(tb *table) {
	both := func(name, text string) {
		tb.in(privateGroup, name, false, text)
		tb.in(privateGroup, name, true, sameError.Replace(text))
	}
	both("private: udp", `
		q: a:5000 > x:53 udp "hello"
		r: q.dst > q.src udp "world"
		q2: b:5000 > x:53 udp "from b"
		r2: q2.dst > q2.src udp "to b"
		q3: a:5000 > x:53 udp "again"`)
	both("private: tcp", `
		h: a:5000 > x:80 tcp flags=S seq=100
		s: x:80 > h.src tcp flags=SA seq=900 ack=101
		u: a:5000 > x:80 tcp flags=A seq=101 ack=901
		p: a:5000 > x:80 tcp flags=PA seq=101 ack=901 "GET"
		w: x:80 > h.src tcp flags=PA seq=901 ack=104 "200"
		f: a:5000 > x:80 tcp flags=FA seq=104 ack=904
		k: x:80 > h.src tcp flags=FA seq=904 ack=105
		l: a:5000 > x:80 tcp flags=A seq=105 ack=905`)
	both("private: echo", `
		q: a > x echo id=77 n=1 "ping"
		r: x > q.src pong id=q.id n=1 "ping"`)
	both("private: in fragments", `
		q: a:5000 > x:53 udp len=1300 frag=576
		r: q.dst > q.src udp len=1300 frag=576`)
	tb.in(privateGroup, "private: esp", false, `
		q: a > x raw proto=50 "0123456789abcdef"
		r: x > q.src raw proto=50 "fedcba9876543210"`)
	both("private: an error from outside", `
		q: a:5000 > x:53 udp len=600
		e: y > q.src icmp type=3/1 quote=q`)
	both("private: an error of the host", `
		q: a:5000 > x:53 udp "hello"
		r: q.dst > q.src udp "world"
		e: a > x icmp type=3/3 quote=r`)
	both("private: no hop left", `q: a:5000 > x:53 udp ttl=1 "hello"`)
	both("private: unsolicited", `
		q: x:53 > pub:5000 udp "hello"
		h: x:6000 > pub:80 tcp flags=S seq=100`)
	both("private: forward, tcp", `
		forward tcp 8080 a:80
		h: x:6000 > pub:8080 tcp flags=S seq=100
		s: h.dst > h.src tcp flags=SA seq=900 ack=101
		u: x:6000 > pub:8080 tcp flags=A seq=101 ack=901
		p: x:6000 > pub:8080 tcp flags=PA seq=101 ack=901 "GET"
		w: h.dst > h.src tcp flags=PA seq=901 ack=104 "200"`)
	both("private: forward, udp", `
		forward udp 8053 a:53
		q: x:6000 > pub:8053 udp "hello"
		r: q.dst > q.src udp "world"
		e: a > x icmp type=3/3 quote=q`)
	both("private: hairpin", `
		forward udp 8053 b:53
		q: a:5000 > pub:8053 udp "hello"
		r: q.dst > q.src udp "world"`)
	privateHelperScripts(tb)
}

// privateHelperScripts are about announcements that name a private outside address.
func privateHelperScripts(tb *table) {
	tb.in(privateGroup, "private: ftp, PORT", false, ftpOpen+`
		c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "PORT {a,},19,136\r\n"
		t: x:20 > pub:5000 tcp flags=S seq=300
		t3: a:5000 > x:20 tcp flags=SA seq=700 ack=301`)
	tb.in(privateGroup, "private: irc, SEND", false, ircOpen+`
		c: a:40000 > x:6667 tcp flags=PA seq=127 ack=921 "PRIVMSG bob :\x01DCC SEND f {a#} 5000 1024\x01\r\n"
		t: x:41000 > pub:5000 tcp flags=S seq=300`)
	tb.in(privateGroup, "private: pptp, a call", false, with(pptpCall+pptpData, "p", "40000"))
}
