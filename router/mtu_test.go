package router

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// TestEveryMTU: packets of both families around the MTU, through interfaces of every MTU from 68 to 65535. What comes
// out fits, arrives whole, or was answered; nothing panics. (netstack panics when it forwards IPv6 to a NIC with an
// MTU below 1280, or IPv4 below 68.)
func TestEveryMTU(t *testing.T) {
	for mtu := 68; mtu <= 65535; mtu += 1 + mtu/16*boolInt(mtu > 1600) {
		cfg := testConfig()
		cfg.Interfaces[1].MTU = mtu
		if mtu%7 != 0 && mtu > 100 && mtu < 1200 && mtu%40 != 0 {
			continue // every value near the edges, samples between
		}
		n := newNetwork(t, cfg, func(p *tun.PairConfig) { p.Depth = 2048 })
		for _, tt := range []struct {
			src, dst netip.Addr
			header   int
		}{{client4, server4, 28}, {client6, server6, 48}} {
			for _, size := range []int{mtu - 1, mtu, mtu + 1, 3 * mtu} {
				if size > 65535 || size < tt.header {
					continue
				}
				checkFit(t, n, mtu, testpkt.UDP{Src: port(tt.src, 5000), Dst: port(tt.dst, 53), Payload: pattern(size - tt.header)}.Bytes())
			}
		}
		if got := n.drops()[packet.NetstackPanic.String()]; got != 0 {
			t.Fatalf("MTU %d: %d panics", mtu, got)
		}
		for _, w := range n.r.workers {
			w.stack.close()
		}
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

func checkFit(t *testing.T, n *network, mtu int, sent []byte) {
	t.Helper()
	out := n.send("lan0", sent)
	h, _ := packet.Parse(sent)
	if h.Family == 6 && len(sent) > mtu {
		if len(out["lan0"]) != 1 || len(out["wan0"]) != 0 {
			t.Fatalf("MTU %d: IPv6 of %d bytes: %d answers, %d packets", mtu, len(sent), len(out["lan0"]), len(out["wan0"]))
		}
		return
	}
	var payload []byte
	for i := range out["wan0"] {
		b := out["wan0"][i].Bytes()
		if len(b) > mtu {
			t.Fatalf("MTU %d: a packet of %d bytes", mtu, len(b))
		}
		if err := testpkt.Verify(b); err != nil {
			t.Fatalf("MTU %d: %v", mtu, err)
		}
		payload = append(payload, b[int(b[0]&15)*4*boolInt(h.Family == 4)+40*boolInt(h.Family == 6):]...)
	}
	if want := sent[h.Payload:]; len(payload) < 8 || !bytes.Equal(payload[8:], want) {
		t.Fatalf("MTU %d: IPv%d of %d bytes came out as %d bytes in %d packets", mtu, h.Family, len(sent), len(payload), len(out["wan0"]))
	}
}

// TestReassembled: fragments of either order go out as fragments no larger than they came, translated; DF on
// fragments larger than the MTU is answered.
func TestReassembled(t *testing.T) {
	for _, tt := range []struct{ from, to, wan netip.Addr }{{client4, server4, wan4}, {client6, server6, wan6}} {
		for _, reverse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s reverse %v", tt.from, reverse), func(t *testing.T) {
				n := newNetwork(t, testConfig())
				whole := testpkt.UDP{Src: port(tt.from, 5000), Dst: port(tt.to, 53), ID: 5, Payload: pattern(4000)}.Bytes()
				frags := testpkt.Fragments(whole, 1280, 77)
				if reverse {
					for i, j := 0, len(frags)-1; i < j; i, j = i+1, j-1 {
						frags[i], frags[j] = frags[j], frags[i]
					}
				}
				out := n.send("lan0", frags...)
				back := newNetwork(t, testConfig()) // reassembles what came out
				var buf [70000]byte
				total := 0
				for i := range out["wan0"] {
					b := out["wan0"][i].Bytes()
					if len(b) > 1280 {
						t.Errorf("a fragment of %d bytes", len(b))
					}
					h, reason := packet.Parse(b)
					if reason != packet.NotDropped {
						t.Fatal(reason)
					}
					if src, _ := addresses(b, &h); addrOf(src) != tt.wan {
						t.Errorf("source %s outside", addrOf(src))
					}
					total, _, _, reason = back.r.fragments.Add(0, 0, b, &h, buf[:])
					if reason != packet.NotDropped {
						t.Fatal(reason)
					}
				}
				if total == 0 {
					t.Fatalf("not whole after %d fragments; drops %v", len(out["wan0"]), n.drops())
				}
				if err := testpkt.Verify(buf[:total]); err != nil {
					t.Error(err)
				}
				if !bytes.Equal(buf[total-4000:total], pattern(4000)) {
					t.Error("payload changed")
				}
			})
		}
	}
}

