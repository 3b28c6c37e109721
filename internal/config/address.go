package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/ruleset"
)

// parseAddr reads one address.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, fmt.Errorf(`%q is not an address: write one as in "10.77.0.1" or "fd77::1"`, s)
	case a.Zone() != "":
		return a, fmt.Errorf("%q has a zone: write %q", s, a.WithZone(""))
	case a.Is4In6():
		return a, fmt.Errorf("%q is an IPv4 address in IPv6: write %q", s, a.Unmap())
	}
	return a, nil
}

// parsePrefix reads an address with the length of its prefix; bits after the prefix may be set.
func parsePrefix(s string) (netip.Prefix, error) {
	addr, length, found := strings.Cut(s, "/")
	a, err := parseAddr(addr)
	if err != nil {
		return netip.Prefix{}, err
	}
	if !found {
		return netip.Prefix{}, fmt.Errorf(`%q has no prefix length: write %q for a network, or %q for this address alone`,
			s, netip.PrefixFrom(a, usualBits(a)), netip.PrefixFrom(a, a.BitLen()))
	}
	p, err := netip.ParsePrefix(s)
	if err == nil {
		return p, nil
	}
	if mask, err := netip.ParseAddr(length); err == nil && mask.Is4() && a.Is4() {
		if ones, bits := net.IPMask(mask.AsSlice()).Size(); bits != 0 {
			return p, fmt.Errorf(`%q has a netmask: write "%s/%d"`, s, a, ones)
		}
	}
	return p, fmt.Errorf("%q has no prefix length from 0 to %d: write one as in %q", s, a.BitLen(),
		netip.PrefixFrom(a, usualBits(a)))
}

// usualBits is the prefix length of a network as most have it: RFC 4291, section 2.5.1 for IPv6.
func usualBits(a netip.Addr) int {
	if a.Is4() {
		return 24
	}
	return 64
}

// parseNetwork reads a prefix none of whose later bits are set.
func parseNetwork(s string) (netip.Prefix, error) {
	p, err := parsePrefix(s)
	if err == nil && p != p.Masked() {
		err = fmt.Errorf("%q has bits set after its prefix: write %q for the network, or %q for the address", s, p.Masked(),
			netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
	}
	return p, err
}

// parseAddrRange reads an address, a network or "first-last".
func parseAddrRange(s string) (conntrack.AddrRange, error) {
	if strings.Contains(s, "/") {
		p, err := parseNetwork(s)
		if err != nil {
			return conntrack.AddrRange{}, err
		}
		return conntrack.AddrRange(ruleset.SpanOf(p)), nil
	}
	from, to, ranged := strings.Cut(s, "-")
	first, err := parseAddr(from)
	if err != nil && !ranged {
		return conntrack.AddrRange{}, fmt.Errorf(
			`%q is not an address: write an address, a network or a range, as in "10.77.0.1", "10.77.0.0/16" or "10.77.0.1-10.77.0.9"`, s)
	}
	last := first
	if err == nil && ranged {
		last, err = parseAddr(to)
	}
	switch {
	case err != nil:
		return conntrack.AddrRange{}, err
	case first.BitLen() != last.BitLen():
		return conntrack.AddrRange{}, fmt.Errorf("range %q has ends of two families: write one range for IPv4 and one for IPv6", s)
	case last.Less(first):
		return conntrack.AddrRange{}, fmt.Errorf("range %q runs backwards: write \"%s-%s\"", s, last, first)
	}
	return conntrack.AddrRange{First: first, Last: last}, nil
}
