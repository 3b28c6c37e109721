package router

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

var newWAN = addr("203.0.113.9")

// readdress gives wan0 another IPv4 address.
func (n *network) readdress() {
	n.t.Helper()
	if err := n.r.SetAddresses("wan0", prefixes("203.0.113.9/24", "2001:db8:113::1/64")); err != nil {
		n.t.Fatal(err)
	}
}

// TestSetAddresses: flows of before get the new address, or keep the old one where the rule says so; new ones get the
// new one, and what comes to the old address from others finds nothing.
func TestSetAddresses(t *testing.T) {
	for name, keep := range map[string]bool{"flush": false, "keep": true} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.NAT[0].KeepOnChange = keep
			n := newNetwork(t, cfg)
			out := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()
			out6 := testpkt.UDP{Src: port(client6, 5000), Dst: port(server6, 53)}.Bytes()
			back := testpkt.UDP{Src: port(server4, 53), Dst: port(wan4, 5000)}.Bytes()
			n.one(n.send("lan0", out), "wan0")
			n.one(n.send("wan0", back), "lan0")
			n.one(n.send("lan0", out6), "wan0")
			before, generation := n.r.table.Len(), n.r.generation

			n.readdress()

			want := map[bool]netip.Addr{false: newWAN, true: wan4}[keep]
			if ended := before - n.r.table.Len(); ended != map[bool]int{false: 1, true: 0}[keep] {
				t.Errorf("%d connections ended", ended)
			}
			if got := n.r.Status().Mappings; got != map[bool]int{false: 1, true: 2}[keep] {
				t.Errorf("%d mappings are left", got)
			}
			if n.r.generation == generation {
				t.Error("connections keep their routes of before")
			}
			if keep {
				n.one(n.send("wan0", back), "lan0")
			} else {
				n.dropped(n.send("wan0", back), packet.NoMapping)
			}
			if got := endpoints(t, n.one(n.send("lan0", out), "wan0")); got.src != port(want, 5000) {
				t.Errorf("the flow leaves from %s, want %s", got.src, want)
			}
			other := testpkt.UDP{Src: port(other4, 6000), Dst: port(server4, 53)}.Bytes()
			if got := endpoints(t, n.one(n.send("lan0", other), "wan0")); got.src.Addr() != newWAN {
				t.Errorf("a new flow leaves from %s", got.src)
			}
			if got := endpoints(t, n.one(n.send("lan0", out6), "wan0")); got.src != port(wan6, 5000) {
				t.Errorf("IPv6 leaves from %s: its address did not change", got.src)
			}
			if got := n.r.Status().Interfaces[1].Addresses[0]; got != "203.0.113.9/24" {
				t.Errorf("status shows %s", got)
			}
		})
	}
}

// TestSetAddressesOwn: the router answers on the new address only, and the old prefix is no longer routed to the
// interface.
func TestSetAddressesOwn(t *testing.T) {
	n := newNetwork(t, testConfig())
	ping := func(from, to string) []byte { return testpkt.Echo{Src: addr(from), Dst: addr(to), ID: 7}.Bytes() }
	n.one(n.send("lan0", ping("10.77.0.2", "10.77.0.1")), "lan0")
	if err := n.r.SetAddresses("lan0", prefixes("10.88.0.1/24")); err != nil {
		t.Fatal(err)
	}
	n.one(n.send("lan0", ping("10.88.0.2", "10.88.0.1")), "lan0")
	n.dropped(n.send("lan0", ping("10.77.0.2", "10.77.0.1")), packet.ReversePath)
	n.dropped(n.send("lan0", ping("10.88.0.2", "10.88.0.255")), packet.ProhibitedForward)
	if n.r.table.Len() != 1 {
		t.Errorf("%d connections, want the new ping's only", n.r.table.Len())
	}
}