// TestFragmentTimeout: a datagram whose first fragment came is answered with time exceeded, code 1.
func TestFragmentTimeout(t *testing.T) {
	n := newNetwork(t, testConfig())
	first := testpkt.Fragments(testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), ID: 5, Payload: pattern(3000)}.Bytes(), 1500, 77)[0]
	if out := n.send("lan0", first); len(out["lan0"])+len(out["wan0"]) != 0 {
		t.Fatal("a fragment went on alone")
	}
	n.tick(31e9)
	got := n.one(n.collect(), "lan0")
	checkError(t, got, first, lan4, client4, [2]uint8{11, 1}, [2]uint8{3, 1})
	n.reason(packet.FragmentTimeout)
}

// TestFragmentStale: the second fragment of a datagram is lost; the next with its identification goes on whole, and the
// lost one is counted.
func TestFragmentStale(t *testing.T) {
	n := newNetwork(t, testConfig())
	datagram := func(fill byte) [][]byte {
		return testpkt.Fragments(testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), ID: 5, Payload: bytes.Repeat([]byte{fill}, 2000)}.Bytes(), 1500, 77)
	}
	out := n.send("lan0", append(datagram(1)[:1], datagram(2)...)...)
	if got := putTogether(t, out["wan0"]); len(got) != 2028 || got[2027] != 2 {
		t.Errorf("%d bytes came out, want the second datagram", len(got))
	}
	n.reason(packet.FragmentStale)
}

// TestDeviceErrors: whatever a device returns is counted, and what comes after goes on.
func TestDeviceErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want packet.DropReason
	}{
		{tun.ErrFull, packet.QueueFull}, {tun.ErrDown, packet.DeviceDown}, {tun.ErrGone, packet.DeviceDown},
		{tun.ErrRefused, packet.DeviceError}, {tun.ErrFrame, packet.DeviceError}, {fmt.Errorf("odd"), packet.DeviceError},
		{tcpError{&tcpip.ErrNoBufferSpace{}}, packet.DeviceError}, {tcpError{&tcpip.ErrMessageTooLong{}}, packet.DeviceError},
		{tcpError{&tcpip.ErrHostUnreachable{}}, packet.DeviceError}, {tcpError{&tcpip.ErrClosedForSend{}}, packet.DeviceError},
	} {
		fail := true
		n := newNetwork(t, testConfig(), func(p *tun.PairConfig) {
			p.A.WriteError = func() error {
				if fail {
					return tt.err
				}
				return nil
			}
		})
		n.lane("lan0").handle([]tun.Frame{frame(testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes(), packet.Meta{})})
		n.lane("wan0").handle([]tun.Frame{frame(testpkt.Echo{Src: server4, Dst: wan4, ID: 1}.Bytes(), packet.Meta{})}) // netstack's answer
		if got := n.drops(); got[tt.want.String()] != 2 || len(got) != 1 {
			t.Errorf("%v: drops %v, want two %s", tt.err, got, tt.want)
		}
		fail = false
		n.one(n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()), "wan0")
	}
}

// tcpError is one of netstack's errors in a device's answer.
type tcpError struct{ err tcpip.Error }

func (e tcpError) Error() string { return e.err.String() }
