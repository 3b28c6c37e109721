package beside

import "fmt"

// ftpStepScripts are about clients and servers that are out of step, or say things in other forms. a is at 111 when the
// client has said what comes first.
func ftpStepScripts(tb *table) {
	const shake = `
		h: a:40000 > x:21 tcp flags=S seq=100
		s: x:21 > h.src tcp flags=SA seq=900 ack=101
		u: a:40000 > x:21 tcp flags=A seq=101 ack=901
	`
	// A dialogue is what each says in turn, c the client and w the server.
	dialogue := func(name, begin string, said ...string) {
		text := begin
		last := map[byte]string{'c': "u.end", 'w': "901"}
		if begin == ftpOpen {
			last = map[byte]string{'c': "l.end", 'w': "k.end"}
		}
		for i, line := range said {
			who, label := line[0], fmt.Sprintf("%c%d", line[0], i)
			ends, other := "a:40000 > x:21", last['w']
			if who == 'w' {
				ends, other = "x:21 > h.src", last['c']
			}
			text += fmt.Sprintf("%s: %s tcp flags=PA seq=%s ack=%s \"%s\"\n", label, ends, last[who], other, line[2:])
			last[who] = label + ".end"
		}
		tb.add("ftp: "+name, false, text+`
			t: x:20 > pub:5000 tcp flags=S seq=300
			t2: a:41000 > x:6000 tcp flags=S seq=300
			t3: x:6000 > t2.src tcp flags=SA seq=700 ack=301`)
	}
	const port = `c PORT {a,},19,136\r\n`
	dialogue("200 to USER", shake, `w 220 ready\r\n`, `c USER ftp\r\n`, `w 200 in\r\n`, port)
	dialogue("a greeting of 200", shake, `w 200 ready\r\n`, `c USER ftp\r\n`, `w 230 in\r\n`, port)
	dialogue("text before the greeting", shake, `w welcome\r\n`, `w 220 ready\r\n`, `c USER ftp\r\n`, `w 230 in\r\n`, port)
	dialogue("Telnet before the greeting", shake, `w \xff\xfb\x01220 ready\r\n`, `c USER ftp\r\n`, `w 230 in\r\n`, port)
	dialogue("OPEN, to a proxy", shake, `w 220 ready\r\n`, `c OPEN there\r\n`, `w 220 there\r\n`, `c USER ftp\r\n`, `w 230 in\r\n`, port)
	dialogue("a line with a NUL", ftpOpen, `c \x00NOOP\r\n`, `w 500 no\r\n`, port)
	dialogue("a line that is not ASCII", ftpOpen, `w \xe9t\xe9\r\n`, port)
	dialogue("no reply to NOOP, then 500", ftpOpen, `c NOOP\r\n`, port, `w 200 ok\r\n`, `c SIZE b\r\n`, `w 500 no\r\n`)
	dialogue("PORT, CR CR LF", ftpOpen, `c PORT {a,},19,136\r\r\n`)
	dialogue("PORT, a space behind", ftpOpen, `c PORT {a,},19,136 \r\n`)
	dialogue("a late 250 before the 227", ftpOpen, `c PASV\r\n`, `w 250 changed\r\n`, `w 227 Entering ({x,},23,112)\r\n`)
	dialogue("227 to EPSV", ftpOpen, `c EPSV\r\n`, `w 227 Entering ({x,},23,112)\r\n`)
	dialogue("229 to PASV", ftpOpen, `c PASV\r\n`, `w 229 Entering (|||6000|)\r\n`)
	dialogue("227 of 0,0,0,0", ftpOpen, `c PASV\r\n`, `w 227 Entering (0,0,0,0,23,112)\r\n`)
	dialogue("227 with spaces", ftpOpen, `c PASV\r\n`, `w 227 Entering (0, 0, 0, 0, 23, 112)\r\n`)
	dialogue("227 behind Telnet", ftpOpen, `c PASV\r\n`, `w \xff\xf1227 Entering ({x,},23,112)\r\n`)
	tb.add("ftp: a server behind a forward, a late 250 before the 227", false, ftpServer+`
		c: x:40000 > pub:21 tcp flags=PA seq=111 ack=932 "PASV\r\n"
		r: a:21 > x:40000 tcp flags=PA seq=932 ack=117 "250 changed\r\n"
		r2: a:21 > x:40000 tcp flags=PA seq=r.end ack=117 "227 Entering Passive Mode ({a,},19,136)\r\n"
		t: x:41000 > pub:5000 tcp flags=S seq=300
		t2: a:5000 > x:41000 tcp flags=SA seq=700 ack=301`)
	tb.add("ftp: a server behind a forward, 227 to EPSV", false, ftpServer+`
		c: x:40000 > pub:21 tcp flags=PA seq=111 ack=932 "EPSV\r\n"
		r: a:21 > x:40000 tcp flags=PA seq=932 ack=117 "227 Entering Passive Mode ({a,},19,136)\r\n"
		t: x:41000 > pub:5000 tcp flags=S seq=300`)
}
