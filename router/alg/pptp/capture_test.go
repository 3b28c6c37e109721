package pptp

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// captured is a control connection of a capture: its two streams in the order in which they were sent, and the data
// packets of its calls.
type captured struct {
	client, server netip.Addr
	dirs           []conntrack.Direction
	segments       [][]byte
	gre            [][]byte
}

// readControl takes the first control connection out of a capture. Segments that repeat are left out.
func readControl(t *testing.T, path string) (c captured) {
	t.Helper()
	packets, err := testpkt.ReadCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	var next [2]uint32
	for _, p := range packets {
		h, reason := packet.Parse(p.Data)
		if reason != packet.NotDropped {
			continue
		}
		src, dst := packet.Addr(h.Src(p.Data)), packet.Addr(h.Dst(p.Data))
		if h.Proto == packet.ProtoGRE {
			c.gre = append(c.gre, p.Data[:h.Len])
			continue
		}
		if h.Proto != packet.ProtoTCP {
			continue
		}
		tcp, err := packet.ParseTCP(p.Data[h.L4:h.Len])
		if err != nil || tcp.SrcPort() != port && tcp.DstPort() != port {
			continue
		}
		dir := conntrack.Original
		if tcp.SrcPort() == port {
			dir = conntrack.Reply
		} else if !c.client.IsValid() {
			c.client, c.server = src, dst
		}
		payload := p.Data[h.Payload:h.Len]
		if len(payload) == 0 || next[dir] != 0 && tcp.Seq() != next[dir] {
			continue
		}
		next[dir] = tcp.Seq() + uint32(len(payload))
		c.dirs, c.segments = append(c.dirs, dir), append(c.segments, payload)
	}
	return c
}

// The control connections of captures through SNAT and through DNAT: nothing changes in them but call IDs, and their
// data goes both ways.
func TestCaptures(t *testing.T) {
	dir := testpkt.Captures(t)
	for _, name := range []string{"pptp-ctrl-callid0-one-gre.pcap", "pptp-full-session-real.pcap"} {
		cap := readControl(t, filepath.Join(dir, "pptp", name))
		if len(cap.segments) < 4 || len(cap.gre) == 0 {
			t.Fatalf("%s: %d segments, %d data packets", name, len(cap.segments), len(cap.gre))
		}
		for way, setup := range map[string]struct{ from, to, server, seen string }{
			"SNAT": {client, server, server, router},
			"DNAT": {server, router, "10.77.1.50", server},
		} {
			t.Run(name+" "+way, func(t *testing.T) {
				w := newWorld(t, masquerade(), forward(1723, "10.77.1.50"))
				c := w.dial(setup.from+":1025", setup.to+":1723", nil)
				ids, calls := [2]uint16{}, 0
				for i, b := range cap.segments {
					d := cap.dirs[i]
					if d == conntrack.Reply && kind(b[9]) == outgoingReply { // the other end has a translated ID
						sent := c.Heard(0)
						b = replaced(b, 14, sent[len(sent)-168+12:][:2]...)
					}
					got := c.feed(d, b)
					if len(got) != len(b) || !bytes.Equal(got[:12], b[:12]) || !bytes.Equal(got[16:], b[16:]) {
						t.Fatalf("% x became % x", b, got)
					}
					if kind(b[9]) == outgoingReply {
						ids, calls = [2]uint16{idAt(b, 12), idAt(b, 14)}, calls+1
						w.replay(t, &cap, setup.from, setup.to, setup.server, setup.seen, [2]uint16{idAt(got, 12), ids[1]})
					}
				}
				if calls != 1 || !c.Helped() {
					t.Errorf("%d calls, detached: %v", calls, !c.Helped())
				}
			})
		}
	}
}

// replay sends the data packets of a capture with the addresses and call IDs of the test.
func (w *world) replay(t *testing.T, cap *captured, from, to, server, seen string, ids [2]uint16) {
	t.Helper()
	for _, b := range cap.gre {
		h, _ := packet.Parse(b)
		g := bytes.Clone(b[h.L4:])
		v1, err := packet.ParseGREv1(g)
		if err != nil {
			t.Fatal(err)
		}
		src, dst, id := from, to, ids[0]
		if packet.Addr(h.Src(b)) == cap.server {
			src, dst, id = server, seen, ids[1]
		}
		v1.SetCallID(id)
		p := testpkt.Raw{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Proto: packet.ProtoGRE, Payload: g}
		out, reason := w.Send(p.Bytes(), packet.Meta{})
		if reason != packet.NotDropped {
			t.Fatalf("data %s>%s:%d: %v", src, dst, id, reason)
		}
		got := out[0].Bytes
		if at := len(got) - len(g); !bytes.Equal(got[at:at+6], g[:6]) || !bytes.Equal(got[at+8:], g[8:]) {
			t.Fatalf("% x became % x", g, got[at:])
		}
	}
}
