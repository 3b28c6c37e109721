package plain

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ftpTalk is a control connection of FTP (RFC 959, RFC 2428) as it is read.
type ftpTalk struct {
	k *control
	x *reading

	text   [2][]byte // as far as it was heard
	line   [2]int    // where the present line begins
	passed [2]int    // how many bytes of it have left
	skip   [2]bool   // it is too long

	greeted, opened, loggedIn, epsvAll bool
	multi                              int // code of the reply of several lines
	pending                            []ftpCommand
	commands                           int
	announced                          int // command that announced what is awaited
}

type ftpCommand struct {
	word   string
	number int
}

const ftpLine = 512 // bytes, with its end

// readFTP reads the log.
func (k *control) readFTP() reading {
	x := reading{}
	t := &ftpTalk{k: k, x: &x}
	for i, e := range k.log {
		k.newest = i == len(k.log)-1
		switch e.kind {
		case "said":
			t.hear(e.dir, e.data)
		case "joined": // who reads from the middle takes for a command what is none
			x.off = true
		case "reset":
			t.withdraw()
		case "fin":
			if e.dir == 1 { // a client may have ended and still await its last file
				t.withdraw()
			}
		}
		if x.off {
			break
		}
	}
	return x
}

// hear reads the whole lines that there are now, and decides what of the rest waits.
func (t *ftpTalk) hear(dir int, data []byte) {
	t.text[dir] = append(t.text[dir], data...)
	for !t.x.off && t.next(dir) {
	}
	rest := t.text[dir][t.line[dir]:]
	free := len(t.text[dir])
	switch {
	case t.x.off || len(rest) == 0:
	case t.holds(dir, string(rest)):
		free = t.line[dir]
	default:
		t.passed[dir] = len(rest)
	}
	t.x.free[dir] = max(t.x.free[dir], free)
}

// next reads a line; false: there is none.
func (t *ftpTalk) next(dir int) bool {
	rest := t.text[dir][t.line[dir]:]
	if len(rest) == 0 {
		return false
	}
	n := bytes.IndexByte(rest, '\n') + 1
	end := func() {
		t.line[dir], t.passed[dir], t.skip[dir] = t.line[dir]+n, 0, false
	}
	switch {
	case t.skip[dir]:
		if n == 0 {
			n = len(rest)
			end()
			t.skip[dir] = true
			return false
		}
		end()
	case !t.readable(dir, rest[0]):
		t.x.off = true
	case n > ftpLine || n == 0 && len(rest) > ftpLine:
		long := n == 0
		if long {
			n = len(rest)
		}
		t.act(dir, string(rest[:ftpLine]), false)
		end()
		t.skip[dir] = long
		return !long
	case n == 0:
		return false
	default:
		t.act(dir, strings.TrimSuffix(string(rest[:n-1]), "\r"), true)
		end()
	}
	return true
}

// readable: no line of text begins so, but every record of TLS does. Telnet's commands come from the client only.
func (t *ftpTalk) readable(dir int, c byte) bool {
	return dir == 1 && t.multi != 0 || strings.IndexByte("\r\n\t", c) >= 0 || c >= ' ' && c <= '~' || dir == 0 && c == 255
}

func (t *ftpTalk) act(dir int, text string, whole bool) {
	if dir == 0 {
		t.command(text, whole)
	} else {
		t.reply(text, whole)
	}
}

// command is a line of the client.
func (t *ftpTalk) command(line string, whole bool) {
	begin := telnetLength(line)
	word, arg := ftpWord(line[begin:])
	switch {
	case !t.greeted:
		t.x.off = true
		return
	case t.opened:
	case len(line) == begin:
		return
	case !whole || !slices.Contains(ftpOpens, word):
		t.x.off = true
		return
	}
	t.opened = true
	if !whole {
		word = ""
	}
	if word == "EPSV" && strings.EqualFold(strings.TrimRight(line[begin+arg:], " "), "ALL") {
		word = "EPSV ALL"
	}
	acted := t.acts()
	t.commands++
	if t.pending = append(t.pending, ftpCommand{word, t.commands}); len(t.pending) > 32 {
		t.pending = t.pending[1:]
	}
	var e ftpEndpoint
	var ok bool
	switch text := line[begin+arg:]; word {
	case "PORT":
		e, ok = ftpNumbers(text)
	case "EPRT":
		e, ok = ftpExtended(text)
	}
	switch {
	case !ok || len(e.text) != len(line)-begin-arg:
	case !acted:
		t.withdraw()
	default:
		t.announce(0, begin+arg, e)
		t.announced = t.commands
	}
}

// acts: nothing is opened before a login, after EPSV ALL, or while encryption may begin (RFC 4217, section 15.5).
func (t *ftpTalk) acts() bool { return t.loggedIn && !t.epsvAll && !t.waits("AUTH") }

func (t *ftpTalk) waits(word string) bool {
	return slices.ContainsFunc(t.pending, func(c ftpCommand) bool { return c.word == word })
}

// ftpOpens are the commands with which a client of FTP may begin; those of HTTP are not among them.
var ftpOpens = strings.Fields(`USER AUTH HOST FEAT SYST OPTS LANG CLNT CSID NOOP HELP STAT PBSZ PROT ADAT QUIT`)

