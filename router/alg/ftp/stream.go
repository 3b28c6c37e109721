package ftp

import (
	"bytes"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
)

// maxLine is how long a line may be to be read, bytes with its end.
const maxLine = 512

// stream is the helper's state for one control connection. The client sends in the original direction. Its caller holds
// the connection's lock.
type stream struct {
	settings *settings
	ends     [2]end // by the direction that they send in

	lost     bool // no FTP, or not to be read any more: detached at once
	greeted  bool // the server has given a positive reply
	opened   bool // the client has begun as a client of FTP does
	loggedIn bool
	epsvAll  bool
	multi    int // code of the reply of several lines that is being read; 0: none
	pending  queue
	lines    [2]line
	tls      [2]records
	data     data
	edits    []alg.Edit // of the present call of Stream
}

// line is what is known of the line that a direction is in.
type line struct {
	passed int  // bytes of it that have left, and can't be changed
	late   bool // it was let go before it was whole: it opens nothing
	skip   bool // it is too long: to its end
}

// Adopt implements [alg.Adopter]: who reads from the middle takes for a command what somebody put into a file name or a
// packet that begins at the right place.
func (s *stream) Adopt(m alg.Master, dir conntrack.Direction) {
	s.lost = true
	m.Count("joined-late")
}

// Stream implements [alg.Stream]: it reads whole lines. The beginning of a line that may have to be changed waits.
func (s *stream) Stream(m alg.Master, dir conntrack.Direction, b []byte) alg.Result {
	s.edits = s.edits[:0]
	r := alg.Result{}
	for !s.lost && r.Consumed < len(b) {
		n := s.next(m, dir, b, r.Consumed)
		if n == 0 {
			break
		}
		r.Consumed += n
	}
	r.Edits, r.Detach = s.edits, s.lost
	if rest := b[r.Consumed:]; len(rest) > 0 && !s.lost {
		if r.Hold = s.holds(dir, rest); !r.Hold {
			s.lines[dir].passed = len(rest)
		}
	}
	return r
}

// next reads what begins at b[at:]: a line, a part of one that is too long, or what is encrypted. It returns how many
// bytes it is done with, 0 if more must come first.
func (s *stream) next(m alg.Master, dir conntrack.Direction, b []byte, at int) int {
	rest, l := b[at:], &s.lines[dir]
	if s.tls[dir].on {
		n, ok := s.tls[dir].read(rest)
		if s.lost = !ok; n > 0 || s.lost || s.tls[dir].on {
			return n
		}
	}
	n := bytes.IndexByte(rest, '\n') + 1
	if l.skip {
		l.skip = n == 0
		if n == 0 {
			n = len(rest)
		}
		return n
	}
	if s.encrypted(dir, rest[0]) {
		m.Logf("%s: a line begins with byte %d: not read from here on", dir, rest[0])
		s.lost = true
		return 0
	}
	switch {
	case n > maxLine || n == 0 && len(rest) > maxLine:
		m.Count("too-long")
		*l = line{skip: n == 0}
		if n == 0 {
			n = len(rest)
		}
		s.line(m, dir, at, rest[:maxLine], false)
	case n > 0: // some ends are CR CR LF, and some arguments have spaces behind them
		s.line(m, dir, at, bytes.TrimRight(rest[:n-1], "\r "), true)
		*l = line{}
	}
	return n
}

// encrypted reports whether the first byte of a line is that of a record of TLS, with which encryption begins that nobody
// has announced. Other bytes that no text has (NUL, bytes above 126) are text that is not understood. The lines of a reply
// between the first and the last are free text (RFC 959, section 4.2).
func (s *stream) encrypted(dir conntrack.Direction, c byte) bool {
	return recordFirst <= c && c <= recordLast && (dir == conntrack.Original || s.multi == 0)
}

// line acts on a line, which begins at b[at:]. whole is false where it is the beginning of one that is too long: it counts
// as a command or reply, but nothing in it is read.
func (s *stream) line(m alg.Master, dir conntrack.Direction, at int, text []byte, whole bool) {
	if dir == conntrack.Original {
		s.command(m, at, text, whole)
	} else {
		s.reply(m, at, text, whole)
	}
}

// holds reports whether the beginning of a line must not leave: an endpoint in it may have to be changed.
func (s *stream) holds(dir conntrack.Direction, text []byte) bool {
	if l := &s.lines[dir]; s.tls[dir].on || l.skip || l.late || !s.ends[dir].translated() {
		return false
	}
	text = text[telnet(text):]
	if dir == conntrack.Original {
		return s.reads() == "" && s.mayAnnounce(text)
	}
	return s.mayAnswer(text)
}

// LetGo implements [alg.Yielder].
func (s *stream) LetGo(m alg.Master, dir conntrack.Direction) { s.lines[dir].late = true }

// End implements [alg.Stream]. A client may close its direction and still await the data of its last command.
func (s *stream) End(m alg.Master, dir conntrack.Direction, reset bool) {
	if reset || dir == conntrack.Reply {
		s.withdraw(m)
	}
}

// Destroy implements [alg.Stream].
func (s *stream) Destroy(m alg.Master) { s.withdraw(m) }

// Tick implements [alg.Stream]: the time of the expectation is over.
func (s *stream) Tick(m alg.Master) { s.withdraw(m) }
