package beside

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Control messages of PPTP (RFC 2637, section 2): the length of each, and which of its fields hold the sender's own
// call ID and its peer's. 0: it has none.
type message struct {
	name            string
	typ, size       int
	own, peer       int // bytes from the start of the message
	result, granted int // where its result stands, and what grants
}

var messages = []message{
	{name: "scrq", typ: 1, size: 156},
	{name: "scrp", typ: 2, size: 156, result: 14, granted: 1},
	{name: "stoprq", typ: 3, size: 16, result: 12, granted: 1},
	{name: "stoprp", typ: 4, size: 16, result: 12, granted: 1},
	{name: "echorq", typ: 5, size: 16},
	{name: "echorp", typ: 6, size: 20, result: 16, granted: 1},
	{name: "ocrq", typ: 7, size: 168, own: 12},
	{name: "ocrp", typ: 8, size: 32, own: 12, peer: 14, result: 16, granted: 1},
	{name: "icrq", typ: 9, size: 220, own: 12},
	{name: "icrp", typ: 10, size: 24, own: 12, peer: 14, result: 16, granted: 1},
	{name: "iccn", typ: 11, size: 28, peer: 12},
	{name: "ccrq", typ: 12, size: 16, own: 12},
	{name: "cdn", typ: 13, size: 148, own: 12, result: 14, granted: 4},
	{name: "wen", typ: 14, size: 40, peer: 12},
	{name: "sli", typ: 15, size: 24, peer: 12},
}

// pptpCookie begins every control message, behind its length and its kind (RFC 2637, section 2).
const pptpCookie = 0x1a2b3c4d

// bytes builds the message with its call IDs.
func (m *message) bytes(ids []int) []byte {
	b := make([]byte, m.size)
	binary.BigEndian.PutUint16(b, uint16(m.size))
	binary.BigEndian.PutUint16(b[2:], 1) // a control message
	binary.BigEndian.PutUint32(b[4:], pptpCookie)
	binary.BigEndian.PutUint16(b[8:], uint16(m.typ))
	for _, at := range []int{m.own, m.peer} {
		if at != 0 && len(ids) > 0 {
			binary.BigEndian.PutUint16(b[at:], uint16(ids[0]))
			ids = ids[1:]
		}
	}
	if m.result != 0 {
		b[m.result] = byte(m.granted)
	}
	return b
}

// readMessage returns the message that b begins with, nil for none.
func readMessage(b []byte) *message {
	if len(b) < 12 || binary.BigEndian.Uint32(b[4:]) != pptpCookie {
		return nil
	}
	i := slices.IndexFunc(messages, func(m message) bool {
		return m.typ == int(binary.BigEndian.Uint16(b[8:])) && m.size == int(binary.BigEndian.Uint16(b)) && m.size <= len(b)
	})
	if i < 0 {
		return nil
	}
	return &messages[i]
}

// The texts that announce an endpoint: FTP's (RFC 959, section 4.1.2; RFC 2428) and IRC's DCC.
var (
	commaEndpoint   = regexp.MustCompile(`(\d+,\d+,\d+,\d+),(\d+),(\d+)`)
	barEndpoint     = regexp.MustCompile(`([|!])([12]?)([|!])([^|! ]*)([|!])(\d+)([|!])`)
	decimalEndpoint = regexp.MustCompile(`(DCC \S+ \S+ )(\d+) (\d+)`)
)

// announced returns the port that a payload announces, 0 for none.
func announced(payload string) int {
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0
		}
		return n
	}
	if m := commaEndpoint.FindStringSubmatch(payload); m != nil {
		return number(m[2])<<8 | number(m[3])
	}
	if m := barEndpoint.FindStringSubmatch(payload); m != nil {
		return number(m[6])
	}
	if m := decimalEndpoint.FindStringSubmatch(payload); m != nil {
		return number(m[3])
	}
	return 0
}

// named writes a text with the names of addresses and ports in the place of what they are on this system.
func (v *view) named(text string, kept map[int]bool) string {
	text = commaEndpoint.ReplaceAllStringFunc(text, func(s string) string {
		m := commaEndpoint.FindStringSubmatch(s)
		for a, name := range v.byAddr {
			if commas(a) == m[1] {
				return fmt.Sprintf("{%s,},%s", name, v.announcedName(name, announced(s), kept))
			}
		}
		return s
	})
	text = barEndpoint.ReplaceAllStringFunc(text, func(s string) string {
		m := barEndpoint.FindStringSubmatch(s)
		for a, name := range v.byAddr {
			if a.String() == m[4] {
				return m[1] + m[2] + m[3] + "{" + name + "}" + m[5] + v.announcedName(name, announced(s), kept) + m[7]
			}
		}
		return s
	})
	return decimalEndpoint.ReplaceAllStringFunc(text, func(s string) string {
		m := decimalEndpoint.FindStringSubmatch(s)
		for a, name := range v.byAddr {
			if decimal(a) == m[2] {
				return m[1] + "{" + name + "#} " + v.announcedName(name, announced(s), kept)
			}
		}
		return s
	})
}

func (v *view) announcedName(host string, port int, kept map[int]bool) string {
	if host != "pub" && host != "wan" {
		return strconv.Itoa(port)
	}
	return v.ports.name(6, port, kept[port])
}

// fill replaces the braces in a quoted word by what they name on this system.
func (v *view) fill(text string) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", fmt.Errorf("%q: a brace that does not end", text)
		}
		filled, err := v.brace(name)
		if err != nil {
			return "", err
		}
		b.WriteString(filled)
		text = after
	}
}

// brace is what one pair of braces stands for.
func (v *view) brace(name string) (string, error) {
	kind := strings.TrimLeft(name, "abcdefghijklmnopqrstuvwxyz0123456789.")
	name = strings.TrimSuffix(name, kind)
	if label, field, isRef := strings.Cut(name, "."); isRef {
		port, err := v.port(label, field)
		if kind == "," {
			return fmt.Sprintf("%d,%d", port>>8, port&0xff), err
		}
		return strconv.Itoa(port), err
	}
	a, ok := v.byName[name]
	switch {
	case !ok:
		return "", fmt.Errorf("no host %q", name)
	case kind == ",":
		return commas(a), nil
	case kind == "#":
		return decimal(a), nil
	}
	return a.String(), nil
}
