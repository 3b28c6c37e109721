package plain

import (
	"bytes"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// tftp reads a datagram of a connection to a server's port 69: a request (RFC 1350, section 5) is answered from any port
// of the server; an answer from the port that was asked is all there will be.
func (r *Router) tftp(c *conn, dir int, p *packet) {
	data := p.b[p.l.Payload:p.l.Len]
	answer := c.tuples[1]
	switch {
	case dir == 1:
		r.withdraw(c)
	case asksForFile(data) && answer.dst.Port() >= 1024 && c.tuples[0].src.Port() >= 1024:
		r.await(&expectation{
			master: c, proto: udp, from: answer.src.Addr(), to: answer.dst,
			source: c.leaves(1).src.Addr(), leads: netip.AddrPortFrom(c.tuples[0].src.Addr(), c.tuples[0].src.Port()),
		}, 1)
	}
}

var tftpRequest = regexp.MustCompile(`^\x00([\x01\x02])[^\x00-\x1f\x7f]+\x00(?i:(octet|netascii|mail))\x00((?:[\x20-\x7e]+\x00[\x20-\x7e]*\x00){0,16})$`)

// asksForFile: file name, mode, and pairs of option and value (RFC 2347), in 512 bytes. Mail is only sent.
func asksForFile(b []byte) bool {
	m := tftpRequest.FindStringSubmatch(latin(b))
	if len(b) > 512 || m == nil || strings.EqualFold(m[2], "mail") && m[1] == "\x01" {
		return false
	}
	words := bytes.Split([]byte(strings.ToLower(m[3])), []byte{0})
	var names []string
	for i := 0; i+1 < len(words); i += 2 {
		if slices.Contains(names, string(words[i])) {
			return false // given twice
		}
		names = append(names, string(words[i]))
	}
	return true
}
