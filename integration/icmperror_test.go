package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/internal/testpkt"
)

// errorKind is an ICMP error in both families.
type errorKind struct {
	name                       string
	type4, code4, type6, code6 uint8
}

// The errors that a router makes (RFC 792, RFC 1812 section 5.2.7, RFC 4443 section 3).
var (
	ttlExceeded = errorKind{"ttl", 11, 0, 3, 0}
	tooBig      = errorKind{"too big", 3, 4, 2, 0}
	noRoute     = errorKind{"no route", 3, 0, 1, 0}
	prohibited  = errorKind{"prohibited", 3, 13, 1, 1}
)

// icmpError is an error that must arrive.
type icmpError struct {
	kind     errorKind
	from, to netip.Addr
	mtu      int    // of tooBig, bytes
	quote    []byte // the packet as its sender sent it
	hops     uint8  // routers that it passed before the one that made the error
}

// matches is nil if p is the error. Its quote must be the packet as it was sent, but for the TTL that routers took
// and what follows from that; it must be long enough for any sender to know it: RFC 1812, section 4.3.2.3 and RFC
// 4443, section 2.4 want as much as fits.
func (w *icmpError) matches(p netlab.Sniffed) error {
	l, err := testpkt.Parse(p.Data)
	if err != nil {
		return err
	}
	icmp := p.Data[l.L4:]
	typ, code, most, mtu := w.kind.type6, w.kind.code6, 1280, int(binary.BigEndian.Uint32(icmp[4:]))
	if w.to.Is4() {
		typ, code, most, mtu = w.kind.type4, w.kind.code4, 576, int(be16(icmp[6:]))
	}
	src, _ := netip.AddrFromSlice(l.Src)
	dst, _ := netip.AddrFromSlice(l.Dst)
	quote := icmp[8:]
	wantQuote := bytes.Clone(w.quote)
	if w.to.Is4() {
		wantQuote[8] -= w.hops
		binary.BigEndian.PutUint16(wantQuote[10:], ipSum(wantQuote[:20]))
	} else {
		wantQuote[7] -= w.hops
	}
	wantQuote = wantQuote[:min(len(wantQuote), most-(len(p.Data)-len(quote)))]
	switch {
	case icmp[0] != typ || icmp[1] != code:
		return fmt.Errorf("type %d code %d, want %d %d", icmp[0], icmp[1], typ, code)
	case src != w.from || dst != w.to:
		return fmt.Errorf("%s to %s, want %s to %s", src, dst, w.from, w.to)
	case w.kind == tooBig && mtu != w.mtu:
		return fmt.Errorf("mtu %d, want %d", mtu, w.mtu)
	case len(quote) < min(len(wantQuote), 128) || !bytes.Equal(quote[:min(len(quote), len(wantQuote))], wantQuote[:min(len(quote), len(wantQuote))]):
		return fmt.Errorf("quotes\n% x\nwant\n% x", quote[:min(len(quote), 64)], wantQuote[:min(len(wantQuote), 64)])
	}
	return testpkt.Verify(p.Data)
}

// mustArrive waits for the error at a sniffer that keeps errors.
func (w *icmpError) mustArrive(t *testing.T, at *lab.Sniffer) {
	t.Helper()
	ports := quotedPorts(w.quote)
	var last error
	_, ok := at.Find(errorIn, func(p netlab.Sniffed) bool {
		if p.Outgoing {
			return false
		}
		err := w.matches(p)
		if err != nil && quotedPorts(lab.Quoted(p.Data)) == ports {
			last = err
		}
		return err == nil
	})
	switch {
	case ok:
	case last != nil:
		t.Errorf("%s: wrong error: %v", w.kind.name, last)
	default:
		t.Errorf("%s: no error for the packet arrived", w.kind.name)
	}
}

// quotedPorts are the ports of a packet without options, to tell the packets of different tests.
func quotedPorts(b []byte) [2]uint16 {
	off := 40
	if len(b) > 0 && b[0]>>4 == 4 {
		off = 20
	}
	if len(b) < off+4 {
		return [2]uint16{}
	}
	return [2]uint16{be16(b[off:]), be16(b[off+2:])}
}

