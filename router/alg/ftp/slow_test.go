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
	waiting  []waits
	line     [2]string // what there is of the line in hand
	gone     [2]int    // characters of it that had to leave
	skipping [2]bool
	late     [2]bool   // the line in hand left before it was whole
	out      [2]string // all that has left or may, without the line in hand
	awaited  string    // endpoint that the other end may connect to, with who: "server>1.2.3.4:5"
	by       int       // number of the command that it is by; -1: a reply
	good     bool      // something positive was replied since
	count    int       // commands so far
}

// waits is a command without a reply, with its number.
type waits struct {
	verb   string
	number int
}

func (w waits) passive() bool { return w.verb == "PASV" || w.verb == "EPSV" || w.verb == "LPSV" }

func (w waits) login() bool { return w.verb == "USER" || w.verb == "PASS" || w.verb == "ACCT" }

func (w waits) auth() bool { return w.verb == "AUTH" }

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
		s.line[dir], s.gone[dir], s.skipping[dir], s.late[dir] = "", 0, r != '\n', false
		s.act(dir, text, true)
	case r == '\n':
		text := s.line[dir]
		s.line[dir] = ""
		s.out[dir] += s.act(dir, text, false)
		s.gone[dir], s.late[dir] = 0, false
	}
	if s.off {
		s.giveUp()
	}
}

// letGo is the end of waiting: what waits leaves.
func (s *slow) letGo(dir int) {
	if text := s.line[dir]; !s.off && text != "" && s.mayChange(dir, text) {
		s.late[dir], s.gone[dir] = true, length(text)
	}
}

func (s *slow) mayBegin(dir int, r rune) bool { return r < 20 || r > 23 || dir == 1 && s.body != "" }

// telnetCommands are what may stand before a command or reply.
var telnetCommands = regexp.MustCompile("^(?s:\u00ff[\u00f0-\u00f9]|\u00ff[\u00fb-\u00fe].|\u00ff[\u00fb-\u00fe]?$|" +
	"\u00ff\u00fa(?:[^\u00ff]|\u00ff[^\u00f0])*(?:\u00ff\u00f0|\u00ff?$))*")

// mayChange says whether what is there of a line may become one that is changed.
func (s *slow) mayChange(dir int, text string) bool {
	if s.ends[dir].inner == s.ends[dir].outer || s.late[dir] {
		return false
	}
	text = strings.ToUpper(telnetCommands.ReplaceAllString(text, ""))
	if text == "" {
		return false
	}
	if dir == 1 {
		for _, code := range []string{"227", "229", "228"} {
			if (strings.HasPrefix(code+" ", text) || strings.HasPrefix(text, code+" ")) && slices.ContainsFunc(s.waiting, waits.passive) &&
				(s.body == "" || s.body == code) && (code != "228" || s.lprt) {
				return true
			}
		}
		return false
	}
	for _, verb := range []string{"PORT ", "EPRT ", "LPRT "} {
		if (strings.HasPrefix(verb, text) || strings.HasPrefix(text, verb)) && (verb != "LPRT " || s.lprt) {
			return s.may()
		}
	}
	return false
}

func (s *slow) may() bool { return s.in && !s.onlyEPSV && !slices.ContainsFunc(s.waiting, waits.auth) }

// act returns what stands in place of a line.
func (s *slow) act(dir int, text string, cut bool) string {
	end := ""
	if !cut {
		bare := strings.TrimRight(strings.TrimSuffix(text, "\n"), "\r ")
		end, text = text[len(bare):], bare
	}
	if dir == 0 {
		return s.command(text, cut) + end
	}
	return s.reply(text, cut) + end
}

var (
	commandLine = regexp.MustCompile(`^(?s:([A-Za-z]{1,4})(?:( +)(.*))?)$`)
	beginners   = strings.Fields("USER AUTH HOST FEAT SYST OPTS LANG CLNT CSID NOOP HELP STAT PBSZ PROT ADAT QUIT OPEN SITE")
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
	case before == text:
		return text
	case !s.greeted:
		s.off = true
		return text
	case !s.began && (cut || !slices.Contains(beginners, verb)):
		s.off = true
		return text
	}
	s.began = true
	if cut {
		verb = ""
	}
	if verb == "EPSV" && strings.ToUpper(arg) == "ALL" {
		verb = "EPSV ALL"
	}
	if (verb == "LPSV" || verb == "LPRT") && !s.lprt {
		verb = ""
	}
	may := s.may()
	s.waiting = append(s.waiting, waits{verb, s.count})
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
	listSix   = regexp.MustCompile(`^[0-9]+(, *[0-9]+){5}`)
	listLong  = regexp.MustCompile(`^[0-9]+(, *[0-9]+){20}|^[0-9]+(, *[0-9]+){8}`)
)

