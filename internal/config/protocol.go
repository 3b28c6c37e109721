package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/natrouter/natrouter/router/ruleset"
)

func protocolNames(ports bool) []string {
	var names []string
	for _, p := range ruleset.Protocols {
		if p.Ports || !ports {
			names = append(names, p.Name)
		}
	}
	return names
}

// parseProtocol reads a name or a number from 1 to 255; 0 stands for any in a rule, which is to leave the key out.
func parseProtocol(s string) (uint8, error) {
	for _, p := range ruleset.Protocols {
		if p.Name == s {
			return p.Number, nil
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
	return 0, fmt.Errorf("%q is no protocol name and no number from 1 to 255: %s", s, ruleset.Suggest(s, protocolNames(false)))
}

// errInverted says so in the words of the kernel's CT target, which users of helper rules know.
var errInverted = fmt.Errorf("%s: write one protocol, as in %q", needProtocol, "tcp")

const needProtocol = "You must specify a L4 protocol and not use inversions on it"
