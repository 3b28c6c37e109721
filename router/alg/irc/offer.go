package irc

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
)

const (
	maxLine   = 512 // bytes, with its end (RFC 2812, section 2.3)
	maxDigits = 20  // of a size, 64 bits
	maxIPv4   = 10  // digits of an IPv4 address as a number
	maxIPv6   = 45  // characters of an IPv6 address
	maxPort   = 5   // digits
)

// quote begins and ends a CTCP message within a PRIVMSG.
const quote = 0x01

// types are the DCC messages whose receiver connects to their sender. All have the same form. RECV is said by who waits
// to be sent a file. S stands for TLS, T for "turbo", without acknowledgements; those that have both put them in either
// order.
var types = []string{
	"SEND", "SSEND", "TSEND", "TSSEND", "STSEND", "RECV", "SRECV", "TRECV", "TSRECV", "STRECV", "CHAT", "SCHAT", "MOVE",
}

// span is a part of a line.
type span struct{ from, to int }

func (s span) of(line []byte) []byte { return line[s.from:s.to] }

// offer is where the endpoint stands in a line that offers one.
type offer struct{ addr, port span }

// outcome is what a line is, as far as it has come.
type outcome uint8

const (
	no   outcome = iota // no offer, whatever comes
	more                // it may become one
	yes                 // it is one, and ends with the last byte
)

// scan reads a line, or the beginning of one, as an offer:
//
//	PRIVMSG <target> :\x01DCC <type> <argument> <address> <port>[ <number>[ <number>]]\x01[CR]LF
//
// with single spaces. The argument is a word, or stands in quotation marks. The numbers are a size and a token. Of a
// line that is not whole, o.addr.from is where the address begins, 0 if it did not come so far. What scan answers is
// final: after more bytes an offer may turn out to be none, but never the reverse.
func scan(line []byte) (o offer, result outcome) {
	c := cursor{b: line}
	c.literal("PRIVMSG ")
	if c.peek() == ':' {
		return o, no
	}
	c.word()
	c.literal(" :\x01DCC ")
	if t := c.word(); !c.out() && !isType(t.of(line)) {
		return o, no
	}
	c.literal(" ")
	c.argument()
	c.literal(" ")
	if c.failed || c.i == len(line) {
		return o, c.outcome()
	}
	o.addr.from = c.i
	o.addr = c.run(isAddress, maxIPv6)
	c.literal(" ")
	o.port = c.run(isDigit, maxPort)
	for range 2 {
		if c.peek() == ' ' {
			c.i++
			c.run(isDigit, maxDigits)
		}
	}
	c.literal("\x01")
	if c.peek() == '\r' {
		c.i++
	}
	c.literal("\n")
	if c.failed || c.ended || c.i != len(line) {
		return o, c.outcome()
	}
	return o, yes
}

// cursor reads a line from its beginning. After it has failed, or the line has ended too early, it reads nothing more.
type cursor struct {
	b      []byte
	i      int
	failed bool // the line is not of the form
	ended  bool // it is as far as it goes
}

// out reports whether nothing more is read.
func (c *cursor) out() bool { return c.failed || c.ended }

func (c *cursor) outcome() outcome {
	if c.failed || !c.ended && c.i != len(c.b) {
		return no
	}
	return more
}

// peek returns the next byte, 0 where there is none.
func (c *cursor) peek() byte {
	if c.out() || c.i == len(c.b) {
		return 0
	}
	return c.b[c.i]
}

// literal reads s, in any case.
func (c *cursor) literal(s string) {
	for k := 0; k < len(s) && !c.out(); k++ {
		switch {
		case c.i == len(c.b):
			c.ended = true
		case upper(c.b[c.i]) != upper(s[k]):
			c.failed = true
		default:
			c.i++
		}
	}
}

// run reads one to most bytes that are in a class, and stops before the first that is not.
func (c *cursor) run(class func(byte) bool, most int) span {
	s := span{c.i, c.i}
	if c.out() {
		return s
	}
	for c.i < len(c.b) && class(c.b[c.i]) {
		if c.i++; c.i-s.from > most {
			c.failed = true
		}
	}
	s.to = c.i
	switch {
	case c.i == len(c.b):
		c.ended = true
	case c.i == s.from:
		c.failed = true
	}
	return s
}

// word reads up to a space.
func (c *cursor) word() span { return c.run(isText, maxLine) }

// argument reads a word, or anything in quotation marks.
func (c *cursor) argument() {
	if c.peek() != '"' {
		c.word()
		return
	}
	c.literal(`"`)
	c.run(isQuoted, maxLine)
	c.literal(`"`)
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isAddress reports whether c stands in a number or an IPv6 address.
func isAddress(c byte) bool {
	return isDigit(c) || 'A' <= upper(c) && upper(c) <= 'F' || c == ':' || c == '.'
}

func isQuoted(c byte) bool { return c != 0 && c != quote && c != '\r' && c != '\n' && c != '"' }

func isText(c byte) bool { return c != 0 && c != quote && c != '\r' && c != '\n' && c != ' ' }

func isType(s []byte) bool {
	for _, t := range types {
		c := cursor{b: s}
		if c.literal(t); !c.out() && c.i == len(s) {
			return true
		}
	}
	return false
}

// parseAddr reads an address: IPv4 as one decimal number, IPv6 as it is written. It has no leading zero and no zone.
func parseAddr(s []byte) (netip.Addr, bool) {
	if bytes.IndexByte(s, ':') >= 0 {
		a, err := netip.ParseAddr(string(s))
		return a, err == nil && a.Is6() && !a.Is4In6() && a.Zone() == ""
	}
	n, ok := parseNumber(s, maxIPv4)
	if !ok || n > 1<<32-1 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(n)))), true
}

// appendAddr writes an address as parseAddr reads it.
func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		four := a.As4()
		return strconv.AppendUint(b, uint64(binary.BigEndian.Uint32(four[:])), 10)
	}
	return a.AppendTo(b)
}

// parsePort reads a port, without a leading zero, and not 0: that is a passive offer.
func parsePort(s []byte) (uint16, bool) {
	n, ok := parseNumber(s, maxPort)
	return uint16(n), ok && n <= 65535
}

// parseNumber reads a decimal number above 0 of at most some digits, without a leading zero.
func parseNumber(s []byte, digits int) (n uint64, ok bool) {
	if len(s) == 0 || len(s) > digits || s[0] == '0' {
		return 0, false
	}
	for _, c := range s {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}
