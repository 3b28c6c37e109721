package plain

import (
	"net/netip"
	"regexp"
	"slices"
)

// asks is what a client has asked for from one port and what was not answered yet, as far as can be told.
type asks struct {
	texts []string // different requests
	sent  int      // how often all of them were sent, less what was answered from the port that was asked
}

// tftpMost is how many different requests are remembered.
const tftpMost = 8

var (
	// A request is an opcode and a whole file name (RFC 1350, section 5); the server judges the rest.
	tftpRequest = regexp.MustCompile(`^\x00[\x01\x02][^\x00-\x1f\x7f]+\x00`)
	// What a request is answered with: an error, the first block, leave to write, options.
	tftpAnswer = regexp.MustCompile(`^\x00(?:\x05|\x06|\x03\x00\x01|\x04\x00\x00)`)
)

// tftp reads a datagram of a connection to a server's port 69: each request is answered from any port of the server, or, and
// then from none, from the one that was asked.
func (r *Router) tftp(c *conn, dir int, p *packet) {
	text := latin(p.b[p.l.Payload:p.l.Len])
	i := slices.IndexFunc(r.awaits, func(e *expectation) bool { return e.master == c })
	left := 0
	if i >= 0 {
		left = r.awaits[i].uses
	}
	switch {
	case dir == 0 && tftpRequest.MatchString(text):
		r.tftpAsked(c, text, left)
	case dir == 1 && left > 0 && tftpAnswer.MatchString(text):
		c.asks.sent--
		if others := c.asks.sent - (len(c.asks.texts) - left); len(c.asks.texts) == 1 || others <= 0 {
			r.withdraw(c)
		} else {
			r.awaits[i].uses = min(left, others)
		}
	}
}

// tftpAsked awaits one answer more than are awaited, but none for what was asked and is awaited already.
func (r *Router) tftpAsked(c *conn, text string, left int) {
	if left == 0 {
		c.asks = asks{}
	}
	if !slices.Contains(c.asks.texts, text) {
		c.asks.texts = append(c.asks.texts, text)
		c.asks.texts = c.asks.texts[max(0, len(c.asks.texts)-tftpMost):]
	}
	c.asks.sent++
	r.await(&expectation{
		master: c, proto: udp, from: c.tuples[1].src.Addr(), to: c.tuples[1].dst, uses: min(left+1, len(c.asks.texts)),
		source: c.leaves(1).src.Addr(), leads: netip.AddrPortFrom(c.tuples[0].src.Addr(), c.tuples[0].src.Port()),
	}, 1)
}
