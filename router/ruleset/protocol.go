package ruleset

import "strconv"

// Protocols are the names of the IANA protocol numbers that rules are written with; others are written as numbers.
var Protocols = []struct {
	Name   string
	Number uint8
	Ports  bool // it has ports
}{
	{"tcp", 6, true},
	{"udp", 17, true},
	{"udplite", 136, true},
	{"sctp", 132, true},
	{"dccp", 33, true},
	{"icmp", 1, false},
	{"icmpv6", 58, false},
	{"gre", 47, false},
	{"esp", 50, false},
	{"ah", 51, false},
	{"ipip", 4, false},
	{"ipv6", 41, false},
}

// ProtocolName returns the name of a protocol, or its number.
func ProtocolName(number uint8) string {
	for _, p := range Protocols {
		if p.Number == number {
			return p.Name
		}
	}
	return strconv.Itoa(int(number))
}

// HasPorts reports whether a protocol has ports; 0, any, has not.
func HasPorts(number uint8) bool {
	for _, p := range Protocols {
		if p.Number == number {
			return p.Ports
		}
	}
	return false
}

// ProtocolFamilies returns the families that carry a protocol: ICMP belongs to IPv4, and ICMPv6 to IPv6 (RFC 792,
// RFC 4443).
func ProtocolFamilies(number uint8) Families {
	switch number {
	case 1:
		return Families{V4: true}
	case 58:
		return Families{V6: true}
	}
	return Both
}