func TestSetAddressesRefuses(t *testing.T) {
	cfg := testConfig()
	cfg.Interfaces = append(cfg.Interfaces, Interface{Name: "old0", Side: Inside, MTU: 1000, Address: prefixes("10.99.0.1/24")})
	n := newNetwork(t, cfg)
	before := n.r.Status().Interfaces
	for name, tt := range map[string]struct {
		iface string
		addrs []netip.Prefix
	}{
		"no such interface":     {"wan1", prefixes("203.0.113.9/24")},
		"another's address":     {"wan0", prefixes("203.0.113.9/24", "10.77.0.1/24")},
		"twice":                 {"wan0", prefixes("203.0.113.9/24", "203.0.113.9/25")},
		"multicast":             {"wan0", prefixes("224.0.0.1/24")},
		"the zero prefix":       {"wan0", []netip.Prefix{{}}},
		"IPv6 on too small MTU": {"old0", prefixes("2001:db8:9::1/64")},
	} {
		if err := n.r.SetAddresses(tt.iface, tt.addrs); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for i, nif := range n.r.Status().Interfaces {
		if len(nif.Addresses) != len(before[i].Addresses) || nif.Addresses[0] != before[i].Addresses[0] {
			t.Errorf("%s has %v after refusals", nif.Name, nif.Addresses)
		}
	}
	if n.r.generation != 1 {
		t.Errorf("generation %d", n.r.generation)
	}
}

// TestSetAddressesLocalSocket: a socket that is bound to an address which is gone sends nothing.
func TestSetAddressesLocalSocket(t *testing.T) {
	cfg := testConfig()
	cfg.Filter.Input = InputAccept
	n := newNetwork(t, cfg)
	c, err := gonet.DialUDP(n.r.Stack(), &tcpip.FullAddress{Addr: tcpip.AddrFrom4(wan4.As4()), Port: 9},
		&tcpip.FullAddress{Addr: tcpip.AddrFrom4(server4.As4()), Port: 10}, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("before")); err != nil {
		t.Fatal(err)
	}
	n.one(n.collect(), "wan0")
	n.readdress()
	if n.r.table.Len() != 0 {
		t.Errorf("%d connections of the old address are left", n.r.table.Len())
	}
	_, err = c.Write([]byte("after"))
	if out := n.collect(); err == nil || len(out["wan0"])+len(out["lan0"]) != 0 {
		t.Errorf("%d packets left after the change, error %v", len(out["wan0"]), err)
	}
}

// watch is a queue that counts what leaves from an old address after it is gone.
type watch struct {
	sink
	gone        atomic.Bool
	late, fresh int
}

func (w *watch) Write(frames []tun.Frame) (int, error) {
	gone := w.gone.Load()
	for i := range frames {
		switch src := netip.AddrFrom4([4]byte(frames[i].Bytes()[12:])); {
		case gone && src == wan4:
			w.late++
		case src == newWAN:
			w.fresh++
		}
	}
	return len(frames), nil
}

// TestSetAddressesUnderTraffic: with a lane that does not stop, nothing leaves from the old address once SetAddresses has
// returned, by the fast path neither.
func TestSetAddressesUnderTraffic(t *testing.T) {
	n := newNetwork(t, testConfig())
	w := &watch{}
	out := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes()
	n.one(n.send("lan0", out), "wan0")
	n.one(n.send("wan0", testpkt.UDP{Src: port(server4, 53), Dst: port(wan4, 5000)}.Bytes()), "lan0")
	n.r.interfaces[1].queues[0].queue = w
	l := n.lane("lan0")
	var lane sync.WaitGroup
	var rounds atomic.Int64
	stop := make(chan struct{})
	lane.Go(func() {
		frames := []tun.Frame{frame(out, packet.Meta{})}
		for flow := uint16(0); ; flow++ {
			select {
			case <-stop:
				return
			default:
			}
			b := out
			if flow%4 == 0 { // a new flow now and then
				b = testpkt.UDP{Src: port(other4, 1024+flow%1000), Dst: port(server4, 53)}.Bytes()
			}
			frames[0].Off, frames[0].Len, frames[0].Meta = headroom, copy(frames[0].Buf[headroom:], b), packet.Meta{}
			l.handle(frames)
			rounds.Add(1)
		}
	})
	ahead := func(more int64) {
		for end := rounds.Load() + more; rounds.Load() < end; {
			runtime.Gosched()
		}
	}
	ahead(100)
	n.readdress()
	w.gone.Store(true)
	ahead(100)
	close(stop)
	lane.Wait()
	if w.late != 0 || w.fresh == 0 {
		t.Errorf("%d packets left from the old address after it was gone, %d from the new one", w.late, w.fresh)
	}
}
