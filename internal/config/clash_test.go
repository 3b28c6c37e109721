package config

import (
	"errors"
	"testing"
)

// TestClashes: pools with the router's own addresses, rules of which one never applies, and networks of unequal size are
// refused with both lines. (The first two once were found only when the router started.)
func TestClashes(t *testing.T) {
	const sides = `[[interface]]
name = "lan0"
address = ["10.77.0.1/24", "fd77::1/64"]
[[interface]]
name = "wan0"
address = ["203.0.113.1/24", "2001:db8:113::1/64"]
[[nat]]
`
	for name, tt := range map[string]struct{ rules, want string }{
		"pool with the router's own address": {`action = "snat"
out = "wan0"
to = "203.0.113.0/28"`, "f:7: 203.0.113.0-203.0.113.15 has the router's own address 203.0.113.1 of wan0 (line 4)"},
		"pool with an inside address of the router's": {`action = "snat"
out = "wan0"
to = "10.77.0.0-10.77.0.9"`, "f:7: 10.77.0.0-10.77.0.9 has the router's own address 10.77.0.1 of lan0 (line 1)"},
		"two forwards of one port": {`action = "dnat"
in = "wan0"
protocol = "tcp"
port = 80
to = "10.77.0.2"
[[nat]]
action = "dnat"
in = "wan0"
protocol = "tcp"
port = 80
to = "10.77.0.3"`, "f:13: the rule never applies: an earlier one takes all that it is for (line 7)"},
		"two networks mapped to one": {`action = "netmap"
out = "wan0"
source = "10.77.1.0/24"
to = "198.51.100.0/24"
[[nat]]
action = "netmap"
out = "wan0"
source = "10.77.2.0/24"
to = "198.51.100.0/24"`, "f:12: 198.51.100.0-198.51.100.255 and 198.51.100.0-198.51.100.255 overlap, and one of them is mapped one to one (line 7)"},
		"networks of unequal size": {`action = "netmap"
out = "wan0"
source = "10.77.1.0/24"
to = "198.51.100.0/25"`, "f:11: netmap maps one to one, and 10.77.1.0/24 in source (line 10) and 198.51.100.0/25 differ in size: write two of the same length"},
		"prefixes of unequal length": {`action = "nptv6"
out = "wan0"
source = "fd77::/56"
to = "2001:db8:7::/48"`, "f:11: nptv6 maps one to one, and fd77::/56 in source (line 10) and 2001:db8:7::/48 differ in size: write two of the same length"},
	} {
		_, err := Parse("f", []byte(sides+tt.rules+"\n"))
		var list Errors
		if !errors.As(err, &list) || list.Error() != tt.want {
			t.Errorf("%s: got\n%v\nwant\n%s", name, err, tt.want)
		}
	}
}