// ipSum is the checksum of an IPv4 header.
func ipSum(h []byte) uint16 {
	var sum uint32
	for i := 0; i < len(h); i += 2 {
		if i != 10 {
			sum += uint32(be16(h[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// errorRules give each kind of translation ports of its own, and refuse some.
const errorRules = `
[[nat]] # dnat alone
action = "dnat"
in = "wan0"
protocol = "udp"
destination = ["203.0.113.1", "2001:db8:113::1"]
port = "9100-9199"
to = ["10.77.0.2", "fd77::2"]

[[nat]] # dnat and snat
action = "dnat"
in = "wan0"
protocol = "udp"
destination = ["203.0.113.1", "2001:db8:113::1"]
port = "9200-9299"
to = ["10.77.0.2", "fd77::2"]

[[nat]]
action = "snat"
protocol = "udp"
destination = ["10.77.0.2", "fd77::2"]
port = "9200-9299"
to = ["10.77.0.200", "fd77::200"]

[[nat]] # dnat to where no route leads
action = "dnat"
in = "wan0"
protocol = "udp"
destination = ["203.0.113.1", "2001:db8:113::1"]
port = "9300-9399"
to = ["192.0.2.9", "2001:db8:9::9"]

[[filter.rule]]
protocol = "udp"
port = ["9099", "9199", "9299"]
action = "reject"

[[filter.rule]]
protocol = "udp"
port = ["9098", "9198", "9298"]
state = ["established"]
action = "reject"
`

// errorMTU is that of both interfaces, below that of the host ends so that they send what the router can't forward.
const errorMTU = 1300

// translation is a kind of connection whose packets meet errors.
type translation struct {
	name    string
	inbound bool   // begun by the server
	base    uint16 // first of its hundred destination ports
}

var translations = []translation{
	{"masquerade", false, 9000},
	{"dnat", true, 9100},
	{"both", true, 9200},
}

// errorLab is a lab for errors, with sniffers that keep them.
type errorLab struct {
	*pair
	inside, outside *lab.Sniffer
	nextPort        uint16
}

// TestICMPErrors provokes every error that the router makes, on the first packet of a connection and on an
// established one, in each kind of translation and family. What the sender's side sees must be as if no NAT were there.
func TestICMPErrors(t *testing.T) {
	lab.NeedLab(t)
	mtu := fmt.Sprintf("mtu = %d\ngso = false\nchecksum = false\ncoalesce = false", errorMTU)
	l := &errorLab{pair: newPair(t, lab.Config{LAN: mtu, WAN: mtu, NoRoute: true, Rules: errorRules}), nextPort: 20000}
	lab.Must(t, l.Client.SetMTU("lan0", 1500))
	lab.Must(t, l.Server.SetMTU("wan0", 1500))
	isError := func(p netlab.Sniffed) bool { return lab.Quoted(p.Data) != nil }
	l.inside = lab.Sniff(t, l.Client, "lan0", lab.CompleteChecksums, isError)
	l.outside = lab.Sniff(t, l.Server, "wan0", lab.Translated(lab.CompleteChecksums), isError)
	for _, e := range lab.Families {
		for _, tr := range translations {
			t.Run(e.Name+"/"+tr.name, func(t *testing.T) {
				for _, established := range []bool{false, true} {
					l.ttl(t, e, tr, established)
					l.tooBig(t, e, tr, established)
				}
				l.prohibited(t, e, tr)
			})
		}
		t.Run(e.Name+"/no route", func(t *testing.T) { l.noRoute(t, e) })
	}
}

// flow is one connection's forward and backward endpoints, as each side sees them.
type flow struct {
	from, to         netip.AddrPort // as the side that began it sees it
	backFrom, backTo netip.AddrPort // as the other side sees the way back
}

// flow makes up a connection of a translation on a port of its own.
func (l *errorLab) flow(e lab.Ends, tr translation, offset uint16) flow {
	l.nextPort++
	p, port := l.nextPort, tr.base+offset
	at := netip.AddrPortFrom
	if !tr.inbound {
		return flow{at(e.Client, p), at(e.Server, port), at(e.Server, port), at(e.WAN, p)}
	}
	f := flow{at(e.Server, p), at(e.WAN, port), at(e.Client, port), at(e.Server, p)}
	if tr.name == "both" {
		f.backTo = at(lab.Addr("10.77.0.200"), p)
		if e.Client.Is6() {
			f.backTo = at(lab.Addr("fd77::200"), p)
		}
	}
	return f
}

// sides are who sends forward and backward, and what watches him.
func (l *errorLab) sides(tr translation, back bool) (from *netlab.Namespace, link string, at *lab.Sniffer) {
	if tr.inbound != back {
		return l.Server, "wan0", l.outside
	}
	return l.Client, "lan0", l.inside
}

// router is the router's address on the side of who sends.
func routerOf(e lab.Ends, tr translation, back bool) netip.Addr {
	if tr.inbound != back {
		return e.WAN
	}
	return e.LAN
}

// establish exchanges a datagram each way through the kernel's sockets.
func (l *errorLab) establish(t *testing.T, tr translation, f flow) {
	t.Helper()
	here, _, _ := l.sides(tr, false)
	there, _, _ := l.sides(tr, true)
	a, err := here.ListenPacket("udp", f.from)
	lab.Must(t, err)
	defer a.Close()
	b, err := there.ListenPacket("udp", f.backFrom)
	lab.Must(t, err)
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), errorIn)
	defer cancel()
	defer context.AfterFunc(ctx, func() { a.Close(); b.Close() })()
	buf := make([]byte, 64)
	_, err = a.WriteTo([]byte("there"), net.UDPAddrFromAddrPort(f.to))
	lab.Must(t, err)
	_, from, err := b.ReadFrom(buf)
	lab.Must(t, err)
	if got := from.(*net.UDPAddr).AddrPort(); got != f.backTo {
		t.Errorf("%s: the far side sees %s, want %s", tr.name, got, f.backTo)
	}
	_, err = b.WriteTo([]byte("back"), from)
	lab.Must(t, err)
	_, _, err = a.ReadFrom(buf)
	lab.Must(t, err)
}

// provoke sends a datagram of a flow, forward or back, and wants an error for it.
func (l *errorLab) provoke(t *testing.T, e lab.Ends, tr translation, f flow, back bool, p testpkt.UDP, kind errorKind) {
	t.Helper()
	p.Src, p.Dst = f.from, f.to
	if back {
		p.Src, p.Dst = f.backFrom, f.backTo
	}
	p.ID = 0x1234
	sent := p.Bytes()
	from, link, at := l.sides(tr, back)
	lab.Must(t, from.Inject(link, sent))
	want := icmpError{kind: kind, from: routerOf(e, tr, back), to: p.Src.Addr(), mtu: errorMTU, quote: sent}
	want.mustArrive(t, at)
}

func (l *errorLab) ttl(t *testing.T, e lab.Ends, tr translation, established bool) {
	f := l.flow(e, tr, 1)
	p := testpkt.UDP{TTL: 1, Payload: []byte("short lived")}
	if established {
		l.establish(t, tr, f)
		l.provoke(t, e, tr, f, true, p, ttlExceeded)
	}
	l.provoke(t, e, tr, f, false, p, ttlExceeded)
}

func (l *errorLab) tooBig(t *testing.T, e lab.Ends, tr translation, established bool) {
	f := l.flow(e, tr, 2)
	p := testpkt.UDP{TTL: 64, DF: true, Payload: make([]byte, 1400)}
	if established {
		l.establish(t, tr, f)
		l.provoke(t, e, tr, f, true, p, tooBig)
	}
	l.provoke(t, e, tr, f, false, p, tooBig)
}

// prohibited meets a rule that rejects new connections, and one that rejects established ones.
func (l *errorLab) prohibited(t *testing.T, e lab.Ends, tr translation) {
	p := testpkt.UDP{TTL: 64, Payload: []byte("no")}
	l.provoke(t, e, tr, l.flow(e, tr, 99), false, p, prohibited)
	f := l.flow(e, tr, 98)
	l.establish(t, tr, f)
	l.provoke(t, e, tr, f, false, p, prohibited)
}

// noRoute sends to where no route leads, from inside, and from outside through a dnat rule.
func (l *errorLab) noRoute(t *testing.T, e lab.Ends) {
	away := lab.Addr("192.0.2.9")
	if e.Client.Is6() {
		away = lab.Addr("2001:db8:9::9")
	}
	l.nextPort++
	at, p := netip.AddrPortFrom, testpkt.UDP{TTL: 64, Payload: []byte("where?")}
	l.provoke(t, e, translations[0], flow{from: at(e.Client, l.nextPort), to: at(away, 9001)}, false, p, noRoute)
	l.provoke(t, e, translations[1], flow{from: at(e.Server, l.nextPort), to: at(e.WAN, 9300)}, false, p, noRoute)
}

// TestNoRouteBack has a client that no route leads to, so that the answers of an established connection meet the error.
func TestNoRouteBack(t *testing.T) {
	lab.NeedLab(t)
	l := &errorLab{pair: newPair(t, lab.Config{NoRoute: true, Rules: "[filter]\nreverse_path = false\n"}), nextPort: 20000}
	isError := func(p netlab.Sniffed) bool { return lab.Quoted(p.Data) != nil }
	l.outside = lab.Sniff(t, l.Server, "wan0", lab.Translated(lab.Checksums), isError)
	for _, e := range lab.Families {
		e.Client = lab.Addr("10.77.5.2")
		if e.Server.Is6() {
			e.Client = lab.Addr("fd77:0:0:5::2")
		}
		tr := translations[0]
		f := l.flow(e, tr, 1)
		reached := lab.Sniff(t, l.Server, "wan0", lab.Checksums, func(p netlab.Sniffed) bool {
			return !p.Outgoing && quotedPorts(p.Data) == [2]uint16{f.from.Port(), f.to.Port()}
		})
		lab.Must(t, l.Client.Inject("lan0", testpkt.UDP{Src: f.from, Dst: f.to, TTL: 64, Payload: []byte("there")}.Bytes()))
		if _, ok := reached.Find(errorIn, func(netlab.Sniffed) bool { return true }); !ok {
			t.Fatalf("%s: the first datagram did not reach the server", e.Name)
		}
		l.provoke(t, e, tr, f, true, testpkt.UDP{TTL: 64, Payload: []byte("back")}, noRoute)
	}
}
