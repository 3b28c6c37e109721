package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/natrouter/natrouter/router/packet"
)

// protocols are the names of the IANA protocol numbers that a rule may use; others are written as numbers.
var protocols = []struct {
	name   string
	number uint8
	ports  bool
}{
	{"tcp", packet.ProtoTCP, true},
	{"udp", packet.ProtoUDP, true},
	{"udplite", packet.ProtoUDPLite, true},
	{"sctp", packet.ProtoSCTP, true},
	{"dccp", packet.ProtoDCCP, true},
	{"icmp", packet.ProtoICMP, false},
	{"icmpv6", packet.ProtoICMPv6, false},
	{"gre", packet.ProtoGRE, false},
	{"esp", packet.ProtoESP, false},
	{"ah", packet.ProtoAH, false},
	{"ipip", 4, false},
	{"ipv6", packet.ProtoIPv6, false},
}

func protocolNames(ports bool) []string {
	var names []string
	for _, p := range protocols {
		if p.ports || !ports {
			names = append(names, p.name)
		}
	}
	return names
}

// parseProtocol reads a name or a number from 1 to 255; 0 stands for any in a rule, which is to leave the key out.
func parseProtocol(s string) (uint8, error) {
	for _, p := range protocols {
		if p.name == s {
			return p.number, nil
		}
	}
	if n, err := strconv.ParseUint(s, 10, 8); err == nil && n > 0 {
		return uint8(n), nil
	}
	switch {
	case strings.HasPrefix(s, "!"):
		return 0, errInverted
	case s == "any" || s == "all" || s == "0":
		return 0, fmt.Errorf("%q is no protocol: leave the key out for all protocols", s)
	case s == "ping" || s == "icmp6" || s == "ipv6-icmp":
		return 0, fmt.Errorf(`%q is no protocol name here: write "icmp" for IPv4 or "icmpv6" for IPv6`, s)
	}
	return 0, fmt.Errorf("%q is no protocol name and no number from 1 to 255: %s", s, suggest(s, protocolNames(false)))
}

// errInverted says so in the words of the kernel's CT target, which users of helper rules know.
var errInverted = fmt.Errorf("%s: write one protocol, as in %q", needProtocol, "tcp")

const needProtocol = "You must specify a L4 protocol and not use inversions on it"

func formatProtocol(n uint8) string {
	for _, p := range protocols {
		if p.number == n {
			return p.name
		}
	}
	return strconv.Itoa(int(n))
}

// hasPorts reports whether a protocol has ports.
func hasPorts(n uint8) bool {
	return slices.ContainsFunc(protocols, func(p struct {
		name   string
		number uint8
		ports  bool
	}) bool {
		return p.number == n && p.ports
	})
}

// protocolFamilies says in which families a protocol exists; the zero value for both and for none.
func protocolFamilies(n uint8) families {
	switch n {
	case packet.ProtoICMP:
		return families{v4: true}
	case packet.ProtoICMPv6:
		return families{v6: true}
	}
	return families{}
}
