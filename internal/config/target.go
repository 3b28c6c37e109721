package config

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/natrouter/natrouter/router/conntrack"
)

// target is one element of a rule's "to".
type target struct {
	text  string
	addrs conntrack.AddrRange // First invalid: ports alone
	ports conntrack.PortRange // First 0: none
	line  int
}

func (t target) hasAddr() bool  { return t.addrs.First.IsValid() }
func (t target) hasPorts() bool { return t.ports.First != 0 }
func (t target) single() bool   { return t.addrs.First == t.addrs.Last }

// parseTarget reads "addr", "addr:port", "addr:port-port", "[v6]:port", ":port", a network or a range.
func parseTarget(s string) (target, error) {
	t := target{text: s}
	host, ports, hasPorts := splitTarget(s)
	var err error
	if hasPorts {
		if t.ports, err = parsePorts(ports); err != nil {
			return t, fmt.Errorf("in %q: %w", s, err)
		}
		if host == "" {
			return t, nil
		}
		var a netip.Addr
		if a, err = parseAddr(host); err != nil {
			return t, fmt.Errorf("in %q: %w", s, err)
		}
		t.addrs = conntrack.AddrRange{First: a, Last: a}
		return t, nil
	}
	if t.addrs, err = parseAddrRange(host); err != nil {
		if _, portErr := parsePorts(s); portErr == nil {
			err = fmt.Errorf("%q is a port without the colon: write %q", s, ":"+s)
		}
	}
	return t, err
}

// splitTarget cuts the ports off. An IPv6 address with ports stands in brackets (RFC 3986, section 3.2.2).
func splitTarget(s string) (host, ports string, hasPorts bool) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		if host, after, ok := strings.Cut(rest, "]"); ok {
			if ports, ok := strings.CutPrefix(after, ":"); ok {
				return host, ports, true
			}
			if after == "" {
				return host, "", false
			}
		}
		return s, "", false
	}
	if strings.Count(s, ":") == 1 {
		return strings.Cut(s, ":")
	}
	return s, "", false
}
