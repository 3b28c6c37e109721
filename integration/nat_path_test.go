package integration

import (
	"encoding/binary"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/internal/testpkt"
)

// TestTracerouteBothSides traces the way by UDP and ICMP from the host behind the client to the server, and from the
// server to that host's own outside address. The inside router between must show the NAT's outside address (RFC 5508,
// REQ-5c), and every quote be as its sender sent it, or the tools would not know it.
func TestTracerouteBothSides(t *testing.T) {
	needLab(t)
	l := newBehind(t, "")
	for _, e := range behindFamilies {
		for _, method := range []string{"-U", "-I"} {
			l.traces(t, l.host, method, e.server, e.hop.Addr(), e.lan, e.server)
			l.traces(t, l.server, method, e.own, e.wan, e.wan, e.own)
		}
	}
}

// traces wants a traceroute to show these hops.
func (l *behind) traces(t *testing.T, from *netlab.Namespace, method string, to netip.Addr, want ...netip.Addr) {
	t.Helper()
	args := []string{"-n", "-w", "2", "-q", "1", "-m", "5", method, to.String()}
	out, code := tool(t, from, "traceroute", args...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || len(lines) != len(want)+1 {
		t.Errorf("traceroute %v: exit code %d, want hops %v\n%s", args, code, want, out)
		return
	}
	for i, w := range want {
		if fields := strings.Fields(lines[i+1]); len(fields) < 3 || fields[1] != w.String() {
			t.Errorf("traceroute %v: hop %d is not %s\n%s", args, i+1, w, out)
		}
	}
}

// TestPathMTUInside has the smaller hop on the inside: the inside router's errors must reach the server translated, or
// nothing large gets in. TestPathMTU has it outside.
func TestPathMTUInside(t *testing.T) {
	needLab(t)
	l := newBehind(t, "")
	must(t, l.client.SetMTU(hostLink, hopMTU)) // the host's own end stays larger, so that it promises what the hop can't carry
	for _, e := range behindFamilies {
		t.Run(e.name+"/ping", func(t *testing.T) {
			toOwn := e.ends
			toOwn.server = e.own
			pingTooBig(t, l.server, toOwn)
		})
		t.Run(e.name+"/told", func(t *testing.T) {
			sent := testpkt.UDP{Src: netip.AddrPortFrom(e.server, 40011), Dst: netip.AddrPortFrom(e.own, 40012), DF: true, TTL: 64,
				Payload: make([]byte, 1430)}.Bytes()
			must(t, l.server.Inject("wan0", sent))
			want := icmpError{kind: tooBig, from: e.wan, to: e.server, mtu: hopMTU, quote: sent, hops: 1}
			want.mustArrive(t, l.outside)
		})
		t.Run(e.name+"/TCP to a port forward", func(t *testing.T) { l.uploads(t, e) })
	}
}

// uploadBytes is far more than what the first window holds.
const uploadBytes = 1 << 20

// uploads sends bytes from the server to a port forward; the host answers how many it got.
func (l *behind) uploads(t *testing.T, e behindEnds) {
	listening, err := l.host.Listen(netip.AddrPortFrom(e.shared.Addr(), 80))
	must(t, err)
	endAfter(t, toolTimeout, listening)
	go func() {
		c, err := listening.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		n, _ := io.Copy(io.Discard, io.LimitReader(c, uploadBytes)) // the number tells
		_ = binary.Write(c, binary.BigEndian, n)                    // what is missing, the other end misses
	}()
	c, err := l.server.Dial(t.Context(), "tcp", netip.AddrPortFrom(e.wan, 8081))
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(toolTimeout)))
	if _, err := c.Write(make([]byte, uploadBytes)); err != nil {
		t.Fatal(err)
	}
	var got int64
	if err := binary.Read(c, binary.BigEndian, &got); err != nil || got != uploadBytes {
		t.Errorf("%d of %d bytes arrived: %v", got, uploadBytes, err)
	}
}
