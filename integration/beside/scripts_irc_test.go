package beside

// The connection of an IRC client that has introduced itself: a goes on at 130, x at 901.
const ircOpen = `
	h: a:40000 > x:6667 tcp flags=S seq=100
	s: x:6667 > h.src tcp flags=SA seq=900 ack=101
	u: a:40000 > x:6667 tcp flags=A seq=101 ack=901
	w: a:40000 > x:6667 tcp flags=PA seq=101 ack=901 "NICK me\r\nUSER me 0 * :me\r\n"
	k: x:6667 > h.src tcp flags=PA seq=901 ack=127 ":server 001 me :hi\r\n"
`

// ircScripts are about the helper: DCC offers, which name an endpoint of the client's as two numbers.
func ircScripts(tb *table) {
	offer := func(name, line string) {
		tb.add("irc: "+name, false, ircOpen+"c: a:40000 > x:6667 tcp flags=PA seq=127 ack=921 \""+line+"\"\n"+`
			t: y:41000 > pub:5000 tcp flags=S seq=300
			t2: a:5000 > y:41000 tcp flags=SA seq=700 ack=301
			t3: x:41000 > pub:5000 tcp flags=S seq=300
			n: a:40000 > x:6667 tcp flags=A seq=300 ack=921`)
	}
	offer("SEND", `PRIVMSG bob :\x01DCC SEND f {a#} 5000 1024\x01\r\n`)
	offer("CHAT", `PRIVMSG bob :\x01DCC CHAT chat {a#} 5000\x01\r\n`)
	offer("SSEND", `PRIVMSG bob :\x01DCC SSEND f {a#} 5000 1024\x01\r\n`)
	offer("SCHAT", `PRIVMSG bob :\x01DCC SCHAT chat {a#} 5000\x01\r\n`)
	offer("TSEND", `PRIVMSG bob :\x01DCC TSEND f {a#} 5000 1024\x01\r\n`)
	offer("RECV", `PRIVMSG bob :\x01DCC RECV f {a#} 5000 0\x01\r\n`)
	offer("SEND in a notice", `NOTICE bob :\x01DCC SEND f {a#} 5000 1024\x01\r\n`)
	offer("an offer of another host", `PRIVMSG bob :\x01DCC SEND f {b#} 5000 1024\x01\r\n`)
	offer("an offer of the outside address", `PRIVMSG bob :\x01DCC SEND f {pub#} 5000 1024\x01\r\n`)
	offer("a low port", `PRIVMSG bob :\x01DCC SEND f {a#} 22 1024\x01\r\n`)
	offer("port 0", `PRIVMSG bob :\x01DCC SEND f {a#} 0 1024\x01\r\n`)
	offer("an offer in a PING (CVE-2022-2663)", `PING :\x01DCC SEND f {a#} 5000 1024\x01\r\n`)
	offer("an offer in the middle of a text", `PRIVMSG bob :look \x01DCC SEND f {a#} 5000 1024\x01\r\n`)
	offer("an offer that is only text", `PRIVMSG bob :DCC SEND f {a#} 5000 1024\r\n`)
	offer("an unknown kind", `PRIVMSG bob :\x01DCC GIVE f {a#} 5000 1024\x01\r\n`)
	offer("an offer behind another line", `PING x\r\nPRIVMSG bob :\x01DCC SEND f {a#} 5000 1024\x01\r\n`)
	offer("an offer without an end", `PRIVMSG bob :\x01DCC SEND f {a#} 5000 1024`)
	tb.add("irc: an offer from the server's side", false, ircOpen+`
		c: x:6667 > h.src tcp flags=PA seq=921 ack=127 ":bob PRIVMSG me :\x01DCC SEND f {y#} 5000 1024\x01\r\n"
		t: a:41000 > y:5000 tcp flags=S seq=300`)
}
