package irc

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// slowBegin is a first line of IRC.
var slowBegin = regexp.MustCompile(`\A(?i:` + string(bytes.Join(commands, []byte("|"))) + `)(?: |[\r\n]*\z)`)

// slowStream is what arrives of a client's stream, and the ports that are opened, by looking at the whole of it: lines are
// cut out and each is compared with a pattern. in and out are the client's address as it knows it and as others do. It
// stands for a router on which all ports are free.
func slowStream(text string, in, out netip.Addr) (arrives string, ports map[uint16]bool) {
	ports = map[uint16]bool{}
	begun := false
	var b strings.Builder
	for _, line := range strings.SplitAfter(text, "\n") {
		tooLong := len(line) > 512
		if strings.Contains(line, "\x00") || !begun && tooLong {
			break
		}
		if !begun && strings.HasSuffix(line, "\n") && strings.Trim(line, "\r\n") != "" {
			if !slowBegin.MatchString(line) {
				break
			}
			begun = true
		}
		changed := line
		if m := slowOffer.FindStringSubmatchIndex(line); m != nil && !tooLong && foldsOnlyASCII(line) {
			if number, ok := slowOwn(line[m[2]:m[3]], in, out); ok {
				port, err := strconv.ParseUint(line[m[4]:m[5]], 10, 16)
				canonical := fmt.Sprint(port) == line[m[4]:m[5]]
				fits := len(line)-(m[5]-m[2])+len(number)+6 <= 512
				if err == nil && canonical && port >= 1024 && fits {
					changed = line[:m[2]] + number + line[m[3]:]
					ports[uint16(port)] = true
				}
			}
		}
		b.WriteString(changed)
		text = text[len(line):]
	}
	return b.String() + text, ports
}

// slowOwn returns how the outside address is written if s is one of the client's.
func slowOwn(s string, in, out netip.Addr) (string, bool) {
	for _, a := range []netip.Addr{in, out} {
		if in.Is4() && s == num(a.String()) {
			return num(out.String()), true
		}
		if b, err := netip.ParseAddr(s); in.Is6() && err == nil && b == a {
			return out.String(), true
		}
	}
	return "", false
}

// play sends a client's stream through a router, cut as cuts say, and compares it with slowStream.
func play(t algtest.T, v6 bool, text string, cuts []byte) {
	t.Helper()
	from, to, in, out := client+":1025", server+":6667", netip.MustParseAddr(client), netip.MustParseAddr(outside)
	if v6 {
		from, to, in, out = "["+client6+"]:1025", "["+server6+"]:6667", netip.MustParseAddr(client6), netip.MustParseAddr(outside6)
	}
	w := newWorld(t, map[string]any{"max_dcc": 255}, algtest.Masquerade())
	c := w.Dial(from, to)
	c.Write(conntrack.Original, text)
	i := 0
	cut := func(int) int {
		if i == len(cuts) {
			return 1400
		}
		i++
		return 1 + int(cuts[i-1])
	}
	for c.Sent(conntrack.Original) < len(text) { // once in the segments that the cuts say, then the end, and again what must
		n := min(c.Sent(conntrack.Original)+cut(0), len(text))
		c.Segment(conntrack.Original, c.Sent(conntrack.Original), n, packet.Meta{}, nil)
		c.Ack(conntrack.Reply, nil)
	}
	c.Close(conntrack.Original)
	i = 0
	c.Settle(conntrack.Original, cut)
	arrives, ports := slowStream(text, in, out)
	if got := string(c.Heard(conntrack.Original)); got != arrives {
		t.Errorf("%q, cut by %v:\n got %q\nwant %q", text, cuts, got, arrives)
	}
	got := map[uint16]bool{}
	for _, e := range w.Table.Expectations(w.Now, 0) {
		got[e.Tuple.DstID] = e.NAT.Dst.Key == e.Tuple.DstID && e.NAT.Dst.Addr == in.As16() && e.Tuple.Dst == out.As16()
	}
	if fmt.Sprint(got) != fmt.Sprint(ports) {
		t.Errorf("%q, cut by %v: opened %v, want %v", text, cuts, got, ports)
	}
}

// streams are what clients may say; C and O stand for the client's address and its outside one.
func streams(v6 bool) []string {
	names := strings.NewReplacer("C", num(client), "O", num(outside))
	if v6 {
		names = strings.NewReplacer("C", client6, "O", outside6)
	}
	list := []string{
		hello + "PING x\r\n",
		"\r\n\n" + hello + names.Replace("PRIVMSG bob :\x01DCC SEND \"a b\" C 5000 1\x01\r\nPRIVMSG bob :\x01DCC chat chat O 5001\x01\n"),
		"GET / HTTP/1.1\r\n" + names.Replace("PRIVMSG bob :\x01DCC SEND f C 5000\x01\r\n"),
		hello + names.Replace("PRIVMSG bob :\x01DCC SEND f C 5000\x01\r\nx\x00\r\nPRIVMSG bob :\x01DCC SEND f C 5001\x01\r\n"),
		hello + strings.Repeat("y", 511) + names.Replace("\nPRIVMSG bob :\x01DCC SEND f C 5000\x01\r\n"),
		hello + names.Replace("PRIVMSG bob :\x01DCC SEND f C 5000"),
		hello + strings.Repeat(names.Replace("PRIVMSG bob :\x01DCC SEND f C 5000 1 2\x01\r\n"), 5),
	}
	for _, tt := range offers {
		list = append(list, hello+strings.ReplaceAll(tt.line, "167772162", names.Replace("C")))
	}
	return list
}

func FuzzStream(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		for _, s := range streams(v6) {
			f.Add(v6, s, []byte{})
			f.Add(v6, s, []byte{0, 3, 1, 20, 7, 0, 0, 30})
		}
	}
	f.Fuzz(func(t *testing.T, v6 bool, text string, cuts []byte) {
		if len(text) > 4000 || len(cuts) > 200 || !foldsOnlyASCII(text) {
			return
		}
		play(t, v6, text, cuts)
	})
}
