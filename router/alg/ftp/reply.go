package ftp

import (
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
)

// Replies (RFC 959, section 4.2.2; RFC 1639, section 3; RFC 2428, section 3; RFC 4217, section 4). What a reply means for
// its command is decided by its first digit (RFC 1123, section 4.1.2.11); these are known by all three.
const (
	codePassive     = 227
	codeLongPassive = 228
	codeExtended    = 229
	codeLoggedIn    = 230
	codeEncrypted   = 234
)

// endpointOf returns the form of the endpoint in a reply; false: there is none in it.
func (s *stream) endpointOf(code int) (f form, ok bool) {
	switch code {
	case codePassive:
		return short, true
	case codeLongPassive:
		return long, s.settings.lprt
	case codeExtended:
		return portOnly, true
	}
	return 0, false
}

// codeOf reads the code that a line begins with, and whether the reply goes on behind it (RFC 959, section 4.2). 0: it
// begins with none.
func codeOf(text []byte) (code int, more bool) {
	if len(text) < 3 || text[0] < '1' || text[0] > '6' || !isDigit(text[1]) || !isDigit(text[2]) {
		return 0, false
	}
	code = int(text[0]-'0')*100 + int(text[1]-'0')*10 + int(text[2]-'0')
	if len(text) == 3 || text[3] == ' ' {
		return code, false
	}
	if text[3] == '-' {
		return code, true
	}
	return 0, false
}

// reply acts on a line of the server.
func (s *stream) reply(m alg.Master, at int, text []byte, whole bool) {
	begin := telnet(text)
	code, more := codeOf(text[begin:])
	switch {
	case s.multi != 0:
		if code != s.multi || more {
			return
		}
		s.multi = 0
	case code == 0:
		m.Count("unknown-reply")
		return
	case more:
		s.multi = code
		return
	}
	switch f, ok := s.endpointOf(code); {
	case !s.greeted:
		s.greeted = code/100 == 2
	case code < 200: // preliminary: another one follows
		s.data.taken = true
	case code == codeEncrypted:
		s.encrypt(m)
	case ok:
		s.answer(m, at, text, begin, whole, f)
	default:
		s.done(m, code)
	}
}

// done acts on a reply without an endpoint.
func (s *stream) done(m alg.Master, code int) {
	refused := code/100 == 4 || code/100 == 5
	if s.data.taken = s.data.taken || code < 400; code == codeLoggedIn {
		s.pending.skipTo(login)
	}
	k, number, ok := s.pending.take(func(k kind) bool { return refused || k != passive })
	if !ok {
		return
	}
	completed := code/100 == 2
	switch {
	case k == login && completed:
		s.loggedIn = true
	case k == restart && completed:
		s.loggedIn = false
		s.withdraw(m)
	case k == quit && completed:
		s.withdraw(m)
	case k == epsvAll && completed:
		s.epsvAll = true
	case k == active && refused && !s.data.taken && s.data.id != 0 && s.data.command == number:
		m.Count("refused-by-server")
		s.withdraw(m)
	}
}

// answer acts on a reply with an endpoint. Clients and servers mix the commands for one, so it is for the oldest of them
// that waits, and read in its own form. The code stands at text[begin:].
func (s *stream) answer(m alg.Master, at int, text []byte, begin int, whole bool, f form) {
	s.data.taken = true
	s.pending.skipTo(passive)
	if _, _, ok := s.pending.take(func(k kind) bool { return k == passive }); !ok {
		m.Count("unsolicited")
		return
	}
	m.Count("replies")
	begin = min(len(text), begin+4)
	e, ok := f.find(text[begin:])
	e.at, e.end = e.at+begin, e.end+begin
	switch {
	case !ok || !whole:
		m.Count("malformed")
	case !s.loggedIn:
		s.refuse(m, "not-logged-in")
	case s.epsvAll && f != portOnly:
		s.refuse(m, "epsv-all")
	default:
		s.announce(m, conntrack.Reply, &e, at)
		s.data.command = 0
	}
}

// mayAnswer reports whether text is, or may become, a reply with an endpoint to a command that waits.
func (s *stream) mayAnswer(text []byte) bool {
	if len(text) == 0 || !s.pending.has(passive) {
		return false
	}
	for _, code := range [...]int{codePassive, codeLongPassive, codeExtended} {
		want := [4]byte{byte('0' + code/100), byte('0' + code/10%10), byte('0' + code%10), ' '}
		n := min(len(text), len(want))
		if _, ok := s.endpointOf(code); ok && string(text[:n]) == string(want[:n]) && (s.multi == 0 || s.multi == code) {
			return true
		}
	}
	return false
}
