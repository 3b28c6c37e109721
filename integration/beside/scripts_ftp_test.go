package beside

import "fmt"

// The control connection of FTP as far as a login: a goes on at 112, x at 938.
const ftpOpen = `
	h: a:40000 > x:21 tcp flags=S seq=100
	s: x:21 > h.src tcp flags=SA seq=900 ack=101
	u: a:40000 > x:21 tcp flags=A seq=101 ack=901
	w: x:21 > h.src tcp flags=PA seq=901 ack=101 "220 ready\r\n"
	l: a:40000 > x:21 tcp flags=PA seq=101 ack=912 "USER ftp\r\n"
	k: x:21 > h.src tcp flags=PA seq=912 ack=111 "230 logged in here\r\n"
`

// ftpScripts are about the helper (RFC 959, RFC 2428). The data port is 5000, which FTP writes as 19,136.
func ftpScripts(tb *table) {
	activeIn := func(group, name, command string) {
		tb.in(group, "ftp: "+name, false, ftpOpen+"c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 \""+command+"\"\n"+`
			t: x:20 > pub:5000 tcp flags=S seq=300
			t2: y:20 > pub:5000 tcp flags=S seq=300
			t3: a:5000 > x:20 tcp flags=SA seq=700 ack=301
			n: a:40000 > x:21 tcp flags=A seq=200 ack=932`)
	}
	active := func(name, command string) { activeIn("default", name, command) }
	active("PORT", `PORT {a,},19,136\r\n`)
	active("port in small letters", `port {a,},19,136\r\n`)
	active("EPRT", `EPRT |1|{a}|5000|\r\n`)
	active("EPRT with another delimiter", `EPRT !1!{a}!5000!\r\n`)
	active("PORT of another host", `PORT {b,},19,136\r\n`)
	active("PORT of an outside host", `PORT {y,},19,136\r\n`)
	active("PORT to a low port", `PORT {a,},0,22\r\n`)
	active("PORT to port 0", `PORT {a,},0,0\r\n`)
	activeIn("text", "PORT with a number too large", `PORT {a,},999,136\r\n`)
	activeIn("text", "PORT with five numbers", `PORT {a,},19\r\n`)
	active("PORT without an end", `PORT {a,},19,136`)
	active("PORT with a bare line feed", `PORT {a,},19,136\n`)
	active("PORT in the middle of a line", `SITE PORT {a,},19,136\r\n`)
	active("PORT behind another command", `NOOP\r\nPORT {a,},19,136\r\n`)
	active("EPRT of the other family", `EPRT |2|::1|5000|\r\n`)
	active("EPRT of another host", `EPRT |1|{b}|5000|\r\n`)
	active("a command that is not about data", `LIST {a,},19,136\r\n`)
	tb.in("text", "ftp: EPRT", true, ftpOpen+`
		c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "EPRT |2|{a}|5000|\r\n"
		t: x:20 > pub:5000 tcp flags=S seq=300`)
	ftpStreamScripts(tb)
	ftpOrderScripts(tb)
	ftpPassiveScripts(tb)
	ftpServerScripts(tb)
	ftpStepScripts(tb)
}

