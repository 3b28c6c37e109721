package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/natrouter/natrouter/router/conntrack"
)

// parsePorts reads "80" or "1024-65535".
func parsePorts(s string) (conntrack.PortRange, error) {
	from, to, ranged := strings.Cut(s, "-")
	first, ok := parsePort(from)
	last := first
	if ranged && ok {
		last, ok = parsePort(to)
	}
	switch {
	case !ok && strings.Contains(s, ","):
		return conntrack.PortRange{}, fmt.Errorf(`%q is not a port: write a list, as in ["80", "443"]`, s)
	case !ok:
		return conntrack.PortRange{}, fmt.Errorf(`%q is not a port: write a number from 1 to 65535, or a range as in "8000-8099"`, s)
	case first > last:
		return conntrack.PortRange{}, fmt.Errorf(`port range %q runs backwards: write "%d-%d"`, s, last, first)
	}
	return conntrack.PortRange{First: first, Last: last}, nil
}

// parsePort reads a port number. Port 0 is reserved (RFC 6335, section 6): no service has it.
func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0
}

func formatPorts(r conntrack.PortRange) string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}
