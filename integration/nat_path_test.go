package integration

import (
	"encoding/binary"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/internal/testpkt"
)

// TestTracerouteBothSides traces the way by UDP and ICMP from the host behind the client to the server, and from the
// server to that host's own outside address. The inside router between must show the NAT's outside address (RFC 5508,
// REQ-5c), and every quote be as its sender sent it, or the tools would not know it.
func TestTracerouteBothSides(t *testing.T) {
	lab.NeedLab(t)
	l := newBehind(t, "")
	for _, e := range behindFamilies {
		for _, method := range []string{"-U", "-I"} {
			l.traces(t, l.host, method, e.Server, e.hop.Addr(), e.LAN, e.Server)
			l.traces(t, l.Server, method, e.own, e.WAN, e.WAN, e.own)
		}
	}
}

// traceTries is how often a traceroute may be run: about one in fifty of traceroute 2.1.2 -I reports "*" for an echo
// reply that a capture at its own interface shows intact and in time.
const traceTries = 3

// traces wants a traceroute to show these hops.
func (l *behind) traces(t *testing.T, from *netlab.Namespace, method string, to netip.Addr, want ...netip.Addr) {
	t.Helper()
	args := []string{"-n", "-w", "2", "-q", "1", "-m", "5", method, to.String()}
	var out string
	for range traceTries {
		var code int
		if out, code = lab.Tool(t, from, "traceroute", args...); code == 0 && slices.Equal(hops(out), want) {
			return
		}
	}
	t.Errorf("traceroute %v: want hops %v\n%s", args, want, out)
}

// hops are the addresses in what traceroute -n -q 1 wrote; the zero Addr where nobody answered.
func hops(out string) (all []netip.Addr) {
	for _, line := range strings.Split(strings.TrimSpace(out), "\n")[1:] {
		if fields := strings.Fields(line); len(fields) > 1 {
			a, _ := netip.ParseAddr(fields[1])
			all = append(all, a)
		}
	}
	return all
}

// TestPathMTUInside has the smaller hop on the inside: the inside router's errors must reach the server translated, or
// nothing large gets in. TestPathMTU has it outside.
func TestPathMTUInside(t *testing.T) {
	lab.NeedLab(t)
	l := newBehind(t, "")
	lab.Must(t, l.Client.SetMTU(hostLink, hopMTU)) // the host's own end stays larger, so that it promises what the hop can't carry
	for _, e := range behindFamilies {
		t.Run(e.Name+"/ping", func(t *testing.T) {
			toOwn := e.Ends
			toOwn.Server = e.own
			pingTooBig(t, l.Server, toOwn)
		})
		t.Run(e.Name+"/told", func(t *testing.T) {
			sent := testpkt.UDP{Src: netip.AddrPortFrom(e.Server, 40011), Dst: netip.AddrPortFrom(e.own, 40012), DF: true, TTL: 64,
				Payload: make([]byte, 1430)}.Bytes()
			lab.Must(t, l.Server.Inject("wan0", sent))
			want := icmpError{kind: tooBig, from: e.WAN, to: e.Server, mtu: hopMTU, quote: sent, hops: 1}
			want.mustArrive(t, l.outside)
		})
		t.Run(e.Name+"/TCP to a port forward", func(t *testing.T) { l.uploads(t, e) })
	}
}

// uploadBytes is far more than what the first window holds.
const uploadBytes = 1 << 20

// uploads sends bytes from the server to a port forward; the host answers how many it got.
func (l *behind) uploads(t *testing.T, e behindEnds) {
	listening, err := l.host.Listen(netip.AddrPortFrom(e.shared.Addr(), 80))
	lab.Must(t, err)
	endAfter(t, lab.ToolTimeout, listening)
	go func() {
		c, err := listening.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		n, _ := io.Copy(io.Discard, io.LimitReader(c, uploadBytes)) // the number tells
		_ = binary.Write(c, binary.BigEndian, n)                    // what is missing, the other end misses
	}()
	c, err := l.Server.Dial(t.Context(), "tcp", netip.AddrPortFrom(e.WAN, 8081))
	lab.Must(t, err)
	defer c.Close()
	lab.Must(t, c.SetDeadline(time.Now().Add(lab.ToolTimeout)))
	if _, err := c.Write(make([]byte, uploadBytes)); err != nil {
		t.Fatal(err)
	}
	var got int64
	if err := binary.Read(c, binary.BigEndian, &got); err != nil || got != uploadBytes {
		t.Errorf("%d of %d bytes arrived: %v", got, uploadBytes, err)
	}
}