// ftpStreamScripts are about commands as segments carry them.
func ftpStreamScripts(tb *table) {
	tb.add("ftp: PORT sent again", false, ftpOpen+`
		c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "PORT {a,},19,136\r\n"
		c2: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "PORT {a,},19,136\r\n"
		t: x:20 > pub:5000 tcp flags=S seq=300`)
	tb.add("ftp: two PORTs, one after the other", false, ftpOpen+`
		c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "PORT {a,},19,136\r\n"
		t: x:20 > pub:5000 tcp flags=S seq=300
		r: x:21 > h.src tcp flags=PA seq=932 ack=136 "200 ok\r\n"
		c2: a:40000 > x:21 tcp flags=A seq=200 ack=940`)
	for _, at := range []int{3, 7, 12} {
		tb.in("text", fmt.Sprintf("ftp: PORT in two segments, cut at %d", at), false, ftpOpen+fmt.Sprintf(`
			c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "PORT {a,},19,136\r\n" cut=0-%d
			c2: a:40000 > x:21 tcp flags=PA seq=%d ack=932 "PORT {a,},19,136\r\n" cut=%d-99
			t: x:20 > pub:5000 tcp flags=S seq=300`, at, 111+at, at))
	}
	tb.in("text", "ftp: PORT in two segments, cut in its port", false, ftpOpen+`
		c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "PORT {a,},19,1"
		c2: a:40000 > x:21 tcp flags=PA seq=c.end ack=932 "36\r\n"
		t: x:20 > pub:5000 tcp flags=S seq=300`)
	tb.add("ftp: PORT, then more", false, ftpOpen+`
		c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "PORT {a,},19,136\r\n"
		r: x:21 > h.src tcp flags=PA seq=932 ack=c.end "200 ok\r\n"
		c2: a:40000 > x:21 tcp flags=PA seq=c.end ack=940 "LIST\r\n"
		c3: a:40000 > x:21 tcp flags=PA seq=c.end ack=940 "LIST\r\n"
		r2: x:21 > h.src tcp flags=A seq=940 ack=c2.end
		f: a:40000 > x:21 tcp flags=FA seq=c2.end ack=940`)
}

// ftpOrderScripts are about what follows a command.
func ftpOrderScripts(tb *table) {
	tb.add("ftp: an error about what follows PORT", false, ftpOpen+`
		c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "PORT {a,},19,136\r\n"
		r: x:21 > h.src tcp flags=PA seq=932 ack=c.end "200 ok\r\n"
		c2: a:40000 > x:21 tcp flags=PA seq=c.end ack=940 "LIST\r\n"
		e: y > pub icmp type=3/4 rest=1300 quote=c2`)
	tb.add("ftp: PORT refused by the server", false, ftpOpen+`
		c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "PORT {a,},19,136\r\n"
		r: x:21 > h.src tcp flags=PA seq=932 ack=c.end "500 no\r\n"
		t: x:20 > pub:5000 tcp flags=S seq=300`)
	tb.add("ftp: PORT, no hop left for the data connection, then enough", false, ftpOpen+`
		c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "PORT {a,},19,136\r\n"
		t: x:20 > pub:5000 tcp flags=S seq=300 ttl=1
		t2: x:20 > pub:5000 tcp flags=S seq=300`)
	tb.add("ftp: a PORT replaces another", false, ftpOpen+`
		c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "PORT {a,},19,136\r\n"
		r: x:21 > h.src tcp flags=PA seq=932 ack=c.end "200 ok\r\n"
		c2: a:40000 > x:21 tcp flags=PA seq=c.end ack=940 "PORT {a,},19,137\r\n"
		t: x:20 > pub:5000 tcp flags=S seq=300
		t2: x:20 > pub:5001 tcp flags=S seq=300`)
	tb.add("ftp: two hosts, one data port", false, ftpOpen+`
		c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "PORT {a,},19,136\r\n"
		bh: b:40000 > x:21 tcp flags=S seq=100
		bs: x:21 > bh.src tcp flags=SA seq=900 ack=101
		bu: b:40000 > x:21 tcp flags=A seq=101 ack=901
		bw: x:21 > bh.src tcp flags=PA seq=901 ack=101 "220 ready\r\n"
		bl: b:40000 > x:21 tcp flags=PA seq=101 ack=912 "USER ftp\r\n"
		bk: x:21 > bh.src tcp flags=PA seq=912 ack=111 "230 logged in here\r\n"
		t: x:20 > pub:5000 tcp flags=S seq=300
		t2: a:5000 > x:20 tcp flags=SA seq=700 ack=301`)
}

