package irc

import (
	"bytes"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
)

// stream is the helper's state for one client's connection to a server. Its caller holds the connection's lock.
type stream struct {
	settings settings
	line     [maxLine]byte // the present line, as far as it was consumed
	n        int           // bytes in line
	skip     bool          // the rest of the present line is not read: too long, let go, or its beginning was not seen
	isIRC    bool          // the first line was a command of IRC
	edits    []alg.Edit    // of the present call of Stream
	opened   []opened      // offers that wait
}

// Stream implements [alg.Stream]. It reads what the client says, line by line. A line that is not whole waits only from
// the address of an offer on: what stands before is never changed.
func (s *stream) Stream(m alg.Master, dir conntrack.Direction, b []byte) alg.Result {
	if dir == conntrack.Reply {
		return alg.Result{Consumed: len(b)}
	}
	s.edits = s.edits[:0]
	off := 0
	for off < len(b) {
		part := b[off:]
		whole := false
		if i := bytes.IndexByte(part, '\n'); i >= 0 {
			part, whole = part[:i+1], true
		}
		if bytes.IndexByte(part, 0) >= 0 { // in no line (RFC 2812, section 2.3.1), but in every TLS handshake
			return s.detach(m, off, "not IRC, or no more")
		}
		tooLong := s.n+len(part) > maxLine
		if tooLong && !s.isIRC && !s.skip {
			return s.detach(m, off, "the first line is too long")
		}
		if s.skip || tooLong {
			s.n, s.skip = 0, !whole
			off += len(part)
			continue
		}
		line := s.line[:s.n+copy(s.line[s.n:], part)]
		if !whole {
			keep := holdFrom(line)
			off, s.n = off+keep-s.n, keep
			return alg.Result{Consumed: off, Edits: s.edits, Hold: off < len(b)}
		}
		if !s.begins(line) {
			return s.detach(m, off, "the first line is no command of IRC")
		}
		s.read(m, line, off-s.n)
		s.n = 0
		off += len(part)
	}
	return alg.Result{Consumed: off, Edits: s.edits}
}

// holdFrom returns from where on an unfinished line must not leave.
func holdFrom(line []byte) int {
	if o, result := scan(line); result == more && o.addr.from != 0 {
		return o.addr.from
	}
	return len(line)
}

// detach gives the connection up.
func (s *stream) detach(m alg.Master, off int, why string) alg.Result {
	m.Count("not-irc")
	m.Logf("left alone from here on: %s", why)
	return alg.Result{Consumed: off, Edits: s.edits, Detach: true}
}

// begins reports whether the stream is IRC as far as can be told: its first line that is not empty is a command of a
// client. A browser that somebody made say things to port 6667 begins with a method of HTTP.
func (s *stream) begins(line []byte) bool {
	if s.isIRC {
		return true
	}
	line = bytes.TrimRight(line, "\r\n")
	if len(line) == 0 {
		return true // RFC 2812, section 2.3.1: ignored
	}
	word, _, _ := bytes.Cut(line, []byte{' '})
	for _, c := range commands {
		if bytes.EqualFold(word, c) {
			s.isIRC = true
			return true
		}
	}
	return false
}

// commands are what a client says first, or early; some of a running connection, for those that the router joins.
// None is also a method of HTTP.
var commands = bytes.Fields([]byte(`PASS NICK USER SERVICE CAP AUTHENTICATE WEBIRC STARTTLS PROTOCTL
	PING PONG QUIT PRIVMSG NOTICE JOIN PART MODE TOPIC NAMES LIST INVITE KICK WHO WHOIS WHOWAS AWAY ISON USERHOST MONITOR`))

// Adopt implements [alg.Adopter]: the line that is going on can't be told from its middle.
func (s *stream) Adopt(_ alg.Master, dir conntrack.Direction) {
	if dir == conntrack.Original {
		s.skip = true
	}
}

// LetGo implements [alg.Yielder]: the rest of the line is not read.
func (s *stream) LetGo(alg.Master, conntrack.Direction) { s.n, s.skip = 0, true }

// End implements [alg.Stream]: offers may outlive the streams, but not the connection.
func (*stream) End(alg.Master, conntrack.Direction, bool) {}

// Destroy implements [alg.Stream]: the kit gives back what is reserved, and expectations end with their master.
func (*stream) Destroy(alg.Master) {}
