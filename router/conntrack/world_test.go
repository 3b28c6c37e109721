package conntrack

import (
	"net/netip"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

const sec = Time(time.Second)

var (
	hostA   = netip.MustParseAddr("10.77.0.2")
	hostA2  = netip.MustParseAddr("10.77.0.3")
	hostB   = netip.MustParseAddr("192.0.2.9")
	natT    = netip.MustParseAddr("203.0.113.1")
	router  = netip.MustParseAddr("198.51.100.7") // on the way, sends ICMP errors
	hostA6  = netip.MustParseAddr("fd77::2")
	hostB6  = netip.MustParseAddr("2001:db8::9")
	router6 = netip.MustParseAddr("2001:db8:7::1")
)

// world is a table, a clock turned by hand, and the NAT that a test wants.
type world struct {
	testing.TB
	t     *Table
	now   Time
	shard int
	nat   func(c *Conn) // applied to new connections before Confirm; nil: none
	c     Conn          // of the last packet
}

func newWorld(tb testing.TB, change func(*Config)) *world {
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	return &world{TB: tb, t: New(cfg), now: 1000 * sec}
}

func linux(cfg *Config) { cfg.Timeouts = DefaultTimeouts(ProfileLinux) }

// track gives a packet to Track only.
func (w *world) track(b []byte) packet.DropReason {
	w.Helper()
	h, reason := packet.Parse(b)
	if reason != packet.NotDropped {
		w.c = Conn{}
		return reason
	}
	return w.t.Track(w.shard, w.now, &Packet{Bytes: b[:h.Len], H: &h}, &w.c)
}

// send tracks, translates and confirms a packet.
func (w *world) send(b []byte) packet.DropReason {
	w.Helper()
	if reason := w.track(b); reason != packet.NotDropped {
		if w.c.Info != InfoInvalid {
			w.Fatalf("dropped as %v, but Info is %v", reason, w.c.Info)
		}
		return reason
	}
	if w.c.Status&Confirmed == 0 && w.c.Info != InfoUntracked && w.c.Info != InfoInvalid && w.nat != nil {
		w.nat(&w.c)
	}
	return w.t.Confirm(w.shard, w.now, &w.c)
}

// want fails unless the last packet belonged to its connection in this way.
func (w *world) want(info Info, status Status) {
	w.Helper()
	if w.c.Info != info || w.c.Status&status != status {
		w.Fatalf("got %v, status %b; want %v with %b", w.c.Info, w.c.Status, info, status)
	}
}

// pass sends a packet that must go on.
func (w *world) pass(b []byte) *Conn {
	w.Helper()
	if reason := w.send(b); reason != packet.NotDropped {
		w.Fatalf("dropped: %v", reason)
	}
	return &w.c
}

// refused sends a packet that must be dropped for a reason.
func (w *world) refused(b []byte, want packet.DropReason) {
	w.Helper()
	if reason := w.send(b); reason != want {
		w.Fatalf("got %v (%v), want %v", reason, w.c.Info, want)
	}
}

func (w *world) snap(id Handle) Snapshot {
	w.Helper()
	s, ok := w.t.Lookup(w.now, id)
	if !ok {
		w.Fatalf("connection %x is gone", id)
	}
	return s
}

// timeout fails unless the connection has this time left.
func (w *world) timeout(id Handle, want time.Duration) {
	w.Helper()
	if got := time.Duration(w.snap(id).Timeout); got != want {
		w.Fatalf("timeout %v, want %v", got, want)
	}
}

// reap does all expiry work and returns what ended.
func (w *world) reap() []Dead {
	var all []Dead
	buf := make([]Dead, 16)
	for i := range w.t.shards {
		for w.t.Step(i, w.now, 1000) > 0 {
		}
		for {
			n := w.t.Reap(i, buf)
			all = append(all, buf[:n]...)
			if n < len(buf) {
				break
			}
		}
	}
	return all
}

// snat gives a connection an outside source, as NAT would.
func snat(to netip.Addr, port uint16) func(c *Conn) {
	return func(c *Conn) {
		c.Tuples[Reply].Dst = to.As16()
		if c.Tuples[Reply].HasPorts() {
			c.Tuples[Reply].DstID = port
		} else if c.Tuples[Reply].Proto == packet.ProtoICMP {
			c.Tuples[Reply].SrcID = port
		}
		c.Status |= SrcNAT | SrcNATDone | DstNATDone
	}
}

func udp(src netip.Addr, sport uint16, dst netip.Addr, dport uint16) []byte {
	return testpkt.UDP{Src: netip.AddrPortFrom(src, sport), Dst: netip.AddrPortFrom(dst, dport), Payload: []byte("data")}.Bytes()
}

func echo(src, dst netip.Addr, id uint16, reply bool) []byte {
	return testpkt.Echo{Src: src, Dst: dst, ID: id, Seq: 1, Reply: reply}.Bytes()
}

// icmpError is an error from one address to another about a packet.
func icmpError(from, to netip.Addr, typ, code uint8, quoted []byte) []byte {
	return testpkt.ICMP{Src: from, Dst: to, Type: typ, Code: code, Payload: quoted}.Bytes()
}

// seg is a TCP segment in the words of the tests.
type seg struct {
	reply    bool // from B to A
	flags    string
	seq, ack uint32
	n        int // payload
	win      uint16
	opts     []byte
}

var flagBits = map[rune]uint8{
	'F': packet.FlagFIN, 'S': packet.FlagSYN, 'R': packet.FlagRST, 'P': packet.FlagPSH, 'A': packet.FlagACK,
	'U': packet.FlagURG, 'E': packet.FlagECE, 'C': packet.FlagCWR,
}

func flagsOf(s string) (f uint8) {
	for _, r := range s {
		f |= flagBits[r]
	}
	return f
}

var tcpA, tcpB = netip.AddrPortFrom(hostA, 40000), netip.AddrPortFrom(hostB, 80)

func (g seg) bytes() []byte {
	p := testpkt.TCP{
		Src: tcpA, Dst: tcpB, Seq: g.seq, Ack: g.ack, Flags: flagsOf(g.flags), Win: g.win, Options: g.opts,
		Payload: make([]byte, g.n),
	}
	if g.reply {
		p.Src, p.Dst = p.Dst, p.Src
	}
	b := p.Bytes()
	if g.win == noWindow {
		b[20+14], b[20+15] = 0, 0
	}
	return b
}

// noWindow stands for a window of 0, since 0 is the builder's default.
const noWindow = 0xfff1

// Options in the tests' words.
var (
	wscale7 = []byte{1, 3, 3, 7}
	synOpts = []byte{1, 3, 3, 7, 1, 1, 4, 2}
)

// tcp returns the tracker's state of the last packet's connection.
func (w *world) tcp() *tcpState {
	w.Helper()
	s := w.t.shards[w.c.ID.shard()]
	e := s.live(w.c.ID)
	if e == nil {
		w.Fatalf("connection is gone")
	}
	return s.tcp.at(e.l4)
}

// handshake opens the connection of seg: A's ISN 1000, B's 5000.
func (w *world) handshake(opts []byte) Handle {
	w.Helper()
	w.pass(seg{flags: "S", seq: 1000, opts: opts}.bytes())
	w.pass(seg{reply: true, flags: "SA", seq: 5000, ack: 1001, opts: opts}.bytes())
	w.pass(seg{flags: "A", seq: 1001, ack: 5001}.bytes())
	return w.c.ID
}