var ftpVerb = regexp.MustCompile(`^([A-Za-z]{0,4})(?: +|$)`)

// ftpWord returns the word of a command, and where its argument begins.
func ftpWord(text string) (word string, arg int) {
	m := ftpVerb.FindStringSubmatch(text)
	if m == nil {
		return "", len(text)
	}
	return strings.ToUpper(m[1]), len(m[0])
}

// ftpReplies are the replies with an endpoint, and the commands that they answer.
var ftpReplies = map[int]string{227: "PASV", 228: "LPSV", 229: "EPSV"}

var ftpCode = regexp.MustCompile(`^([1-6][0-9][0-9])(-| |$)`)

// reply is a line of the server.
func (t *ftpTalk) reply(line string, whole bool) {
	code, more := 0, false
	if m := ftpCode.FindStringSubmatch(line); m != nil {
		code, _ = strconv.Atoi(m[1])
		more = m[2] == "-"
	}
	if t.multi != 0 { // RFC 959, section 4.2: up to its code and a space
		if code != t.multi || more {
			return
		}
		t.multi = 0
	}
	switch word := ftpReplies[code]; {
	case code == 0:
		t.x.off = t.x.off || !t.greeted
	case more:
		t.multi = code
	case !t.greeted:
		t.greeted = code == 220
	case code < 200: // another one follows
	case code == 234: // encrypted from here on
		t.x.off = true
	case word != "":
		t.answer(line, whole, word)
	case len(t.pending) > 0:
		c := t.pending[0]
		t.pending = t.pending[1:]
		t.done(c, code)
	}
}

// done is a command that was answered.
func (t *ftpTalk) done(c ftpCommand, code int) {
	switch c.word {
	case "USER", "PASS", "ACCT":
		t.loggedIn = t.loggedIn || code == 230 || code == 232 || code == 202
	case "REIN":
		if code < 300 {
			t.loggedIn = false
			t.withdraw()
		}
	case "QUIT":
		if code < 300 {
			t.withdraw()
		}
	case "EPSV ALL":
		t.epsvAll = t.epsvAll || code < 300
	case "PORT", "EPRT":
		if code >= 400 && t.announced == c.number {
			t.withdraw()
		}
	}
}

// answer is a reply with an endpoint. It is for the first command that can have it, whatever was left unanswered.
func (t *ftpTalk) answer(line string, whole bool, word string) {
	i := slices.IndexFunc(t.pending, func(c ftpCommand) bool { return c.word == word })
	if i < 0 {
		return
	}
	t.pending = t.pending[i+1:]
	e, at, ok := ftpFind(line, word)
	if ok && whole && t.loggedIn && (!t.epsvAll || word == "EPSV") {
		t.announce(1, at, e)
		t.announced = 0
	}
}

// holds: the beginning of a line that may have to be changed waits.
func (t *ftpTalk) holds(dir int, rest string) bool {
	if t.skip[dir] || !t.k.translated(dir) {
		return false
	}
	if dir == 0 {
		rest = rest[telnetLength(rest):]
		n := min(len(rest), 5)
		return t.acts() && n > 0 && (strings.EqualFold(rest[:n], "PORT "[:n]) || strings.EqualFold(rest[:n], "EPRT "[:n]))
	}
	for code, word := range ftpReplies {
		begins := fmt.Sprint(code, " ")
		n := min(len(rest), 4)
		if rest[:n] == begins[:n] && (t.multi == 0 || t.multi == code) && t.waits(word) {
			return true
		}
	}
	return false
}

// withdraw: what was announced is not awaited any more.
func (t *ftpTalk) withdraw() {
	t.announced = 0
	if t.k.newest {
		t.k.router.withdraw(t.k.conn)
	}
}

// announce: an end has named an endpoint of its own, at some bytes of the present line. The other end is to find there
// what it can reach, and its connection to that is awaited, in place of any other.
func (t *ftpTalk) announce(dir, at int, e ftpEndpoint) {
	t.withdraw()
	k := t.k
	inner, outer := k.ends(dir)
	if !e.addr.IsValid() {
		e.addr = outer
	}
	place := place{dir, t.line[dir] + at}
	switch {
	case e.addr != inner && e.addr != outer, e.addr.Is4() != inner.Is4(), e.port < 1024:
		return
	case k.translated(dir) && at < t.passed[dir]:
		return // has left already
	}
	c := k.once(place, func() choice {
		x := &expectation{
			master: k.conn, proto: tcpIP, from: k.conn.tuples[1-dir].src.Addr(), to: netip.AddrPortFrom(outer, e.port),
			source: k.conn.leaves(1 - dir).src.Addr(), leads: netip.AddrPortFrom(k.conn.leaves(1-dir).dst.Addr(), e.port),
		}
		if k.translated(dir) {
			told, shown := e.told(string(k.cameOut(dir, t.x.image(dir, place.at))))
			x.holds = k.router.reserve(k.conn, outer, x.leads, told, shown)
			x.to = x.holds.outside
		}
		return choice{number: x.to.Port(), ok: k.router.await(x, 1)}
	})
	if c.ok {
		t.x.edit(dir, place.at, e.text, e.with(outer, c.number))
	}
}
