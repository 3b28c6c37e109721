package plain

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ircTalk is what a client has said to a server of IRC, as it is read; what the server says never is.
type ircTalk struct {
	k     *control
	x     *reading
	text  []byte
	line  int  // where the present line begins
	skip  bool // the rest of it is not read
	isIRC bool // it began as IRC
}

const ircLine = 512 // bytes, with its end (RFC 2812, section 2.3)

// readIRC reads the log.
func (k *control) readIRC() reading {
	x := reading{}
	t := &ircTalk{k: k, x: &x}
	for i, e := range k.log {
		k.newest = i == len(k.log)-1
		switch {
		case e.kind == "said" && e.dir == 0:
			t.hear(e.data)
		case e.kind == "said":
			x.free[1] += len(e.data)
		case e.kind == "joined" && e.dir == 0:
			t.skip = true
		case e.kind == "late" && e.dir == 0:
			t.skip, x.free[0] = true, len(t.text)
		}
		if x.off {
			break
		}
	}
	return x
}

// hear reads the lines that are whole now. A zero byte is in no line, but in every handshake of TLS.
func (t *ircTalk) hear(data []byte) {
	t.text = append(t.text, data...)
	for t.line < len(t.text) {
		line := t.text[t.line:]
		n := bytes.IndexByte(line, '\n') + 1
		if n > 0 {
			line = line[:n]
		}
		long := len(line) > ircLine
		switch {
		case bytes.IndexByte(line, 0) >= 0, long && !t.isIRC && !t.skip, n > 0 && !t.skip && !t.begins(line):
			t.x.off = true
			return
		case t.skip || long:
			t.skip = n == 0
		case n == 0:
			t.x.free[0] = max(t.x.free[0], t.line+holdFrom(line))
			return
		default:
			t.offer(string(line))
		}
		t.line += len(line)
	}
	t.x.free[0] = max(t.x.free[0], len(t.text))
}

// ircFirst are the words that a client may begin with; none is one of HTTP.
var ircFirst = strings.Fields(`PASS NICK USER SERVICE CAP AUTHENTICATE WEBIRC STARTTLS PROTOCTL
	PING PONG QUIT PRIVMSG NOTICE JOIN PART MODE TOPIC NAMES LIST INVITE KICK WHO WHOIS WHOWAS AWAY ISON USERHOST MONITOR`)

// begins: the first line that is not empty must be one of IRC.
func (t *ircTalk) begins(line []byte) bool {
	text := strings.TrimRight(string(line), "\r\n")
	if t.isIRC || text == "" {
		return true
	}
	word, _, _ := strings.Cut(text, " ")
	t.isIRC = slices.Contains(ircFirst, strings.ToUpper(word))
	return t.isIRC
}

// An offer, up to the address and from there on: whole, and its beginnings.
const (
	ircWord  = `[^\x00\x01\r\n ]`
	ircOffer = `(?is:^PRIVMSG (?:[^:\x00\x01\r\n ]` + ircWord + `*) :\x01DCC (?:(?:|S|T|TS|ST)(?:SEND|RECV)|S?CHAT|MOVE) ` +
		`(?:"[^"\x00\x01\r\n]+"|[^"\x00\x01\r\n ]` + ircWord + `*) )`
	ircRest   = `([0-9A-Fa-f:.]{1,45}) ([0-9]{1,5})(?: [0-9]{1,20}){0,2}\x01\r?\n$`
	ircBegins = `(?:[0-9A-Fa-f:.]{0,45}|[0-9A-Fa-f:.]{1,45} [0-9]{0,5}|[0-9A-Fa-f:.]{1,45} [0-9]{1,5}(?: [0-9]{1,20}){0,1} [0-9]{0,20}|` +
		`[0-9A-Fa-f:.]{1,45} [0-9]{1,5}(?: [0-9]{1,20}){0,2}\x01?\r?)$`
)

var (
	ircWhole = regexp.MustCompile(ircOffer + ircRest)
	ircOpen  = regexp.MustCompile(ircOffer)
	ircMore  = regexp.MustCompile(ircOffer + ircBegins)
)

// latin makes a character of each byte: what the expressions read.
func latin(b []byte) string {
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

// holdFrom is from where on the beginning of a line must not leave: an address in it may have to be changed.
func holdFrom(line []byte) int {
	text := latin(line)
	head := ircOpen.FindString(text)
	if head == "" || !ircMore.MatchString(text) {
		return len(line)
	}
	return len([]rune(head))
}

// offer is a whole line: if it offers what the client itself has, the way there is opened to anybody.
func (t *ircTalk) offer(line string) {
	text := latin([]byte(line))
	m := ircWhole.FindStringSubmatchIndex(text)
	if m == nil {
		return
	}
	for i := range m { // back to bytes of the line
		m[i] = len([]rune(text[:max(m[i], 0)]))
	}
	k := t.k
	inner, outer := k.ends(0)
	addr, ok := ircAddress(line[m[2]:m[3]])
	port, fits := ircNumber(line[m[4]:m[5]], 1<<16-1)
	told := ircText(outer)
	switch {
	case !ok || addr != inner && addr != outer, inner == outer && k.translated(1), !fits || port < 1024:
		return
	case len(line)-(m[5]-m[2])+len(told)+6 > ircLine: // the server would cut it off
		return
	}
	at := t.line + m[2]
	c := k.once(place{0, at}, func() choice { return t.open(at, line[m[2]:m[3]], uint16(port)) })
	if c.ok {
		t.x.edit(0, at, line[m[2]:m[3]], told)
		t.x.edit(0, t.line+m[4], line[m[4]:m[5]], strconv.Itoa(int(c.number)))
	}
}

// open awaits a connection to a port of the client, by the port that came out.
func (t *ircTalk) open(at int, addr string, port uint16) choice {
	k := t.k
	inner, outer := k.ends(0)
	x := &expectation{master: k.conn, proto: tcpIP, to: netip.AddrPortFrom(outer, port), leads: netip.AddrPortFrom(inner, port)}
	if k.translated(0) {
		after := t.x.image(0, at) + len(ircText(outer)) + 1
		told, shown := ircNumber(wholeNumber(k.cameOut(0, after)), 1<<16-1)
		x.holds = k.router.reserve(k.conn, outer, x.leads, uint16(told), shown)
		x.to = x.holds.outside
	}
	return choice{number: x.to.Port(), ok: k.router.await(x, ircOffers)}
}

// ircOffers is how many offers of a client may wait: the oldest gives way.
const ircOffers = 8

// wholeNumber is the number at the beginning of what came out, if it came out whole.
func wholeNumber(b []byte) string {
	n := bytes.IndexFunc(b, func(c rune) bool { return c < '0' || c > '9' })
	return string(b[:max(n, 0)])
}

// ircAddress reads an address: IPv4 is one decimal number.
func ircAddress(s string) (netip.Addr, bool) {
	if strings.Contains(s, ":") {
		a, err := netip.ParseAddr(s)
		return a, err == nil && !a.Is4In6() && a.Zone() == ""
	}
	n, ok := ircNumber(s, 1<<32-1)
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(n)))), ok
}

func ircText(a netip.Addr) string {
	if a.Is4() {
		return strconv.FormatUint(uint64(binary.BigEndian.Uint32(a.AsSlice())), 10)
	}
	return a.String()
}

// ircNumber reads a number from 1 on, without a leading zero.
func ircNumber(s string, most uint64) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n >= 1 && n <= most && s[0] != '0'
}
