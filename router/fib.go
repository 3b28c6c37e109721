package router

import (
	"net/netip"

	"github.com/gaissmai/bart"

	"github.com/natrouter/natrouter/router/packet"
)

// fib is the forwarding table: which interface a destination is behind. netstack is given the same routes and
// decides for first packets; the fib answers what is asked before that (no route, reverse path, directed
// broadcasts) without an allocation. It is made once and then only read.
type fib struct {
	routes     bart.Table[*netInterface]
	broadcasts map[[4]byte]bool    // directed broadcast addresses of connected IPv4 prefixes (RFC 2644)
	own        map[netip.Addr]bool // addresses of the interfaces
}

func newFIB(cfg *Config, interfaces map[string]*netInterface) *fib {
	f := &fib{broadcasts: map[[4]byte]bool{}, own: map[netip.Addr]bool{}}
	for i := range cfg.Interfaces {
		for _, prefix := range cfg.Interfaces[i].Address {
			f.routes.Insert(prefix.Masked(), interfaces[cfg.Interfaces[i].Name])
			f.own[prefix.Addr()] = true
			if b, ok := directedBroadcast(prefix); ok {
				f.broadcasts[b] = true
			}
		}
	}
	for _, route := range cfg.Routes {
		f.routes.Insert(route.To.Masked(), interfaces[route.Interface])
	}
	return f
}

// directedBroadcast returns the last address of an IPv4 prefix; ok is false where it is an ordinary one (RFC 3021).
func directedBroadcast(prefix netip.Prefix) (last [4]byte, ok bool) {
	if !prefix.Addr().Is4() || prefix.Bits() > 30 {
		return last, false
	}
	last = prefix.Masked().Addr().As4()
	for bit := prefix.Bits(); bit < 32; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	return last, true
}

// refusesTo returns why nothing is forwarded to an address, whatever its route; NotDropped: it may be.
func (f *fib) refusesTo(to netip.Addr) packet.DropReason {
	switch {
	case !mayReceive(to):
		return packet.BadAddress
	case to.IsMulticast(), to.IsLinkLocalUnicast(), to == limitedBroadcast, f.broadcast(to):
		return packet.ProhibitedForward
	}
	return packet.NotDropped
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255}) // RFC 919, section 7

// broadcast reports whether an address is the broadcast address of a connected network (RFC 2644).
func (f *fib) broadcast(a netip.Addr) bool { return a.Is4() && f.broadcasts[a.As4()] }

// lookup returns the interface that addr is behind, nil where there is no route.
func (f *fib) lookup(addr netip.Addr) *netInterface {
	nif, _ := f.routes.Lookup(addr)
	return nif
}

// addrOf returns the address in 4 or 16 bytes of a packet.
func addrOf(b []byte) netip.Addr {
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// addresses returns source and destination of p as they stand in it now: bytes of the packet itself.
func addresses(b []byte, h *packet.Headers) (src, dst []byte) {
	if h.Family == 4 {
		return b[12:16], b[16:20]
	}
	return b[8:24], b[24:40]
}
