package plain

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// ftpEndpoint is an endpoint as a line of FTP has it.
type ftpEndpoint struct {
	text  string
	delim string // "": six numbers
	addr  netip.Addr
	port  uint16
}

// ftpDelimiters: RFC 2428, section 2: any of ASCII 33 to 126; one that may stand in an address can't be told from it.
var ftpDelimiters = regexp.MustCompile(`^[!-/:-@G-` + "`" + `g-~]$`)

var (
	sixNumbers  = regexp.MustCompile(`^\d{1,3}(,\d{1,3}){5}`)
	spacedOnes  = regexp.MustCompile(`^\d{1,3}(, *\d{1,3}){5}`) // as some servers write them
	behindComma = regexp.MustCompile(`, +`)
)

// ftpNumbers reads h1,h2,h3,h4,p1,p2 (RFC 959, section 4.1.2) at the beginning of a text.
func ftpNumbers(s string) (e ftpEndpoint, ok bool) { return readNumbers(sixNumbers.FindString(s)) }

func readNumbers(text string) (e ftpEndpoint, ok bool) {
	e.text = text
	var n [6]byte
	for i, word := range strings.Split(behindComma.ReplaceAllString(text, ","), ",") {
		v, err := strconv.Atoi(word)
		if err != nil || v > 255 || i > 5 {
			return e, false
		}
		n[i] = byte(v)
	}
	e.addr, e.port = netip.AddrFrom4([4]byte(n[:4])), uint16(n[4])<<8|uint16(n[5])
	return e, e.port != 0
}

// ftpExtended reads |1|address|port| (RFC 2428, section 2), a whole text.
func ftpExtended(s string) (e ftpEndpoint, ok bool) {
	if s == "" || !ftpDelimiters.MatchString(s[:1]) {
		return e, false
	}
	e.text, e.delim = s, s[:1]
	w := strings.Split(s, e.delim)
	if len(w) != 5 || w[0] != "" || w[4] != "" {
		return e, false
	}
	var err error
	e.addr, err = netip.ParseAddr(w[2])
	e.port, ok = ftpPort(w[3])
	family := map[bool]string{true: "1", false: "2"}[e.addr.Is4()]
	return e, ok && err == nil && w[1] == family && e.addr.Zone() == "" && !e.addr.Is4In6() && len(w[2]) <= 45
}

var fiveDigits = regexp.MustCompile(`^\d{1,5}$`)

func ftpPort(s string) (uint16, bool) {
	n, err := strconv.Atoi(s)
	return uint16(n), err == nil && fiveDigits.MatchString(s) && n > 0 && n < 1<<16
}

// ftpFind returns the first endpoint in a reply, and where it stands. Of 227 only the numbers are prescribed (RFC 1123,
// section 4.1.2.6), and servers put spaces between them; that of 229 is (|||port|) (RFC 2428, section 3).
func ftpFind(line, code string) (e ftpEndpoint, at int, ok bool) {
	for at = 4; at < len(line); at++ {
		s := line[at:]
		switch {
		case code == "227" && digit(s[0]) && (at == 4 || !digit(line[at-1]) && line[at-1] != ','):
			e, ok = readNumbers(spacedOnes.FindString(s))
			rest := s[len(e.text):]
			ok = ok && (rest == "" || !digit(rest[0]) && rest[0] != ',')
		case code == "229" && line[at-1] == '(' && ftpDelimiters.MatchString(s[:1]):
			w := strings.SplitN(s, s[:1], 5)
			if len(w) != 5 || w[0]+w[1]+w[2] != "" || !strings.HasPrefix(w[4], ")") {
				continue
			}
			e = ftpEndpoint{text: s[:len(w[3])+4], delim: s[:1]}
			e.port, ok = ftpPort(w[3])
		}
		if ok {
			return e, at, true
		}
	}
	return e, 0, false
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// with is the text of another endpoint in the same form.
func (e ftpEndpoint) with(addr netip.Addr, port uint16) string {
	d := e.delim
	switch {
	case d == "" && addr.Is6(): // there is no room for it; the speaker's
		return fmt.Sprintf("0,0,0,0,%d,%d", port>>8, port&255)
	case d == "":
		return fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(addr.String(), ".", ","), port>>8, port&255)
	case strings.HasPrefix(e.text, d+d):
		return fmt.Sprint(d, d, d, port, d)
	case addr.Is4():
		return fmt.Sprint(d, 1, d, addr, d, port, d)
	}
	return fmt.Sprint(d, 2, d, addr, d, port, d)
}

// told reads the port that came out where the endpoint stood, if all of it did.
func (e ftpEndpoint) told(out string) (port uint16, ok bool) {
	if e.delim == "" {
		o, ok := readNumbers(spacedOnes.FindString(out))
		return o.port, ok && len(o.text) < len(out)
	}
	w := strings.Split(out, e.delim)
	if len(w) <= 4 {
		return 0, false
	}
	return ftpPort(w[3])
}

// telnetNegotiation is IAC SB to IAC SE, or what there is of it; a byte 255 within stands twice (RFC 855).
var telnetNegotiation = regexp.MustCompile(`^\x{ff}\x{fa}(?s:[^\x{ff}]|\x{ff}[^\x{f0}])*(?:\x{ff}\x{f0}|\x{ff}?$)`)

// telnetLength is how many bytes of a line are commands of Telnet that stand before one of FTP.
func telnetLength(line string) (n int) {
	for n < len(line) && line[n] == 255 {
		if n+1 == len(line) {
			return n + 1
		}
		switch c := line[n+1]; {
		case c >= 251 && c < 255: // WILL to DONT, with an option
			n = min(n+3, len(line))
		case c >= 240 && c < 250:
			n += 2
		case c == 250: // a negotiation, up to SE
			n += len([]rune(telnetNegotiation.FindString(latin([]byte(line[n:])))))
		default: // IAC, or none: no command of FTP follows
			return n
		}
	}
	return n
}
