package router

import (
	"fmt"
	"math"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/natrouter/natrouter/router/packet"
)

// internalNIC has all of the router's own addresses, as /32 and /128; the NICs of the interfaces have none. So
// netstack makes no ICMP errors about transit packets (they would quote the packet between DNAT and SNAT), and
// answers of the router itself are routed by destination. Interface i is NIC i+2.
const internalNIC tcpip.NICID = 1

func nicOf(nif *netInterface) tcpip.NICID { return tcpip.NICID(nif.index) + 2 }

// Addresses that the internal NIC has besides the router's own: netstack routes a family only if it has some
// address of it. The dummy addresses of RFC 7600, section 4.8, and RFC 9780: never in a packet that is forwarded.
var dummyAddresses = []netip.Addr{netip.MustParseAddr("192.0.0.8"), netip.MustParseAddr("100:0:0:1::1")}

// minNICMTU is the least MTU that netstack is told: it panics on IPv6 below it. The true MTU is the mtu hook's.
const minNICMTU = header.IPv6MinimumMTU

// netstack is one worker's gVisor stack: it routes first packets, and on the first worker it is the router's own
// host. Transit packets never leave through it: the route is taken from the forward hook and the packet goes on
// in our own pipeline, so that netstack neither copies it, nor fragments it, nor answers for it.
type netstack struct {
	stack    *stack.Stack
	links    map[tcpip.NICID]*link
	mu       sync.Mutex // guards current: one transit packet at a time
	current  *routing
	byNIC    map[tcpip.NICID]*netInterface
	panicked func(any)
}

// routing is the transit packet that netstack is asked about.
type routing struct {
	out *netInterface
}

// newNetstack makes the stack of one worker. output gets what netstack itself sends; nil: nothing is sent.
func newNetstack(r *Router, output func(*netInterface, *stack.PacketBuffer)) (*netstack, error) {
	n := &netstack{links: map[tcpip.NICID]*link{}, byNIC: map[tcpip.NICID]*netInterface{}, panicked: r.netstackPanicked}
	n.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			ipv4.NewProtocolWithOptions(ipv4.Options{IGMP: ipv4.IGMPOptions{Enabled: false}}),
			// No DAD, no router solicitations, no MLD: a TUN has no neighbours to ask.
			ipv6.NewProtocolWithOptions(ipv6.Options{MLD: ipv6.MLDOptions{Enabled: false}}),
		},
		TransportProtocols: []stack.TransportProtocolFactory{
			icmp.NewProtocol4, icmp.NewProtocol6, tcp.NewProtocol, udp.NewProtocol,
		},
		Clock: r.clock, NFTables: forwardHook{n}, RandSource: r.random.source(), SecureRNG: r.random.reader(),
	})
	n.stack.SetNFTablesConfigured(true)
	n.stack.SetICMPLimit(math.MaxFloat64) // none: its errors take the output list, and there ours
	if err := n.addNIC(internalNIC, minNICMTU, nil, nil); err != nil {
		return nil, err
	}
	for _, nif := range r.interfaces {
		n.byNIC[nicOf(nif)] = nif
		if err := n.addNIC(nicOf(nif), uint32(nif.mtu), nif, output); err != nil {
			return nil, err
		}
	}
	for _, addr := range append(r.own.all(), dummyAddresses...) {
		if err := n.addAddress(addr); err != nil {
			return nil, err
		}
	}
	n.stack.SetRouteTable(netstackRoutes(r))
	for _, family := range []tcpip.NetworkProtocolNumber{ipv4.ProtocolNumber, ipv6.ProtocolNumber} {
		if err := n.stack.SetForwardingDefaultAndAllNICs(family, true); err != nil {
			return nil, fmt.Errorf("netstack: enable forwarding: %s", err)
		}
	}
	return n, nil
}

