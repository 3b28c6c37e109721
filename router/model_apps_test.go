package router

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// Hosts that speak FTP, IRC and TFTP. They read what arrives, and act on it: what the helper has written there is where
// they connect to.

// modelLine takes a line off what was heard.
func modelLine(s *modelSpeaker) (line string, n int) {
	n = bytes.IndexByte(s.ear, '\n') + 1
	return strings.TrimRight(string(s.ear[:n]), "\r\n"), n
}

// newPort is a port that nobody has.
func (h *modelHosts) newPort() uint16 {
	h.nextData++
	return 50000 + h.nextData%10000
}

// short is an endpoint as PORT and 227 have it.
func short(a netip.Addr, p uint16) string {
	return fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(a.String(), ".", ","), p>>8, p&255)
}

func extended(a netip.Addr, p uint16) string {
	return fmt.Sprintf("|%d|%s|%d|", map[bool]int{true: 1, false: 2}[a.Is4()], a, p)
}

// numbersIn are the numbers in a text.
func numbersIn(text string) (all []int) {
	for _, w := range strings.FieldsFunc(text, func(c rune) bool { return c < '0' || c > '9' }) {
		var n int
		if _, err := fmt.Sscan(w, &n); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// shortIn reads h1,h2,h3,h4,p1,p2.
func shortIn(text string) (e netip.AddrPort, ok bool) {
	n := numbersIn(text)
	if len(n) < 6 {
		return e, false
	}
	n = n[len(n)-6:]
	return port(netip.AddrFrom4([4]byte{byte(n[0]), byte(n[1]), byte(n[2]), byte(n[3])}), uint16(n[4]<<8|n[5])), true
}

// modelFTPClient logs in, and then has files sent both ways.
type modelFTPClient struct {
	said    int
	greeted bool
	passive bool // waits for where to connect
}

func (c *modelFTPClient) hear(h *modelHosts, s *modelSpeaker) int {
	line, n := modelLine(s)
	c.greeted = c.greeted || n > 0
	if e, ok := shortIn(strings.TrimPrefix(line, "227")); ok && c.passive && strings.HasPrefix(line, "227 ") {
		c.passive = false
		h.reach(port(s.local.Addr(), h.newPort()), e)
	}
	if all := numbersIn(line); c.passive && len(all) == 2 && all[0] == 229 {
		c.passive = false
		h.reach(port(s.local.Addr(), h.newPort()), port(s.remote.Addr(), uint16(all[1])))
	}
	return n
}

func (c *modelFTPClient) speak(h *modelHosts, s *modelSpeaker) {
	if !c.greeted && h.pick(60) > 0 {
		return
	}
	if c.said++; c.said <= 2 && h.pick(20) > 0 {
		if c.said == 1 && h.pick(8) == 0 {
			s.say([]string{"OPEN there\r\n", "SITE there\r\n", "\r\n", "\xff\xfc\x01"}[h.pick(4)])
		}
		s.say([]string{"USER anonymous\r\n", "PASS me\r\n"}[c.said-1])
		return
	}
	for range 1 + h.pick(3) {
		s.say(c.command(h, s))
	}
}

func (c *modelFTPClient) command(h *modelHosts, s *modelSpeaker) string {
	a, p := s.local.Addr(), h.newPort()
	if h.pick(2) == 0 {
		p = 5000 + uint16(h.pick(3)) // what others may have too
	}
	verb := []string{"PORT ", "EPRT ", "PASV", "EPSV"}[h.pick(4)]
	switch h.pick(14) {
	case 0: // almost one
		return []string{
			"PORT 10,77,0\r\n", "PORT 10,77,0,2,19,136,5\r\n", "PORT 10,77,0,2,999,1\r\n", "PORT 10,77,0,2,0,22\r\n", "EPRT |1|10.77.0.2|0|\r\n",
			"EPRT |2|10.77.0.2|5000|\r\n", " PORT 10,77,0,2,19,136\r\n", "PORT 198,51,100,9,19,136\r\n", "SITE PORT 10,77,0,2,19,136\r\n",
			"PORTS\r\n", "EPRT |1|10.77.0.2|5000\r\n", "\r\n", "\xff\xf4\xff\xf2ABOR\r\n", "PORT " + strings.Repeat("1", 520) + "\r\n",
			"\x00NOOP\r\n", "NO\x00OP\r\n", "PORT 0,0,0,0,19,136\r\n", "\xff\xfa\x18\xff\xf0\r\n", "\xe9\r\n",
		}[h.pick(19)]
	case 1:
		return []string{"NOOP\r\n", "STAT\r\n", "QUIT\r\n", "REIN\r\n", "EPSV ALL\r\n", "AUTH TLS\r\n", "USER x\r\n", "PASS y\r\n"}[h.pick(8)]
	case 2:
		return "NOOP\r\n"
	}
	switch {
	case verb == "PORT " && a.Is4():
		return []string{"PORT ", "port ", "PoRt  "}[h.pick(3)] + short(a, p) + []string{"\r\n", "\r\n", "\n", "\r\r\n", " \r\n"}[h.pick(5)]
	case verb == "EPRT " || verb == "PORT ":
		return "EPRT " + strings.ReplaceAll(extended(a, p), "|", []string{"|", "!", "~"}[h.pick(3)]) + "\r\n"
	case verb == "PASV" && a.Is4():
		c.passive = true
		return "PASV\r\n"
	}
	c.passive = true
	return "EPSV\r\n"
}

// modelFTPServer answers, and connects where it is told to, if it can read that.
type modelFTPServer struct{ greeted bool }

func (c *modelFTPServer) hear(h *modelHosts, s *modelSpeaker) int {
	line, n := modelLine(s)
	if n == 0 {
		return 0
	}
	word, arg, _ := strings.Cut(strings.TrimPrefix(line, "\xff\xf4\xff\xf2"), " ")
	a, p := s.local.Addr(), h.newPort()
	if s.remote.Addr() != a && h.pick(8) == 0 && a.Is4() {
		a = h.public.of(a) // as it may be told to: of itself it may be none
	}
	switch word = strings.ToUpper(word); {
	case h.pick(20) == 0: // no reply, or one too many
		s.say([]string{
			"", "200 late\r\n", "250 late\r\n", "350 go on\r\n", "500 no\r\n", "502 no\r\n", "227 nowhere\r\n", "227 Entering (10,77,0,2,19,140)\r\n",
			"no reply\r\n", "\xe9t\xe9\r\n", "\xff\xf1", "632 protected\r\n", "150 x\r\n",
		}[h.pick(13)])
	case word == "USER":
		s.say([]string{"331 password\r\n", "331 password\r\n", "331 password\r\n", "200 in\r\n"}[h.pick(4)])
	case word == "PASS":
		s.say([]string{"230 in\r\n", "230-hello\r\n227 (10,77,0,2,19,140)\r\n230 in\r\n", "250 in\r\n", "530 no\r\n"}[h.pick(4)])
	case word == "PASV" || word == "EPSV" && arg == "" && h.pick(20) == 0:
		if h.pick(10) == 0 {
			s.say([]string{"250 of another command\r\n", "\xff\xf1", "\xe9\r\n"}[h.pick(3)])
		}
		text := []string{"227 Entering Passive Mode (%s)\r\n", "227 %s\r\n", "227 at 1,2 =%s.\r\n", "227 Entering (%s) \r\r\n"}[h.pick(4)]
		numbers := short4(a, p)
		switch h.pick(10) {
		case 0:
			numbers = strings.ReplaceAll(numbers, ",", ", ")
		case 1:
			numbers = short(netip.IPv4Unspecified(), p)
		}
		s.say(strings.Replace(text, "%s", numbers, 1))
	case word == "EPSV" && arg == "":
		s.say(fmt.Sprintf("229 Extended (%s%d|)\r\n", "|||", p))
	case word == "PORT" || word == "EPRT":
		c.active(h, s, arg)
	case word == "QUIT":
		s.say("221 bye\r\n")
		s.fin = s.fin || h.pick(2) == 0
	case word == "AUTH":
		s.say([]string{"502 no\r\n", "502 no\r\n", "234 yes\r\n"}[h.pick(3)])
	default:
		s.say([]string{"200 ok\r\n", "200 ok\r\n", "211-text\r\n 227 (10,77,0,2,19,140)\r\n211 end\r\n", "150 wait\r\n226 done\r\n"}[h.pick(4)])
	}
	return n
}

// short4 is short where there is such a form.
func short4(a netip.Addr, p uint16) string {
	if a.Is6() {
		return "0,0,0,0,0,0"
	}
	return short(a, p)
}

func (c *modelFTPServer) active(h *modelHosts, s *modelSpeaker, arg string) {
	e, ok := shortIn(arg)
	if len(arg) > 0 && !ok {
		w := strings.Split(arg, arg[:1])
		a, err := netip.ParseAddr(slices.Concat(w, make([]string, 5))[2])
		if n := numbersIn(slices.Concat(w, make([]string, 5))[3]); err == nil && len(n) == 1 {
			e, ok = port(a, uint16(n[0])), true
		}
	}
	if !ok || h.pick(10) == 0 || e.Port() == 0 {
		s.say("501 no\r\n")
		return
	}
	s.say("200 ok\r\n")
	h.reach(port(s.local.Addr(), []uint16{20, h.newPort()}[h.pick(2)]), e)
}

// reach begins a connection to what was told. A host sends to the router only what is not at its own side.
func (h *modelHosts) reach(from, to netip.AddrPort) {
	if to.Addr() == h.public.of(from.Addr()) || slices.Contains(modelOutside, to.Addr()) && slices.Contains(neighbours(modelInside, to.Addr()), from.Addr()) {
		h.connect(from, to, netip.AddrPort{})
	}
}

func (c *modelFTPServer) speak(h *modelHosts, s *modelSpeaker) {
	if !c.greeted {
		c.greeted = true
		s.say([]string{
			"220 ready\r\n", "220-welcome\r\n220-to this\r\n220 ready\r\n", "220 ready\r\n", "220\r\n", "200 ready\r\n", "welcome\r\n\r\n220 ready\r\n",
			"\xff\xfb\x01\xff\xfd\x03220 ready\r\n", "120 soon\r\n220 ready\r\n",
		}[h.pick(8)])
	}
}

// modelIRCClient offers files.
type modelIRCClient struct{ said int }

func (*modelIRCClient) hear(_ *modelHosts, s *modelSpeaker) int {
	_, n := modelLine(s)
	return n
}

func (c *modelIRCClient) speak(h *modelHosts, s *modelSpeaker) {
	if c.said++; c.said == 1 && h.pick(20) > 0 {
		s.say("NICK me\r\nUSER me 0 * :me\r\n")
		return
	}
	p := h.newPort()
	if h.pick(3) == 0 {
		p = 6000 + uint16(h.pick(2))
	}
	at := s.local.Addr().String()
	if s.local.Addr().Is4() {
		at = fmt.Sprint(binary.BigEndian.Uint32(s.local.Addr().AsSlice()))
	}
	form := []string{
		"PRIVMSG bob :\x01DCC SEND f %s %d 1024\x01\r\n", "PRIVMSG bob :\x01DCC SEND f %s %d 1024\x01\r\n", "privmsg #c :\x01dcc chat chat %s %d\x01\n",
		"PRIVMSG b :\x01DCC SEND \"a b\" %s %d 1 2\x01\r\n", "PRIVMSG b :\x01DCC SEND a b %s %d\x01\r\n", "PONG :PRIVMSG b :\x01DCC SEND f %s %d 1\x01\r\n",
		"PRIVMSG b :DCC SEND f %s %d 1\r\n", "NOTICE b :\x01DCC SEND f %s %d 1\x01\r\n", "PRIVMSG b :\x01DCC SEND f %s %d 1\x01 \r\n", "PRIVMSG b :hello %s %d\r\n",
		"PRIVMSG b :\x01DCC SEND " + strings.Repeat("f", 460) + " %s %d 1\x01\r\n", "PRIVMSG b :\x01DCC SSEND f %s %d 1024\x01\r\n",
		"PRIVMSG b :\x01DCC tsRecv f %s %d 0\x01\r\n", "PRIVMSG b :\x01DCC SSSEND f %s %d 1\x01\r\n",
	}[h.pick(14)]
	if h.pick(12) == 0 {
		at = "3221225985" // somebody else
	}
	s.say(fmt.Sprintf(form, at, p))
}

// modelIRCServer hands offers on: somebody connects.
type modelIRCServer struct{}

func (*modelIRCServer) hear(h *modelHosts, s *modelSpeaker) int {
	line, n := modelLine(s)
	line = strings.Replace(line, "DCC SSEND", "DCC SEND", 1)
	i := strings.Index(line, "\x01DCC SEND f ")
	if i < 0 || !strings.HasPrefix(line, "PRIVMSG") {
		return n
	}
	var at string
	var p uint16
	if _, err := fmt.Sscan(line[i+len("\x01DCC SEND f "):], &at, &p); err != nil {
		return n
	}
	a, err := netip.ParseAddr(at)
	if err != nil {
		all := numbersIn(at)
		a = netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(all[0]))))
	}
	from := h.oneOf(slices.Concat(neighbours(modelOutside, a), neighbours(modelInside, a)))
	h.reach(port(from, h.newPort()), port(a, p))
	return n
}

