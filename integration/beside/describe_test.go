package beside

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// describe writes a packet as text, with names for addresses and for what a router chose, and everything else that a
// router must get right. kept are the numbers of the step that made it.
func (v *view) describe(a arrival, kept map[int]bool) string {
	return a.side.String() + " " + v.packet(a.data, a.side, kept, false)
}

// packet is describe for a packet or, with quoted, for what an ICMP error quotes of one.
func (v *view) packet(b []byte, at side, kept map[int]bool, quoted bool) string {
	whole, cut := b, false
	if quoted {
		whole, cut = extended(b)
	}
	l, err := testpkt.Parse(whole)
	if err != nil && !errors.Is(err, testpkt.ErrIPChecksum) {
		return fmt.Sprintf("unreadable (%v) %x", err, b)
	}
	if err != nil {
		return "wrong IP checksum " + hex.EncodeToString(b[:min(len(b), 40)])
	}
	d := &description{view: v, l: l, b: whole[:l.Len], have: min(len(b), l.Len), at: at, kept: kept}
	d.ip()
	d.transport()
	switch {
	case cut:
		d.add("cut=%d", len(b)-l.L4)
	case len(b) != l.Len:
		d.add("behind=%d", len(b)-l.Len)
	}
	if !cut && testpkt.VerifyTransport(whole[:l.Len], l) != nil {
		d.add("WRONG-CHECKSUM")
	}
	return strings.Join(d.words, " ")
}

// extended returns a quote made as long as its header says, and whether it was cut.
func extended(b []byte) ([]byte, bool) {
	n := 0
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		n = int(binary.BigEndian.Uint16(b[2:]))
	case len(b) >= 40 && b[0]>>4 == 6:
		n = 40 + int(binary.BigEndian.Uint16(b[4:]))
	}
	if n <= len(b) {
		return b, false
	}
	whole := append(append([]byte(nil), b...), make([]byte, n-len(b))...)
	if proto := whole[9]; whole[0]>>4 == 4 && proto == 6 && len(b) < int(whole[0]&15)*4+13 {
		whole[int(whole[0]&15)*4+12] = 5 << 4 // the length of a TCP header that was not quoted
	}
	return whole, true
}

// description is the words about a packet.
type description struct {
	*view
	l     testpkt.Layout
	b     []byte // as long as its header says
	have  int    // of it, what there is
	at    side
	kept  map[int]bool
	words []string
}

func (d *description) add(format string, args ...any) {
	d.words = append(d.words, fmt.Sprintf(format, args...))
}

// ip describes the IP header, with the ports where there are some.
func (d *description) ip() {
	src, _ := netip.AddrFromSlice(d.l.Src)
	dst, _ := netip.AddrFromSlice(d.l.Dst)
	ports := map[int]bool{6: true, 17: true, 132: true, 136: true}[d.l.Proto] && d.l.FragOff == 0 && d.have >= d.l.L4+4
	end := func(a netip.Addr, at int) string {
		name := d.name(a)
		if !ports {
			return name
		}
		return name + ":" + d.portName(name, int(binary.BigEndian.Uint16(d.b[d.l.L4+at:])))
	}
	d.add("%s > %s", end(src, 0), end(dst, 2))
	d.add("ttl=%d", d.l.TTL)
	tos := int(d.b[1])
	if d.l.Family == 6 {
		tos = int(d.b[0]&15)<<4 | int(d.b[1])>>4
	}
	if tos != 0 {
		d.add("tos=%#x", tos)
	}
	if d.l.Family == 4 && d.l.DF {
		d.add("df")
	}
	if d.l.Family == 4 && d.l.Options {
		d.add("opt=%x", d.b[20:d.l.L4])
	}
	if d.l.Fragment() || d.l.FragHdr != 0 {
		more := ""
		if d.l.More {
			more = "+"
		}
		d.add("frag=%d%s", d.l.FragOff, more)
	}
}

// portName is a port as scripts write it, or the name of one that a router chose. Of hosts a router seldom chooses
// one: to tell apart two flows whose other ends are the same.
func (d *description) portName(host string, port int) string {
	if host != "pub" && host != "wan" {
		if d.written[port] {
			return strconv.Itoa(port)
		}
		return d.ports.name(d.l.Proto, port, false)
	}
	return d.ports.name(d.l.Proto, port, d.kept[port])
}

