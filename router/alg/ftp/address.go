package ftp

import (
	"bytes"
	"net/netip"
	"strconv"
)

// form is a way to write an endpoint.
type form uint8

const (
	short    form = iota // h1,h2,h3,h4,p1,p2: PORT and 227 (RFC 959, section 4.1.2)
	long                 // af,hal,h1..hn,pal,p1..pn: LPRT and 228 (RFC 1639, sections 2 and 3)
	extended             // |af|address|port|: EPRT (RFC 2428, section 2)
	portOnly             // |||port|: 229, whose address is the sender's (RFC 2428, section 3)
)

// Address families of EPRT (RFC 2428, section 2) and of LPRT (RFC 1639, section 2).
const (
	eprtIPv4, eprtIPv6 = 1, 2
	lprtIPv4, lprtIPv6 = 4, 6
)

// endpoint is an endpoint as it stands in a line: text[at:end].
type endpoint struct {
	form    form
	delim   byte // of extended and portOnly
	at, end int
	addr    netip.Addr // not valid in portOnly
	port    uint16     // never 0
}

// argument reads the argument of a command, which is the endpoint and nothing else.
func (f form) argument(b []byte, at int) (endpoint, bool) {
	e, ok := f.read(b, at, false)
	return e, ok && e.end == len(b)
}

