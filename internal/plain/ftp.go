package plain

import (
	"bytes"
	"net/netip"
	"regexp"
	"slices"
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
	late   [2]bool   // it was waited for in vain: nothing comes of it

	greeted, opened, loggedIn, epsvAll bool
	multi                              string // code of the reply of several lines
	pending                            []ftpCommand
	commands                           int
	announced                          int  // command that announced what is awaited
	taken                              bool // something positive was replied since
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
		case "late":
			t.late[e.dir], x.free[e.dir] = true, len(t.text[e.dir])
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
		t.line[dir], t.passed[dir], t.skip[dir], t.late[dir] = t.line[dir]+n, 0, false, false
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
	case rest[0] >= 20 && rest[0] <= 23 && (dir == 0 || t.multi == ""): // a record of TLS: no text begins so
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
		t.act(dir, strings.TrimRight(string(rest[:n-1]), "\r "), true)
		end()
	}
	return true
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
	case len(line) == begin:
		return
	case !t.greeted:
		t.x.off = true
		return
	case t.opened:
	case !whole || !slices.Contains(ftpOpens, word):
		t.x.off = true
		return
	}
	t.opened = true
	if !whole {
		word = ""
	}
	if word == "EPSV" && strings.EqualFold(line[begin+arg:], "ALL") {
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
var ftpOpens = strings.Fields(`USER AUTH HOST FEAT SYST OPTS LANG CLNT CSID NOOP HELP STAT PBSZ PROT ADAT QUIT OPEN SITE`)

var ftpVerb = regexp.MustCompile(`^([A-Za-z]{0,4})(?: +|$)`)

// ftpWord returns the word of a command, and where its argument begins.
func ftpWord(text string) (word string, arg int) {
	m := ftpVerb.FindStringSubmatch(text)
	if m == nil {
		return "", len(text)
	}
	return strings.ToUpper(m[1]), len(m[0])
}

// passive are the commands that are answered by an endpoint. Which of the two a reply is for, nobody knows: clients and
// servers mix them.
func (c ftpCommand) passive() bool { return c.word == "PASV" || c.word == "EPSV" }

func (c ftpCommand) login() bool { return c.word == "USER" || c.word == "PASS" || c.word == "ACCT" }

var ftpCode = regexp.MustCompile(`^([1-6][0-9][0-9])(-| |$)`)

// reply is a line of the server. What is none is skipped.
func (t *ftpTalk) reply(line string, whole bool) {
	begin := telnetLength(line)
	m := ftpCode.FindStringSubmatch(line[begin:])
	if t.multi != "" { // RFC 959, section 4.2: up to its code and a space
		if m == nil || m[1] != t.multi || m[2] == "-" {
			return
		}
		t.multi = ""
	}
	if m == nil {
		return
	}
	switch code := m[1]; {
	case m[2] == "-":
		t.multi = code
	case !t.greeted:
		t.greeted = code[0] == '2'
	case code[0] == '1': // another one follows
		t.taken = true
	case code == "234": // encrypted from here on
		t.x.off = true
	case code == "227" || code == "229":
		t.answer(line, begin, whole, code)
	default:
		t.done(code)
	}
}

// done is a reply without an endpoint: to the oldest command that it can be for (RFC 1123, section 4.1.2.11: the first
// digit counts). One that is positive can't be for PASV or EPSV.
func (t *ftpTalk) done(code string) {
	if i := slices.IndexFunc(t.pending, ftpCommand.login); i > 0 && code == "230" { // of no other command
		t.pending = t.pending[i:]
	}
	refused := code[0] == '4' || code[0] == '5'
	t.taken = t.taken || code[0] < '4'
	i := slices.IndexFunc(t.pending, func(c ftpCommand) bool { return refused || !c.passive() })
	if i < 0 {
		return
	}
	c := t.pending[i]
	t.pending = slices.Delete(slices.Clone(t.pending), i, i+1)
	switch completed := code[0] == '2'; {
	case c.login():
		t.loggedIn = t.loggedIn || completed
	case c.word == "REIN" && completed:
		t.loggedIn = false
		t.withdraw()
	case c.word == "QUIT" && completed:
		t.withdraw()
	case c.word == "EPSV ALL":
		t.epsvAll = t.epsvAll || completed
	case (c.word == "PORT" || c.word == "EPRT") && refused && !t.taken && t.announced == c.number:
		t.withdraw()
	}
}

// answer is a reply with an endpoint. It is for the first command that can have it, whatever was left unanswered.
func (t *ftpTalk) answer(line string, begin int, whole bool, code string) {
	t.taken = true
	i := slices.IndexFunc(t.pending, ftpCommand.passive)
	if i < 0 {
		return
	}
	t.pending = t.pending[i+1:]
	e, at, ok := ftpFind(line[begin:], code)
	if ok && whole && t.loggedIn && (!t.epsvAll || code == "229") {
		t.announce(1, begin+at, e)
		t.announced = 0
	}
}

// holds: the beginning of a line that may have to be changed waits.
func (t *ftpTalk) holds(dir int, rest string) bool {
	if t.skip[dir] || t.late[dir] || !t.k.translated(dir) {
		return false
	}
	rest = rest[telnetLength(rest):]
	n := min(len(rest), 5)
	if dir == 0 {
		return t.acts() && n > 0 && (strings.EqualFold(rest[:n], "PORT "[:n]) || strings.EqualFold(rest[:n], "EPRT "[:n]))
	}
	n = min(n, 4)
	for _, code := range []string{"227", "229"} {
		if n > 0 && rest[:n] == (code + " ")[:n] && (t.multi == "" || t.multi == code) && slices.ContainsFunc(t.pending, ftpCommand.passive) {
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
	t.taken = false
	switch {
	case !e.addr.IsValid():
		e.addr = outer
	case dir == 1 && e.addr.IsUnspecified(): // the speaker
		e.addr = inner
	}
	place := place{dir, t.line[dir] + at}
	switch {
	case e.addr != inner && e.addr != outer, e.addr.Is4() != inner.Is4(), e.port < 1024:
		return
	case k.translated(dir) && (t.late[dir] || at < t.passed[dir]):
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
	if c.ok && (e.addr != outer || c.number != e.port) {
		t.x.edit(dir, place.at, e.text, e.with(outer, c.number))
	}
}
