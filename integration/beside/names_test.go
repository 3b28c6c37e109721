package beside

import (
	"fmt"
	"net/netip"
	"strings"
)

// slots is how many scripts one router serves at a time: each has addresses of its own.
const slots = 200

// place is the addresses of one script, by the names that it uses.
type place struct {
	byName map[string]netip.Addr
	byAddr map[netip.Addr]string
	inside netip.Prefix // of a and b
}

// newPlace returns the addresses of a script in slot i.
func newPlace(i int, s *script) *place {
	p := &place{byName: map[string]netip.Addr{}, byAddr: map[netip.Addr]string{}}
	pattern := map[string]string{
		"a": "10.80.%d.2", "b": "10.80.%d.3", "pub": "203.0.113.%d",
		"lan": "10.77.0.1", "wan": "203.0.113.1", "x": "198.51.100.10", "y": "198.51.100.20", "z": "192.0.2.99",
	}
	if s.v6 {
		pattern = map[string]string{
			"a": "fd77:0:0:%x::2", "b": "fd77:0:0:%x::3", "pub": "2001:db8:113::%x",
			"lan": "fd77::1", "wan": "2001:db8:113::1", "x": "2001:db8:100::10", "y": "2001:db8:100::20", "z": "2001:db8:2::99",
		}
	}
	if s.group == privateGroup {
		pattern["pub"] = "172.20.9.%d" // RFC 1918
		if s.v6 {
			pattern["pub"] = "fd12:34::%x" // RFC 4193
		}
	}
	for name, text := range pattern {
		if strings.Contains(text, "%") {
			text = fmt.Sprintf(text, i+10)
		}
		a := netip.MustParseAddr(text)
		p.byName[name], p.byAddr[a] = a, name
	}
	bits := 24
	if s.v6 {
		bits = 64
	}
	p.inside = netip.PrefixFrom(p.byName["a"], bits).Masked()
	return p
}

// outsideHost reports whether a host stands outside.
func outsideHost(name string) bool { return name == "x" || name == "y" || name == "z" }

// name returns what a script calls an address.
func (p *place) name(a netip.Addr) string {
	if n, ok := p.byAddr[a]; ok {
		return n
	}
	return a.String()
}

// commas is an address as FTP has it, decimal as IRC has it.
func commas(a netip.Addr) string { return strings.ReplaceAll(a.String(), ".", ",") }

func decimal(a netip.Addr) string {
	if !a.Is4() {
		return a.String()
	}
	b := a.As4()
	return fmt.Sprint(uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]))
}

// chosen gives names to the numbers that a router chose, in the order in which they first appear on a system. A kept
// number keeps its name. The zero value is ready.
type chosen struct {
	names map[number]string
	count int
}

// number is a port, an identifier or a call ID of a protocol.
type number struct{ proto, n int }

// name returns the name of a number. kept tells whether the packet that brought it first had it from its sender.
func (c *chosen) name(proto, n int, kept bool) string {
	key := number{proto, n}
	if known, ok := c.names[key]; ok {
		return known
	}
	if c.names == nil {
		c.names = map[number]string{}
	}
	text := fmt.Sprint(n)
	if !kept {
		c.count++
		text = fmt.Sprintf("~%d", c.count)
		if ported := proto != 1 && proto != 58 && proto != 47; ported && n < 1024 {
			text += "low" // the class of a port is not free: RFC 4787, REQ-3a
		}
	}
	c.names[key] = text
	return text
}
