package ftp

import (
	"bytes"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
)

// Telnet commands (RFC 854): they may stand before a command of FTP, as IAC IP IAC DM before ABOR (RFC 959, section 4.1.3),
// and before a reply, from servers that negotiate.
const (
	iac        = 255 // begins a Telnet command; twice: a byte 255
	telnetDont = 254 // it and those down to telnetWill are followed by an option
	telnetWill = 251
	telnetSB   = 250 // begins a negotiation of any length, up to telnetSE
	telnetSE   = 240 // the first of them
)

// telnet returns where the text begins behind Telnet commands, len(b) where it has not begun yet.
func telnet(b []byte) (at int) {
	for at < len(b) && b[at] == iac {
		size := 2
		if at+1 < len(b) {
			switch c := b[at+1]; {
			case c >= telnetWill && c <= telnetDont:
				size = 3
			case c == telnetSB:
				size = negotiation(b[at:])
			case c == iac || c < telnetSE:
				return at // text, and no command or reply of FTP
			}
		}
		at = min(at+size, len(b))
	}
	return at
}

// negotiation returns how long the negotiation is that b begins with; all of b if it has no end there.
func negotiation(b []byte) int {
	for at := 2; at+1 < len(b); at++ {
		if b[at] != iac {
			continue
		}
		if at++; b[at] == telnetSE { // another byte: a byte 255 stands twice
			return at + 1
		}
	}
	return len(b)
}

// mostVerb is how long a command's word is (RFC 959, section 5.3).
const mostVerb = 4

// verb returns a command's word in capitals, what it is followed by, and where that begins; an empty word is none.
func verb(text []byte) (word [mostVerb]byte, n int, arg int) {
	for n < len(text) && n < mostVerb && ('A' <= text[n]&^0x20 && text[n]&^0x20 <= 'Z') {
		word[n] = text[n] &^ 0x20
		n++
	}
	if n < len(text) && text[n] != ' ' {
		return word, 0, len(text)
	}
	for arg = n; arg < len(text) && text[arg] == ' '; arg++ {
	}
	return word, n, arg
}

// opens reports whether a client of FTP may begin with a command. HTTP, mail and whatever else a browser can be made to
// send to port 21 does not.
func opens(word string) bool {
	switch word {
	case "USER", "AUTH", "HOST", "FEAT", "SYST", "OPTS", "LANG", "CLNT", "CSID", "NOOP", "HELP", "STAT", "PBSZ", "PROT",
		"ADAT", "QUIT", "OPEN", "SITE": // the last two to a proxy: which server
		return true
	}
	return false
}

// kindOf returns what a command is, and the form of the endpoint in it.
func (s *stream) kindOf(word string, arg []byte) (kind, form) {
	switch word {
	case "USER", "PASS", "ACCT":
		return login, 0
	case "REIN":
		return restart, 0
	case "QUIT":
		return quit, 0
	case "AUTH":
		return auth, 0
	case "PORT":
		return active, short
	case "EPRT":
		return active, extended
	case "PASV":
		return passive, 0
	case "EPSV":
		if bytes.EqualFold(arg, []byte("ALL")) {
			return epsvAll, 0
		}
		return passive, 0
	}
	switch {
	case word == "LPRT" && s.settings.lprt:
		return active, long
	case word == "LPSV" && s.settings.lprt:
		return passive, 0
	}
	return other, 0
}

// command acts on a line of the client.
func (s *stream) command(m alg.Master, at int, text []byte, whole bool) {
	begin := telnet(text)
	word, n, arg := verb(text[begin:])
	switch {
	case len(text) == begin: // an empty line, which nothing needs to answer
		return
	case !s.greeted:
		s.give(m, "client-first")
		return
	case s.opened:
	case !whole || !opens(string(word[:n])):
		s.give(m, "not-ftp")
		return
	}
	s.opened = true
	if !whole {
		s.pending.push(other)
		return
	}
	arg += begin
	k, f := s.kindOf(string(word[:n]), text[arg:])
	why := s.reads()
	number := s.pending.push(k)
	if k != active {
		return
	}
	m.Count("commands")
	e, ok := f.argument(text, arg)
	switch {
	case !ok:
		m.Count("malformed")
	case why != "":
		s.withdraw(m)
		s.refuse(m, why)
	default:
		s.announce(m, conntrack.Original, &e, at)
		s.data.command = number
	}
}

// give gives the connection up for good.
func (s *stream) give(m alg.Master, why string) {
	s.lost = true
	m.Count(why)
	m.Logf("%s: the connection is left alone", why)
}

// reads says why no command that opens a connection is acted on now, the name of a counter; empty: they are.
func (s *stream) reads() (why string) {
	switch {
	case !s.loggedIn:
		return "not-logged-in"
	case s.epsvAll:
		return "epsv-all"
	case s.pending.has(auth): // what follows may be meant for nobody: the server throws it away (RFC 4217, section 15.5)
		return "auth-pending"
	}
	return ""
}

// announcers are the commands with an endpoint, with what must follow.
var announcers = [...]string{"PORT ", "EPRT ", "LPRT "}

// mayAnnounce reports whether text is, or may become, a command with an endpoint.
func (s *stream) mayAnnounce(text []byte) bool {
	for _, a := range announcers {
		n := min(len(text), len(a))
		if n > 0 && bytes.EqualFold(text[:n], []byte(a[:n])) && (a[0] != 'L' || s.settings.lprt) {
			return true
		}
	}
	return false
}