func (n *netstack) addNIC(id tcpip.NICID, mtu uint32, nif *netInterface, output func(*netInterface, *stack.PacketBuffer)) error {
	l := &link{mtu: max(mtu, minNICMTU), nif: nif, output: output}
	n.links[id] = l
	if err := n.stack.CreateNIC(id, l); err != nil {
		return fmt.Errorf("netstack: create NIC %d: %s", id, err)
	}
	return nil
}

func (n *netstack) addAddress(addr netip.Addr) error {
	proto := tcpip.NetworkProtocolNumber(ipv4.ProtocolNumber)
	if addr.Is6() {
		proto = ipv6.ProtocolNumber
	}
	address := tcpip.ProtocolAddress{Protocol: proto, AddressWithPrefix: tcpip.AddressWithPrefix{
		Address: tcpip.AddrFromSlice(addr.AsSlice()), PrefixLen: addr.BitLen(),
	}}
	if err := n.stack.AddProtocolAddress(internalNIC, address, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("netstack: add address %s: %s", addr, err)
	}
	return nil
}

// netstackRoutes are the routes of the fib, as netstack wants them.
func netstackRoutes(r *Router) []tcpip.Route {
	var routes []tcpip.Route
	for prefix, nif := range r.fib.routes.All() {
		subnet := tcpip.AddressWithPrefix{
			Address: tcpip.AddrFromSlice(prefix.Addr().AsSlice()), PrefixLen: prefix.Bits(),
		}.Subnet()
		routes = append(routes, tcpip.Route{Destination: subnet, NIC: nicOf(nif)})
	}
	return routes
}

// route asks for the egress interface of p, whose destination the fib knows, and sets p.out.
func (n *netstack) route(p *Packet) packet.DropReason {
	n.mu.Lock()
	defer n.mu.Unlock()
	var asked routing
	n.current = &asked
	ok := n.inject(nicOf(p.in), p)
	n.current = nil
	switch {
	case !ok:
		return packet.NetstackPanic
	case asked.out == nil:
		return packet.NetstackDropped
	}
	p.out = asked.out
	return packet.NotDropped
}

// deliver hands p to the router's own host.
func (n *netstack) deliver(p *Packet) packet.DropReason {
	if !n.inject(internalNIC, p) {
		return packet.NetstackPanic
	}
	return packet.NotDropped
}

// tell hands the router's own host an ICMP error that the router made for it.
func (n *netstack) tell(icmp []byte) {
	p := Packet{Bytes: icmp}
	if h, reason := packet.Parse(icmp); reason == packet.NotDropped {
		p.H = h
		n.inject(internalNIC, &p)
	}
}

// inject gives netstack a copy of p. It reports false where netstack panicked; it was seen to work on after that.
func (n *netstack) inject(nic tcpip.NICID, p *Packet) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			n.panicked(v)
			ok = false
		}
	}()
	buf := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(p.Bytes)})
	defer buf.DecRef()
	buf.RXChecksumValidated = true // by the verify hook, or by the kernel
	proto := tcpip.NetworkProtocolNumber(ipv4.ProtocolNumber)
	if p.H.Family == 6 {
		proto = ipv6.ProtocolNumber
	}
	n.links[nic].dispatcher.DeliverNetworkPacket(proto, buf)
	return true
}

// listens reports whether a socket on the router's own host would take p.
func (n *netstack) listens(p *Packet) bool {
	if p.H.Proto != packet.ProtoTCP && p.H.Proto != packet.ProtoUDP {
		return false
	}
	src, dst := addresses(p.Bytes, &p.H)
	proto := tcpip.NetworkProtocolNumber(ipv4.ProtocolNumber)
	if p.H.Family == 6 {
		proto = ipv6.ProtocolNumber
	}
	l4 := p.Bytes[p.H.L4:]
	return n.stack.FindTransportEndpoint(proto, tcpip.TransportProtocolNumber(p.H.Proto), stack.TransportEndpointID{
		LocalPort: uint16(l4[2])<<8 | uint16(l4[3]), LocalAddress: tcpip.AddrFromSlice(dst),
		RemotePort: uint16(l4[0])<<8 | uint16(l4[1]), RemoteAddress: tcpip.AddrFromSlice(src),
	}, internalNIC) != nil
}

