package ftp

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// slow is what the helper should do, written plainly and otherwise: it is given whole lines as text, keeps lists, and
// reads with regular expressions. Text is Latin-1, one character a byte.
type slow struct {
	ends    [2]end
	lprt    bool
	reserve func(uint16) uint16

	off      bool // left alone
	greeted  bool
	began    bool
	in       bool // logged in
	onlyEPSV bool
	body     string // code of a reply of several lines that goes on
	waiting  []string
	line     [2]string // what there is of the line in hand
	gone     [2]int    // characters of it that had to leave
	skipping [2]bool
	out      [2]string // all that has left or may, without the line in hand
	awaited  string    // endpoint that the other end may connect to, with who: "server>1.2.3.4:5"
	by       int       // number of the command that it is by; -1: a reply
	count    int       // commands so far
}

func latin1(b []byte) string {
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

func bytesOf(s string) (b []byte) {
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b
}

func length(s string) int { return len([]rune(s)) }

// arrive takes what comes in one piece.
func (s *slow) arrive(dir int, piece string) {
	for _, r := range piece {
		s.char(dir, r)
	}
	if s.off {
		s.giveUp()
		return
	}
	if text := s.line[dir]; text != "" && !s.skipping[dir] && !s.mayChange(dir, text) {
		s.gone[dir] = length(text)
	}
}

func (s *slow) giveUp() {
	for dir := range 2 {
		s.out[dir] += s.line[dir]
		s.line[dir] = ""
	}
}

func (s *slow) char(dir int, r rune) {
	switch {
	case s.off || s.skipping[dir]:
		s.out[dir] += string(r)
		s.skipping[dir] = s.skipping[dir] && r != '\n'
		return
	case s.line[dir] == "" && !s.mayBegin(dir, r):
		s.off = true
		s.giveUp()
		s.out[dir] += string(r)
		return
	}
	s.line[dir] += string(r)
	n := length(s.line[dir])
	switch {
	case n == 513:
		text := string([]rune(s.line[dir])[:512])
		s.out[dir] += s.line[dir]
		s.line[dir], s.gone[dir], s.skipping[dir] = "", 0, r != '\n'
		s.act(dir, text, true)
	case r == '\n':
		text := s.line[dir]
		s.line[dir] = ""
		s.out[dir] += s.act(dir, text, false)
		s.gone[dir] = 0
	}
	if s.off {
		s.giveUp()
	}
}

func (s *slow) mayBegin(dir int, r rune) bool {
	return strings.ContainsRune("\r\n\t", r) || r >= 32 && r < 127 || dir == 0 && r == 255 || dir == 1 && s.body != ""
}

// telnetCommands are what may stand before a command.
var telnetCommands = regexp.MustCompile("^(?s:\u00ff[\u00f0-\u00f9]|\u00ff[\u00fb-\u00fe].|\u00ff[\u00fb-\u00fe]?$)*")

// mayChange says whether what is there of a line may become one that is changed.
func (s *slow) mayChange(dir int, text string) bool {
	if s.ends[dir].inner == s.ends[dir].outer {
		return false
	}
	if dir == 1 {
		for code, verb := range map[string]string{"227": "PASV", "229": "EPSV", "228": "LPSV"} {
			if (strings.HasPrefix(code+" ", text) || strings.HasPrefix(text, code+" ")) && slices.Contains(s.waiting, verb) &&
				(s.body == "" || s.body == code) {
				return true
			}
		}
		return false
	}
	text = strings.ToUpper(telnetCommands.ReplaceAllString(text, ""))
	for _, verb := range []string{"PORT ", "EPRT ", "LPRT "} {
		if text != "" && (strings.HasPrefix(verb, text) || strings.HasPrefix(text, verb)) && (verb != "LPRT " || s.lprt) {
			return s.may()
		}
	}
	return false
}

func (s *slow) may() bool { return s.in && !s.onlyEPSV && !slices.Contains(s.waiting, "AUTH") }

// act returns what stands in place of a line.
func (s *slow) act(dir int, text string, cut bool) string {
	end := ""
	if !cut {
		bare := strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
		end, text = text[len(bare):], bare
	}
	if dir == 0 {
		return s.command(text, cut) + end
	}
	return s.reply(text, cut) + end
}

var (
	commandLine = regexp.MustCompile(`^(?s:([A-Za-z]{1,4})(?:( +)(.*))?)$`)
	beginners   = strings.Fields("USER AUTH HOST FEAT SYST OPTS LANG CLNT CSID NOOP HELP STAT PBSZ PROT ADAT QUIT")
)

func (s *slow) command(text string, cut bool) string {
	before := telnetCommands.FindString(text)
	m := commandLine.FindStringSubmatch(text[len(before):])
	verb, arg := "", ""
	if m != nil {
		verb, arg = strings.ToUpper(m[1]), m[3]
	}
	if cut && verb == "" { // the word alone would do
		if w := regexp.MustCompile(`^([A-Za-z]{1,4})( |$)`).FindStringSubmatch(text[len(before):]); w != nil {
			verb = strings.ToUpper(w[1])
		}
	}
	switch {
	case !s.greeted:
		s.off = true
		return text
	case !s.began && before == text:
		return text
	case !s.began && (cut || !slices.Contains(beginners, verb)):
		s.off = true
		return text
	}
	s.began = true
	if cut {
		verb = ""
	}
	if verb == "EPSV" && strings.ToUpper(strings.TrimRight(arg, " ")) == "ALL" {
		verb = "EPSV ALL"
	}
	if (verb == "LPSV" || verb == "LPRT") && !s.lprt {
		verb = ""
	}
	may := s.may()
	s.waiting = append(s.waiting, verb)
	s.waiting = s.waiting[max(0, len(s.waiting)-32):]
	s.count++
	var addr netip.Addr
	var port uint64
	delim := ""
	switch verb {
	case "PORT":
		addr, port = sixNumbers(arg)
	case "EPRT":
		addr, port, delim = extendedOf(arg)
	case "LPRT":
		addr, port = longNumbers(arg)
	}
	if port == 0 {
		return text
	}
	s.awaited = ""
	if !may {
		return text
	}
	at := len(text) - len(arg)
	return text[:at] + s.endpoint(0, addr, uint16(port), arg, delim, length(text[:at]))
}

// number reads a number of so many digits at most.
func number(s string, digits int, most uint64) (uint64, bool) {
	if len(s) == 0 || len(s) > digits || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > most {
		return 0, false
	}
	return n, true
}

func listOf(s string) (b []byte) {
	for part := range strings.SplitSeq(s, ",") {
		n, ok := number(part, 3, 255)
		if !ok {
			return nil
		}
		b = append(b, byte(n))
	}
	return b
}

func sixNumbers(s string) (netip.Addr, uint64) {
	b := listOf(s)
	if len(b) != 6 {
		return netip.Addr{}, 0
	}
	return netip.AddrFrom4([4]byte(b[:4])), uint64(b[4])*256 + uint64(b[5])
}

func longNumbers(s string) (netip.Addr, uint64) {
	b := listOf(s)
	for af, hal := range map[byte]int{4: 4, 6: 16} {
		if len(b) == hal+5 && b[0] == af && int(b[1]) == hal && b[hal+2] == 2 {
			if a, _ := netip.AddrFromSlice(b[2 : 2+hal]); !a.Is4In6() {
				return a, uint64(b[hal+3])*256 + uint64(b[hal+4])
			}
		}
	}
	return netip.Addr{}, 0
}

func extendedOf(s string) (a netip.Addr, port uint64, delim string) {
	if s == "" || s[0] <= ' ' || s[0] > '~' || strings.Contains("0123456789abcdefABCDEF", s[:1]) {
		return a, 0, ""
	}
	parts := strings.Split(s, s[:1])
	if len(parts) != 5 || parts[0] != "" || parts[4] != "" {
		return a, 0, ""
	}
	a, err := netip.ParseAddr(parts[2])
	if err != nil || a.Zone() != "" || a.Is4In6() || !(parts[1] == "1" && a.Is4() || parts[1] == "2" && a.Is6()) || len(parts[2]) > 45 {
		return a, 0, ""
	}
	port, ok := number(parts[3], 5, 65535)
	if !ok {
		port = 0
	}
	return a, port, s[:1]
}

var (
	replyLine = regexp.MustCompile(`^([1-6][0-9][0-9])([ -]|$)`)
	portAlone = regexp.MustCompile(`^\(([!-/:-@G-` + "`" + `g-~])([!-~])([!-~])([0-9]{1,5})([!-~])\)`)
	numerals  = regexp.MustCompile(`[0-9,]+`)
)

func (s *slow) reply(text string, cut bool) string {
	m := replyLine.FindStringSubmatch(text)
	if s.body != "" {
		if m == nil || m[1] != s.body || m[2] == "-" {
			return text
		}
		s.body = ""
	} else if m == nil {
		s.off = !s.greeted
		return text
	} else if m[2] == "-" {
		s.body = m[1]
		return text
	}
	code := m[1]
	wanted := map[string]string{"227": "PASV", "228": "LPSV", "229": "EPSV"}[code]
	switch {
	case !s.greeted:
		s.greeted = code == "220"
	case code[0] == '1':
	case code == "234":
		s.off = true
	case wanted != "":
		i := slices.Index(s.waiting, wanted)
		if i < 0 {
			return text
		}
		s.waiting = s.waiting[i+1:]
		if !cut && s.in && (!s.onlyEPSV || code == "229") {
			return s.passive(code, text)
		}
	case len(s.waiting) > 0:
		s.answer(code)
	}
	return text
}

func (s *slow) answer(code string) {
	verb, which := s.waiting[0], s.count-len(s.waiting)
	s.waiting = s.waiting[1:]
	switch good := code[0] == '2'; {
	case verb == "EPSV ALL" && good:
		s.onlyEPSV = true
	case verb == "REIN" && good:
		s.in, s.awaited = false, ""
	case verb == "QUIT" && good:
		s.awaited = ""
	case slices.Contains([]string{"USER", "PASS", "ACCT"}, verb) && slices.Contains([]string{"202", "230", "232"}, code):
		s.in = true
	case code[0] >= '4' && s.by == which:
		s.awaited = ""
	}
}

// passive returns a reply with its endpoint replaced.
func (s *slow) passive(code, text string) string {
	if code == "229" {
		for i := 4; i < len(text); i++ {
			m := portAlone.FindStringSubmatch(text[i:])
			if m == nil || m[1] != m[2] || m[1] != m[3] || m[1] != m[5] {
				continue
			}
			if port, ok := number(m[4], 5, 65535); ok && port > 0 {
				s.awaited = ""
				inner := m[0][1 : len(m[0])-1]
				return text[:i+1] + s.endpoint(1, s.ends[1].outer, uint16(port), inner, m[1], length(text[:i+1])) + text[i+len(m[0])-1:]
			}
		}
		return text
	}
	for _, at := range numerals.FindAllStringIndex(text, -1) {
		if at[0] < 4 { // the code
			continue
		}
		run := text[at[0]:at[1]]
		addr, port := sixNumbers(run)
		if code == "228" {
			addr, port = longNumbers(run)
		}
		if port == 0 {
			continue
		}
		s.awaited = ""
		return text[:at[0]] + s.endpoint(1, addr, uint16(port), run, "", length(text[:at[0]])) + text[at[1]:]
	}
	return text
}

// endpoint returns what stands for an endpoint that an end has named, in old, at a place of its line.
func (s *slow) endpoint(dir int, addr netip.Addr, port uint16, old, delim string, at int) string {
	own := s.ends[dir]
	third := addr != own.inner && addr != own.outer
	if port < 1024 || addr.Is4() != own.inner.Is4() || third && addr != thirdAddr {
		return old
	}
	outside, number := own.outer, port
	switch {
	case third:
		outside = addr
	case own.inner != own.outer:
		if at < s.gone[dir] {
			return old
		}
		number = s.reserve(port)
	}
	s.awaited = fmt.Sprintf("%s>%s, %d", s.ends[1-dir].inner, netip.AddrPortFrom(outside, number), port)
	if s.by = -1; dir == 0 {
		s.by = s.count - 1
	}
	if third || outside == addr && number == port {
		return old
	}
	var parts []string
	switch {
	case delim != "" && dir == 1:
		return fmt.Sprint(delim, delim, delim, number, delim)
	case delim != "":
		return strings.Join([]string{"", map[bool]string{true: "1", false: "2"}[outside.Is4()], outside.String(), fmt.Sprint(number), ""}, delim)
	case strings.Count(old, ",") > 5 && outside.Is4():
		parts = append(parts, "4", "4")
	case strings.Count(old, ",") > 5:
		parts = append(parts, "6", "16")
	}
	for _, b := range outside.AsSlice() {
		parts = append(parts, fmt.Sprint(b))
	}
	if strings.Count(old, ",") > 5 {
		parts = append(parts, "2")
	}
	return strings.Join(append(parts, fmt.Sprint(number>>8), fmt.Sprint(number&255)), ",")
}
