package integration

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/internal/testpkt"
)

// Flags of a TCP segment (RFC 9293, section 3.1).
const (
	flagSYN = 2
	flagPSH = 8
	flagACK = 16
)

// tcpEnd is one end of a connection that a test speaks itself, without a kernel.
type tcpEnd struct {
	local, remote netip.AddrPort
	seq, ack      uint32
}

func (e *tcpEnd) segment(flags uint8, payload string) []byte {
	s := testpkt.TCP{Src: e.local, Dst: e.remote, Seq: e.seq, Flags: flags, Payload: []byte(payload), TTL: 64, DF: true}
	if flags&flagACK != 0 {
		s.Ack = e.ack
	}
	return s.Bytes()
}

// TestSimultaneousOpenRaw has two SYNs cross (RFC 9293, figure 8; RFC 5382, REQ-2): each segment must arrive at the
// other side, translated and otherwise as it was sent.
func TestSimultaneousOpenRaw(t *testing.T) {
	lab.NeedLab(t)
	l := newPair(t, lab.Config{})
	inside, outside := arrivals(t, l.Client, "lan0"), arrivals(t, l.Server, "wan0")
	for i, e := range lab.Families {
		server := netip.AddrPortFrom(e.Nobody, 7301)
		a := tcpEnd{local: netip.AddrPortFrom(nobodyInside[i], 7300), remote: server, seq: 1000}
		b := tcpEnd{local: server, seq: 5000}
		step := func(from, to *tcpEnd, flags uint8, payload string) {
			t.Helper()
			sender, link, at := l.Client, "lan0", outside
			if from == &b {
				sender, link, at = l.Server, "wan0", inside
			}
			sent := from.segment(flags, payload)
			got := pass(t, sender, link, at, sent, func(p testpkt.Layout, raw []byte) bool {
				return p.Proto == 6 && raw[p.L4+13] == flags && len(raw) == len(sent) &&
					(to.local == destination(p, raw) || to == &b && server == destination(p, raw))
			})
			layout, err := testpkt.Parse(got)
			lab.Must(t, err)
			if to == &b {
				b.remote = source(layout, got)
			} else if source(layout, got) != server {
				t.Errorf("%s: the client sees %s", e.Name, source(layout, got))
			}
			if string(got[layout.Payload:]) != payload {
				t.Errorf("%s: payload %q, want %q", e.Name, got[layout.Payload:], payload)
			}
		}
		step(&a, &b, flagSYN, "")
		step(&b, &a, flagSYN, "")
		a.ack, b.ack = b.seq+1, a.seq+1
		step(&a, &b, flagSYN|flagACK, "")
		step(&b, &a, flagSYN|flagACK, "")
		a.seq, b.seq = a.seq+1, b.seq+1
		step(&a, &b, flagACK|flagPSH, "from inside")
		step(&b, &a, flagACK|flagPSH, "from outside")
		if b.remote.Addr() != e.WAN {
			t.Errorf("%s: the server sees %s", e.Name, b.remote)
		}
	}
	if d := l.Status().Drops; d["tcp-window"] != 0 || d["no-mapping"] != 0 {
		t.Errorf("drops: %v", d)
	}
}

// TestSimultaneousOpen has two kernels connect to each other, neither of which listens. The server's first SYN comes
// when there is no mapping yet: it must be dropped in silence, or the attempt ends (RFC 5382, REQ-4).
func TestSimultaneousOpen(t *testing.T) {
	lab.NeedLab(t)
	l := newPair(t, lab.Config{})
	refused := arrivals(t, l.Server, "wan0")
	for _, e := range lab.Families {
		client, server := netip.AddrPortFrom(e.Client, 7310), netip.AddrPortFrom(e.Server, 7311)
		dial := func(from, to netip.AddrPort) (c net.Conn, err error) {
			n := l.Client
			if from == server {
				n = l.Server
			}
			err = n.Do(func() (err error) {
				d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Control: shareEndpoint, Timeout: lab.ToolTimeout}
				c, err = d.Dial("tcp", to.String())
				return err
			})
			return c, err
		}
		before := l.Status().Drops
		type result struct {
			conn net.Conn
			err  error
		}
		done := make(chan result, 1)
		go func() {
			c, err := dial(server, netip.AddrPortFrom(e.WAN, client.Port()))
			done <- result{c, err}
		}()
		if reason := l.droppedOnce(t, before); reason != "no-mapping" {
			t.Errorf("%s: the first SYN was dropped as %s", e.Name, reason)
		}
		if p, ok := refused.Find(quiet, func(p netlab.Sniffed) bool { return destinedFor(p, server) }); ok {
			t.Errorf("%s: the first SYN was answered: % x", e.Name, p.Data)
		}
		one, err := dial(client, server)
		lab.Must(t, err)
		other := <-done
		lab.Must(t, other.err)
		exchangeBytes(t, one, other.conn)
		exchangeBytes(t, other.conn, one)
		one.Close()
		other.conn.Close()
	}
}

// exchangeBytes sends a few bytes over a connection, and wants them at its other end.
func exchangeBytes(t *testing.T, from, to net.Conn) {
	t.Helper()
	lab.Must(t, to.SetReadDeadline(time.Now().Add(errorIn)))
	_, err := from.Write([]byte("opened by both"))
	lab.Must(t, err)
	got := make([]byte, 14)
	if _, err := io.ReadFull(to, got); err != nil || string(got) != "opened by both" {
		t.Errorf("%q arrived, %v", got, err)
	}
}