// find reads the endpoint in the text of a reply: the first there is. RFC 1123, section 4.1.2.6: the text of a 227 reply
// varies, parentheses may be missing, and servers put spaces behind its commas; what 229 has around its port is prescribed
// (RFC 2428, section 3).
func (f form) find(text []byte) (endpoint, bool) {
	for i := range text {
		switch {
		case f == portOnly:
			if text[i] != '(' {
				continue
			}
			if e, ok := f.read(text, i+1, true); ok && e.end < len(text) && text[e.end] == ')' {
				return e, true
			}
		case isDigit(text[i]) && (i == 0 || !inNumbers(text[i-1])):
			if e, ok := f.read(text, i, true); ok && (e.end == len(text) || !inNumbers(text[e.end])) {
				return e, true
			}
		}
	}
	return endpoint{}, false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// inNumbers reports whether a byte beside numbers makes them a part of something else.
func inNumbers(c byte) bool { return isDigit(c) || c == ',' }

// read reads an endpoint that begins at text[at]. spaced lets spaces stand behind its commas.
func (f form) read(text []byte, at int, spaced bool) (endpoint, bool) {
	e := endpoint{form: f, at: at}
	switch f {
	case short:
		var n [6]byte
		var ok bool
		if e.end, ok = numbers(text, at, n[:], spaced); !ok {
			return e, false
		}
		e.addr, e.port = netip.AddrFrom4([4]byte(n[:4])), uint16(n[4])<<8|uint16(n[5])
		return e, e.port != 0
	case long:
		return e, e.readLong(text, spaced)
	case extended:
		return e, e.readExtended(text)
	}
	return e, e.readPort(text)
}

// numbers reads len(n) decimal numbers of one to three digits and at most 255, with commas between, and spaces behind
// those if spaced.
func numbers(text []byte, at int, n []byte, spaced bool) (end int, ok bool) {
	for i := range n {
		if i > 0 {
			if at == len(text) || text[at] != ',' {
				return at, false
			}
			for at++; spaced && at < len(text) && text[at] == ' '; at++ {
			}
		}
		v, next := decimal(text, at, 3)
		if next == at || v > 255 {
			return at, false
		}
		n[i], at = byte(v), next
	}
	return at, true
}

// decimal reads digits at text[at:], at most a number of them: no sign and no space. next is at where there is none,
// or one digit more.
func decimal(text []byte, at, most int) (v, next int) {
	for next = at; next < len(text) && isDigit(text[next]); next++ {
		if next-at == most {
			return 0, at
		}
		v = v*10 + int(text[next]-'0')
	}
	return v, next
}

func (e *endpoint) readLong(text []byte, spaced bool) bool {
	var n [2 + 16 + 1 + 2]byte // the longest: IPv6
	if _, ok := numbers(text, e.at, n[:2], spaced); !ok {
		return false
	}
	hal := 4
	if n[0] == lprtIPv6 {
		hal = 16
	}
	var ok bool
	all := n[:2+hal+3]
	if e.end, ok = numbers(text, e.at, all, spaced); !ok || n[0] != lprtIPv4 && n[0] != lprtIPv6 || int(n[1]) != hal || all[2+hal] != 2 {
		return false
	}
	e.addr, ok = netip.AddrFromSlice(all[2 : 2+hal])
	e.port = uint16(all[2+hal+1])<<8 | uint16(all[2+hal+2])
	return ok && !e.addr.Is4In6() && e.port != 0
}

// maxAddress is the length of the longest text of an IPv6 address.
const maxAddress = 45

func (e *endpoint) readExtended(text []byte) bool {
	if !e.readDelim(text) {
		return false
	}
	af, next := decimal(text, e.at+1, 1)
	if next == e.at+1 || next == len(text) || text[next] != e.delim {
		return false
	}
	n := bytes.IndexByte(text[next+1:], e.delim)
	if n < 0 || n > maxAddress {
		return false
	}
	var err error
	e.addr, err = netip.ParseAddr(string(text[next+1 : next+1+n]))
	if err != nil || e.addr.Zone() != "" || e.addr.Is4In6() || e.addr.Is4() != (af == eprtIPv4) || e.addr.Is6() != (af == eprtIPv6) {
		return false
	}
	return e.readNumber(text, next+1+n+1)
}

func (e *endpoint) readPort(text []byte) bool {
	return e.readDelim(text) && e.at+3 <= len(text) && text[e.at+1] == e.delim && text[e.at+2] == e.delim &&
		e.readNumber(text, e.at+3)
}

// readDelim reads the delimiter: ASCII 33 to 126 (RFC 2428, section 2). A digit of hexadecimal could not be told from
// the address; one of decimal fails at the port, which is read to its last digit.
func (e *endpoint) readDelim(text []byte) bool {
	if e.at == len(text) {
		return false
	}
	e.delim = text[e.at]
	return e.delim >= 33 && e.delim <= 126 && (e.delim|0x20 < 'a' || e.delim|0x20 > 'f')
}

// readNumber reads the port and the delimiter behind it.
func (e *endpoint) readNumber(text []byte, at int) bool {
	v, next := decimal(text, at, 5)
	if next == at || v == 0 || v > 65535 || next == len(text) || text[next] != e.delim {
		return false
	}
	e.port, e.end = uint16(v), next+1
	return true
}

// text returns the endpoint in the same form with another address and port. For an IPv6 address, which the short form has
// no room for, 0,0,0,0 stands: some servers reply so to PASV over IPv6.
func (e *endpoint) text(addr netip.Addr, port uint16) []byte {
	var b []byte
	switch e.form {
	case short:
		if !addr.Is4() {
			addr = netip.IPv4Unspecified()
		}
		b = appendNumbers(b, addr.AsSlice()...)
		return appendNumbers(append(b, ','), byte(port>>8), byte(port))
	case long:
		a := addr.AsSlice()
		af := byte(lprtIPv4)
		if len(a) == 16 {
			af = lprtIPv6
		}
		b = appendNumbers(b, af, byte(len(a)))
		b = appendNumbers(append(b, ','), a...)
		return appendNumbers(append(b, ','), 2, byte(port>>8), byte(port))
	case extended:
		af := eprtIPv4
		if addr.Is6() {
			af = eprtIPv6
		}
		b = append(strconv.AppendInt(append(b, e.delim), int64(af), 10), e.delim)
		b = addr.AppendTo(b)
	default:
		b = append(b, e.delim, e.delim)
	}
	b = strconv.AppendInt(append(b, e.delim), int64(port), 10)
	return append(b, e.delim)
}

func appendNumbers(b []byte, n ...byte) []byte {
	for i, v := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(v), 10)
	}
	return b
}