// ftpPassiveScripts have the client open the data connection.
func ftpPassiveScripts(tb *table) {
	passive := func(name string, v6 bool, command, reply string) {
		tb.add("ftp: "+name, v6, ftpOpen+"c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 \""+command+"\\r\\n\"\n"+
			"r: x:21 > h.src tcp flags=PA seq=932 ack=117 \""+reply+"\"\n"+`
			t: a:41000 > x:5000 tcp flags=S seq=300
			t2: x:5000 > t.src tcp flags=SA seq=700 ack=301`)
	}
	passive("PASV", false, "PASV", `227 Entering Passive Mode ({x,},19,136)\r\n`)
	passive("PASV without brackets", false, "PASV", `227 Entering Passive Mode {x,},19,136\r\n`)
	passive("PASV of another server", false, "PASV", `227 Entering Passive Mode ({y,},19,136)\r\n`)
	passive("EPSV", false, "EPSV", `229 Entering Extended Passive Mode (|||5000|)\r\n`)
	passive("EPSV", true, "EPSV", `229 Entering Extended Passive Mode (|||5000|)\r\n`)
	passive("227 that nobody asked for", false, "NOOP", `227 Entering Passive Mode ({x,},19,136)\r\n`)
}

// ftpServer is ftpOpen with the server at a, behind a forward: a goes on at 932, x at 111.
const ftpServer = `
	forward tcp 21 a:21
	h: x:40000 > pub:21 tcp flags=S seq=100
	s: a:21 > x:40000 tcp flags=SA seq=900 ack=101
	u: x:40000 > pub:21 tcp flags=A seq=101 ack=901
	w: a:21 > x:40000 tcp flags=PA seq=901 ack=101 "220 ready\r\n"
	l: x:40000 > pub:21 tcp flags=PA seq=101 ack=912 "USER ftp\r\n"
	k: a:21 > x:40000 tcp flags=PA seq=912 ack=111 "230 logged in here\r\n"
`

// ftpServerScripts have the server inside, and encrypt.
func ftpServerScripts(tb *table) {
	tb.add("ftp: a server behind a forward, PASV", false, ftpServer+`
		c: x:40000 > pub:21 tcp flags=PA seq=111 ack=932 "PASV\r\n"
		r: a:21 > x:40000 tcp flags=PA seq=932 ack=117 "227 Entering Passive Mode ({a,},19,136)\r\n"
		t: x:41000 > pub:5000 tcp flags=S seq=300
		t2: a:5000 > x:41000 tcp flags=SA seq=700 ack=301
		v: x:40000 > pub:21 tcp flags=A seq=117 ack=990`)
	tb.add("ftp: a server behind a forward, EPSV", false, ftpServer+`
		c: x:40000 > pub:21 tcp flags=PA seq=111 ack=932 "EPSV\r\n"
		r: a:21 > x:40000 tcp flags=PA seq=932 ack=117 "229 Entering Extended Passive Mode (|||5000|)\r\n"
		t: x:41000 > pub:5000 tcp flags=S seq=300`)
	tb.add("ftp: a server behind a forward, PORT", false, ftpServer+`
		c: x:40000 > pub:21 tcp flags=PA seq=111 ack=932 "PORT {x,},19,136\r\n"
		t: a:20 > x:5000 tcp flags=S seq=300
		t2: x:5000 > t.src tcp flags=SA seq=700 ack=301`)
	tb.add("ftp: a server behind a forward knows its outside address", false, ftpServer+`
		c: x:40000 > pub:21 tcp flags=PA seq=111 ack=932 "PASV\r\n"
		r: a:21 > x:40000 tcp flags=PA seq=932 ack=117 "227 Entering Passive Mode ({pub,},19,136)\r\n"
		t: x:41000 > pub:5000 tcp flags=S seq=300`)
	tb.add("ftp: after AUTH TLS", false, ftpOpen+`
		c: a:40000 > x:21 tcp flags=PA seq=111 ack=932 "AUTH TLS\r\n"
		r: x:21 > h.src tcp flags=PA seq=932 ack=121 "234 go on\r\n"
		c2: a:40000 > x:21 tcp flags=PA seq=121 ack=943 "PORT {a,},19,136\r\n"`)
}