// close ends the stack's sockets and goroutines.
func (n *netstack) close() { n.stack.Close() }

// forwardHook is the seam: netstack calls CheckForward, synchronously within route, with the route it found.
type forwardHook struct{ n *netstack }

var _ stack.NFTablesInterface = forwardHook{}

// CheckForward takes the decision and stops netstack there.
func (f forwardHook) CheckForward(_ *stack.PacketBuffer, route *stack.Route, _ stack.AddressFamily) bool {
	if f.n.current != nil && route != nil {
		f.n.current.out = f.n.byNIC[route.NICID()]
	}
	return false
}

// CheckPrerouting passes: our own ingress hooks have run.
func (forwardHook) CheckPrerouting(*stack.PacketBuffer, *stack.Route, stack.AddressFamily) bool {
	return true
}

// CheckInput passes: the input hook has decided.
func (forwardHook) CheckInput(*stack.PacketBuffer, *stack.Route, stack.AddressFamily) bool {
	return true
}

// CheckOutput passes: the output list begins at the link.
func (forwardHook) CheckOutput(*stack.PacketBuffer, *stack.Route, stack.AddressFamily) bool {
	return true
}

// CheckPostrouting passes, as CheckOutput.
func (forwardHook) CheckPostrouting(*stack.PacketBuffer, *stack.Route, stack.AddressFamily) bool {
	return true
}

// CheckIngress passes: netstack sees no packet before us.
func (forwardHook) CheckIngress(*stack.PacketBuffer, *stack.Route, stack.AddressFamily) bool {
	return true
}

// CheckEgress passes, as CheckOutput.
func (forwardHook) CheckEgress(*stack.PacketBuffer, *stack.Route, stack.AddressFamily) bool {
	return true
}

// link is a NIC's lower end. It never refuses a packet: netstack panics on errors that it does not know.
type link struct {
	mtu        uint32
	nif        *netInterface // nil: the internal NIC
	output     func(*netInterface, *stack.PacketBuffer)
	dispatcher stack.NetworkDispatcher
}

var _ stack.LinkEndpoint = (*link)(nil)

// WritePackets sends what netstack itself made down the output list.
func (l *link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	if l.nif != nil && l.output != nil {
		for _, pkt := range list.AsSlice() {
			l.output(l.nif, pkt)
		}
	}
	return list.Len(), nil
}

// MTU is never below what IPv6 needs.
func (l *link) MTU() uint32 { return l.mtu }

// SetMTU is not used: an interface's MTU is fixed when the router is made.
func (l *link) SetMTU(uint32) {}

// MaxHeaderLength is 0: a TUN has no link header.
func (l *link) MaxHeaderLength() uint16 { return 0 }

// LinkAddress is empty: a TUN has none.
func (l *link) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress does nothing.
func (l *link) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities: none. netstack computes the checksums of its own packets.
func (l *link) Capabilities() stack.LinkEndpointCapabilities { return 0 }

// Attach keeps where inject delivers to.
func (l *link) Attach(d stack.NetworkDispatcher) { l.dispatcher = d }

// IsAttached reports whether Attach was called.
func (l *link) IsAttached() bool { return l.dispatcher != nil }

// Wait returns at once: a link has no goroutine.
func (l *link) Wait() {}

// ARPHardwareType is that of a TUN.
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// AddHeader does nothing: no link header.
func (l *link) AddHeader(*stack.PacketBuffer) {}

// ParseHeader does nothing: no link header.
func (l *link) ParseHeader(*stack.PacketBuffer) bool { return true }

// Close does nothing: the device belongs to the router.
func (l *link) Close() {}

// SetOnCloseAction is not used.
func (l *link) SetOnCloseAction(func()) {}
