package ftp

import (
	"testing"

	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// splits are texts that are cut at every place: what is said before, the text, and what the other end must hear of it.
var splits = map[string]struct {
	place       place
	ask         string
	dir         conntrack.Direction
	text, heard string
}{
	"PORT": {clientInside, "", fromClient, "PWD\r\nPORT 10,77,1,2,19,136\r\nP\r\n", "PWD\r\nPORT 203,0,113,1,19,136\r\nP\r\n"},
	"two in a row": {clientInside, "", fromClient, "\xff\xf4\xff\xf2PORT 10,77,1,2,19,136\nEPRT |1|10.77.1.2|5001|\r\n",
		"\xff\xf4\xff\xf2PORT 203,0,113,1,19,136\nEPRT |1|203.0.113.1|5001|\r\n"},
	"refused": {clientInside, "", fromClient, "PORT 10,77,1,3,19,136\r\nPORT 1\r\n", "PORT 10,77,1,3,19,136\r\nPORT 1\r\n"},
	"unended": {clientInside, "", fromClient, "EPRT |1|10.77.1.2|5001|\r\nPWD", "EPRT |1|203.0.113.1|5001|\r\nPWD"},
	"227":     {serverInside, "PASV", fromServer, "227 go (10,77,1,50,19,136)\r\n226 x\r\n", "227 go (203,0,113,1,19,136)\r\n226 x\r\n"},
	"227 and -": {serverInside, "PWD\r\nPASV", fromServer, "257-a\r\n227 (10,77,1,50,19,136)\r\n257 \r\n227-b\r\n227 (10,77,1,50,19,136).\r\n",
		"257-a\r\n227 (10,77,1,50,19,136)\r\n257 \r\n227-b\r\n227 (203,0,113,1,19,136).\r\n"},
	"229": {serverInside, "EPSV", fromServer, "229 go (|||5000|)\r\n150 x\r\n", "229 go (|||5000|)\r\n150 x\r\n"},
}

// splitSession is a session that is ready for the text of a split.
func splitSession(w *world, ask string, port int) *algtest.Conn {
	c := w.dial(port)
	c.Say(fromServer, "220 ready\r\n")
	c.Say(fromClient, "USER u\r\n")
	c.Say(fromServer, "230 welcome\r\n")
	if ask != "" {
		c.Say(fromClient, ask+"\r\n")
	}
	return c
}

// Each text cut in three at all pairs of places gives the same bytes, and no segment is lost by it.
func TestEverySplit(t *testing.T) {
	for name, tt := range splits {
		t.Run(name, func(t *testing.T) {
			w, n := newWorld(t, tt.place, nil), 0
			for i := 1; i < len(tt.text); i++ {
				for j := i; j <= len(tt.text); j++ {
					n++
					c := splitSession(w, tt.ask, 1024+n)
					from := len(c.Heard(tt.dir))
					c.Say(tt.dir, tt.text[:i])
					c.Say(tt.dir, tt.text[i:j])
					c.Say(tt.dir, tt.text[j:])
					if got := string(c.Heard(tt.dir)[from:]); got != tt.heard || c.Drops > 0 || c.Acked(tt.dir) != c.Said(tt.dir) {
						t.Fatalf("cut at %d and %d: %q, %d drops", i, j, got, c.Drops)
					}
					c.Reset(fromClient)
				}
			}
		})
	}
}

// Each text in two segments, which are sent again as every other two, in both orders, before and after they were
// acknowledged, and byte by byte: a byte that arrives again is the same one.
func TestEveryRetransmission(t *testing.T) {
	for name, tt := range splits {
		t.Run(name, func(t *testing.T) {
			w, n := newWorld(t, tt.place, nil), 0
			for i := 1; i < len(tt.text); i++ {
				for j := 1; j < len(tt.text); j++ {
					n++
					c := splitSession(w, tt.ask, 1024+n)
					from, start := len(c.Heard(tt.dir)), c.Said(tt.dir)
					c.Write(tt.dir, tt.text)
					part := func(a, b int) { c.Segment(tt.dir, start+a, start+b, packet.Meta{}, nil) }
					part(0, i)
					part(0, i)
					part(i, len(tt.text))
					for range 2 {
						part(j, len(tt.text))
						part(0, j)
						c.Ack(1-tt.dir, nil)
					}
					if got := string(c.Heard(tt.dir)[from:]); got != tt.heard || c.Acked(tt.dir) != c.Said(tt.dir) {
						t.Fatalf("cut at %d, then at %d: %q", i, j, got)
					}
					c.Reset(fromClient)
				}
			}
		})
	}
}

// One byte a segment: what waits is bounded, so some are dropped and come again.
func TestByteByByte(t *testing.T) {
	for name, tt := range splits {
		w := newWorld(t, tt.place, nil)
		c := splitSession(w, tt.ask, 1025)
		from := len(c.Heard(tt.dir))
		c.Write(tt.dir, tt.text)
		c.Settle(tt.dir, func(int) int { return 1 })
		if got := string(c.Heard(tt.dir)[from:]); got != tt.heard {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// The segments in the wrong order, the last one first.
func TestOutOfOrder(t *testing.T) {
	for name, tt := range splits {
		for i := 1; i < len(tt.text); i++ {
			w := newWorld(t, tt.place, nil)
			c := splitSession(w, tt.ask, 1025)
			from, start := len(c.Heard(tt.dir)), c.Said(tt.dir)
			c.Write(tt.dir, tt.text)
			c.Segment(tt.dir, start+i, c.Said(tt.dir), packet.Meta{}, nil)
			c.Ack(1-tt.dir, nil)
			c.Segment(tt.dir, start, start+i, packet.Meta{}, nil)
			if got := string(c.Heard(tt.dir)[from:]); got != tt.heard {
				t.Errorf("%s, cut at %d: %q", name, i, got)
			}
		}
	}
}