func (*modelIRCServer) speak(h *modelHosts, s *modelSpeaker) {
	s.say([]string{":s 001 me :hi\r\n", "PING :s\r\n", "PRIVMSG me :\x01DCC SEND f 172818434 6000 1\x01\r\n"}[h.pick(3)])
}

// transfer is a request of TFTP, or what a server or client sends in answer to the last one that arrived. Servers are outside,
// or inside behind a port forward.
func (h *modelHosts) transfer() {
	h.ipID++
	if n := len(h.requests); n > 0 && h.pick(3) > 0 {
		r := h.requests[max(0, n-1-h.pick(4))] // where it came from, and where to
		at := []uint16{69, 69, 3000, 3001}[h.pick(4)]
		text := []string{
			"\x00\x03\x00\x01data", "\x00\x03\x00\x01data", "\x00\x05\x00\x01none\x00", "\x00\x05\x00\x01none\x00", "\x00\x04\x00\x00", "\x00\x06tsize\x009\x00",
			"\x00\x03\x00\x02data", "\x00\x04\x00\x01", "\x00\x01file\x00octet\x00", "\x00",
		}[h.pick(10)]
		h.send(r[1].Addr(), testpkt.UDP{Src: port(r[1].Addr(), at), Dst: r[0], Payload: []byte(text), ID: h.ipID, DF: true}.Bytes())
		return
	}
	src, at := h.oneOf(modelInside), []uint16{2000, 2001, 700, 69}[h.pick(4)]
	dst := h.oneOf(neighbours(modelOutside, src))
	if h.pick(3) == 0 {
		src = h.oneOf(slices.Concat(modelOutside, modelInside))
		dst = h.public.of(src)
	}
	text := []string{
		"\x00\x01file\x00octet\x00", "\x00\x01file\x00octet\x00", "\x00\x02file\x00NetASCII\x00", "\x00\x01other\x00octet\x00blksize\x001400\x00tsize\x000\x00",
		"\x00\x01file\x00mail\x00", "\x00\x01file\x00octet", "\x00\x01\x00octet\x00", "\x00\x01file\x00octet\x00a\x001\x00A\x002\x00", "\x00\x03\x00\x01x",
		"\x00\x01file", "\x00\x01" + strings.Repeat("f", 600) + "\x00octet\x00", "\x00\x01file\x00image\x00\xff\xff", "\x00\x05\x00\x00gone\x00",
	}[h.pick(13)]
	h.send(src, testpkt.UDP{Src: port(src, at), Dst: port(dst, 69), Payload: []byte(text), ID: h.ipID, DF: true}.Bytes())
}