// transport describes all behind the IP header.
func (d *description) transport() {
	t := d.b[d.l.L4:]
	if d.l.FragOff > 0 {
		d.add("proto=%d len=%d", d.l.Proto, len(t))
		return
	}
	be := binary.BigEndian
	switch d.l.Proto {
	case 6:
		d.tcp(t)
	case 17:
		d.add("udp")
		if be.Uint16(t[6:]) == 0 && d.have >= d.l.L4+8 {
			d.add("sum=none")
		}
	case 1, 58:
		d.icmp(t)
		return
	case 47:
		d.gre(t)
		return
	case 132:
		d.add("sctp tag=%#x", be.Uint32(t[4:]))
	default:
		d.add("proto=%d", d.l.Proto)
	}
	d.payload()
}

func (d *description) tcp(t []byte) {
	be := binary.BigEndian
	d.add("tcp seq=%d", be.Uint32(t[4:]))
	if d.have < d.l.L4+20 {
		return
	}
	flags := ""
	for i, f := range flagBits {
		if t[13]>>i&1 == 1 {
			flags += string(f)
		}
	}
	d.add("flags=%s", flags)
	d.add("ack=%d win=%d", be.Uint32(t[8:]), be.Uint16(t[14:]))
	if u := be.Uint16(t[18:]); u != 0 {
		d.add("urg=%d", u)
	}
	if o := t[20:max(20, d.l.Payload-d.l.L4)]; len(o) > 0 {
		d.add("options=%x", o)
	}
}

func (d *description) icmp(t []byte) {
	be := binary.BigEndian
	typ, code := int(t[0]), int(t[1])
	query := map[int]string{8: "echo", 0: "pong"}[typ]
	isError := typ == 3 || typ == 4 || typ == 5 || typ == 11 || typ == 12
	if d.l.Proto == 58 {
		query = map[int]string{128: "echo", 129: "pong"}[typ]
		isError = typ < 128
	}
	switch {
	case query != "":
		src, _ := netip.AddrFromSlice(d.l.Src)
		dst, _ := netip.AddrFromSlice(d.l.Dst)
		host := d.name(src)
		if query == "pong" {
			host = d.name(dst) // the identifier is the asker's
		}
		d.add("%s id=%s n=%d", query, d.portName(host, int(be.Uint16(t[4:]))), be.Uint16(t[6:]))
		d.payload()
	case isError:
		d.add("icmp type=%d/%d", typ, code)
		if rest := be.Uint32(t[4:]); rest != 0 {
			d.add("rest=%d", rest)
		}
		d.add("[ %s ]", d.packet(t[8:], d.at, d.kept, true))
	default:
		d.add("icmp type=%d/%d %x", typ, code, t[4:])
	}
}

func (d *description) gre(t []byte) {
	be := binary.BigEndian
	if t[1]&7 != 1 {
		d.add("gre0 %x", t[:min(len(t), 16, d.have-d.l.L4)])
		d.payload()
		return
	}
	d.add("gre call=%d", be.Uint16(t[6:]))
	at := 8
	for _, f := range []struct {
		name string
		has  bool
	}{{"seq", t[0]&0x10 != 0}, {"ack", t[1]&0x80 != 0}} {
		if f.has && len(t) >= at+4 && d.have >= d.l.L4+at+4 {
			d.add("%s=%d", f.name, be.Uint32(t[at:]))
			at += 4
		}
	}
	d.payload()
}

// payload describes what there is of the data.
func (d *description) payload() {
	if d.l.Payload >= d.have {
		return
	}
	b := d.b[d.l.Payload:d.have]
	if d.l.Proto == 6 && d.control(b) {
		return
	}
	patterned := true
	for i, c := range b {
		patterned = patterned && c == pattern(i)
	}
	switch text := string(b); {
	case patterned:
		d.add("len=%d", len(b))
	case strings.IndexFunc(text, func(r rune) bool { return r > unicode.MaxASCII || r == 0 }) < 0:
		d.add("%q", d.named(text, d.kept))
	default:
		d.add("data=%x", b)
	}
}

// control describes payload that is whole control messages of PPTP.
func (d *description) control(b []byte) bool {
	var texts []string
	for len(b) > 0 {
		m := readMessage(b)
		if m == nil {
			return false
		}
		text := m.name
		if m.own != 0 {
			id := int(binary.BigEndian.Uint16(b[m.own:]))
			if d.at == outside { // the far end sees what the router chose
				text += "," + d.calls.name(47, id, false)
			} else {
				text += fmt.Sprintf(",%d", id)
			}
		}
		if m.peer != 0 {
			text += fmt.Sprintf(",%d", binary.BigEndian.Uint16(b[m.peer:]))
		}
		texts = append(texts, text)
		b = b[m.size:]
	}
	d.add("pptp=%s", strings.Join(texts, "/"))
	return true
}
