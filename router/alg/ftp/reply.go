package ftp

import (
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
)

// Replies (RFC 959, section 4.2.2; RFC 1639, section 3; RFC 2428, section 3; RFC 4217, section 4).
const (
	codeSuperfluous = 202
	codeReady       = 220
	codePassive     = 227
	codeLongPassive = 228
	codeExtended    = 229
	codeLoggedIn    = 230
	codeSecurely    = 232 // RFC 2228, section 5.2
	codeEncrypted   = 234
)

// replyTo returns the command that a reply with an endpoint is for, and the endpoint's form.
func replyTo(code int) (kind, form) {
	switch code {
	case codePassive:
		return pasv, short
	case codeLongPassive:
		return lpsv, long
	case codeExtended:
		return epsv, portOnly
	}
	return other, 0
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
	code, more := codeOf(text)
	switch {
	case s.multi != 0:
		if code != s.multi || more {
			return
		}
		s.multi = 0
	case code == 0 && !s.greeted:
		s.give(m, "not-ftp")
		return
	case code == 0:
		m.Count("unknown-reply")
		return
	case more:
		s.multi = code
		return
	}
	switch k, f := replyTo(code); {
	case !s.greeted:
		s.greeted = code == codeReady
	case code < 200: // preliminary: another one follows
	case code == codeEncrypted:
		s.encrypt(m)
	case k != other:
		s.answer(m, at, text, whole, k, f)
	default:
		s.done(m, code)
	}
}

// done acts on a reply without an endpoint.
func (s *stream) done(m alg.Master, code int) {
	k, number, ok := s.pending.pop()
	if !ok {
		return
	}
	positive := code < 300
	switch {
	case k == login && (code == codeLoggedIn || code == codeSecurely || code == codeSuperfluous):
		s.loggedIn = true
	case k == restart && positive:
		s.loggedIn = false
		s.withdraw(m)
	case k == quit && positive:
		s.withdraw(m)
	case k == epsvAll && positive:
		s.epsvAll = true
	case k == active && code >= 400 && s.data.id != 0 && s.data.command == number:
		m.Count("refused-by-server")
		s.withdraw(m)
	}
}

// answer acts on a reply with an endpoint.
func (s *stream) answer(m alg.Master, at int, text []byte, whole bool, k kind, f form) {
	if !s.pending.popTo(k) {
		m.Count("unsolicited")
		return
	}
	m.Count("replies")
	e, ok := f.find(text[min(len(text), 4):])
	e.at, e.end = e.at+4, e.end+4
	switch {
	case !ok || !whole:
		m.Count("malformed")
	case !s.loggedIn:
		s.refuse(m, "not-logged-in")
	case s.epsvAll && k != epsv:
		s.refuse(m, "epsv-all")
	default:
		s.announce(m, conntrack.Reply, &e, at)
		s.data.command = 0
	}
}

// mayAnswer reports whether text is, or may become, a reply with an endpoint to a command that waits.
func (s *stream) mayAnswer(text []byte) bool {
	for _, code := range [...]int{codePassive, codeLongPassive, codeExtended} {
		want := [4]byte{byte('0' + code/100), byte('0' + code/10%10), byte('0' + code%10), ' '}
		n := min(len(text), len(want))
		if string(text[:n]) != string(want[:n]) || s.multi != 0 && s.multi != code {
			continue
		}
		if k, _ := replyTo(code); s.pending.has(k) {
			return true
		}
	}
	return false
}