func (s *slow) reply(text string, cut bool) string {
	before := telnetCommands.FindString(text)
	return before + s.answered(text[len(before):], length(before), cut)
}

// answered is reply without the Telnet commands before it.
func (s *slow) answered(text string, begin int, cut bool) string {
	m := replyLine.FindStringSubmatch(text)
	if s.body != "" {
		if m == nil || m[1] != s.body || m[2] == "-" {
			return text
		}
		s.body = ""
	} else if m == nil {
		return text
	} else if m[2] == "-" {
		s.body = m[1]
		return text
	}
	code := m[1]
	if !s.greeted {
		s.greeted = code[0] == '2'
		return text
	}
	s.good = s.good || strings.Contains("123", code[:1])
	switch {
	case code[0] == '1':
	case code == "234":
		s.off = true
	case code == "227", code == "229", code == "228" && s.lprt:
		i := slices.IndexFunc(s.waiting, waits.passive)
		if i < 0 {
			return text
		}
		s.waiting = s.waiting[i+1:]
		if !cut && s.in && (!s.onlyEPSV || code == "229") {
			return s.passive(code, text, begin)
		}
	default:
		s.answer(code)
	}
	return text
}

// answer gives a reply to the oldest command that it can be for.
func (s *slow) answer(code string) {
	if i := slices.IndexFunc(s.waiting, waits.login); code == "230" && i > 0 {
		s.waiting = s.waiting[i:]
	}
	no := strings.Contains("45", code[:1])
	i := slices.IndexFunc(s.waiting, func(w waits) bool { return no || !w.passive() })
	if i < 0 {
		return
	}
	w := s.waiting[i]
	s.waiting = append(slices.Clone(s.waiting[:i]), s.waiting[i+1:]...)
	switch yes := code[0] == '2'; {
	case w.verb == "EPSV ALL" && yes:
		s.onlyEPSV = true
	case w.verb == "REIN" && yes:
		s.in, s.awaited = false, ""
	case w.verb == "QUIT" && yes:
		s.awaited = ""
	case w.login() && yes:
		s.in = true
	case no && s.by == w.number && !s.good:
		s.awaited = ""
	}
}

// passive returns a reply with its endpoint replaced. So many characters stand before it in its line.
func (s *slow) passive(code, text string, begin int) string {
	for i := 4; i < len(text); i++ {
		run, delim := "", ""
		var addr netip.Addr
		var port uint64
		switch {
		case code == "229":
			m := portAlone.FindStringSubmatch(text[i-1:])
			if i == 4 || m == nil || m[1] != m[2] || m[1] != m[3] || m[1] != m[5] {
				continue
			}
			addr, run, delim = s.ends[1].outer, m[0][1:len(m[0])-1], m[1]
			port, _ = number(m[4], 5, 65535)
		case i > 4 && strings.Contains("0123456789,", text[i-1:i]):
			continue
		case code == "227":
			run = listSix.FindString(text[i:])
			addr, port = sixNumbers(strings.ReplaceAll(run, " ", ""))
		default:
			run = listLong.FindString(text[i:])
			addr, port = longNumbers(strings.ReplaceAll(run, " ", ""))
		}
		rest := text[i+len(run):]
		if port == 0 || code != "229" && rest != "" && strings.Contains("0123456789,", rest[:1]) {
			continue
		}
		s.awaited = ""
		return text[:i] + s.endpoint(1, addr, uint16(port), run, delim, begin+length(text[:i])) + rest
	}
	return text
}

// endpoint returns what stands for an endpoint that an end has named, in old, at a place of its line.
func (s *slow) endpoint(dir int, addr netip.Addr, port uint16, old, delim string, at int) string {
	own := s.ends[dir]
	if dir == 1 && addr.IsUnspecified() {
		addr = own.inner
	}
	third := addr != own.inner && addr != own.outer
	if port < 1024 || addr.Is4() != own.inner.Is4() || third && addr != thirdAddr {
		return old
	}
	outside, number := own.outer, port
	switch {
	case third:
		outside = addr
	case own.inner != own.outer:
		if at < s.gone[dir] || s.late[dir] {
			return old
		}
		number = s.reserve(port)
	}
	s.awaited = fmt.Sprintf("%s>%s, %d", s.ends[1-dir].inner, netip.AddrPortFrom(outside, number), port)
	s.good = false
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
	if len(parts) == 0 && outside.Is6() {
		outside = netip.IPv4Unspecified()
	}
	for _, b := range outside.AsSlice() {
		parts = append(parts, fmt.Sprint(b))
	}
	if strings.Count(old, ",") > 5 {
		parts = append(parts, "2")
	}
	return strings.Join(append(parts, fmt.Sprint(number>>8), fmt.Sprint(number&255)), ",")
}
