package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/ruleset"
)

// maxInterfaceName is IFNAMSIZ without its final zero, bytes.
const maxInterfaceName = 15

func (b *builder) allInterfaces(cfg *router.Config, tables []*table) {
	b.interfaces = map[string]*port{}
	for _, t := range tables {
		i := b.interfaceOf(t)
		p := &port{index: len(cfg.Interfaces), table: t}
		cfg.Interfaces = append(cfg.Interfaces, i)
		if _, ok := b.interfaces[i.Name]; ok && i.Name != "" {
			continue
		}
		if i.Name != "" {
			b.interfaces[i.Name] = p
			b.names = append(b.names, i.Name)
		}
	}
	b.checkDescriptors(cfg, tables)
}

// interfaceOf builds one interface. The side follows from the rules, see sides.
func (b *builder) interfaceOf(t *table) router.Interface {
	i := router.Interface{
		Name:    value[string](t, "name"),
		Side:    value[router.Side](t, "side"),
		Address: value[list[netip.Prefix]](t, "address"),
		MTU:     value[int](t, "mtu"),
		Line:    t.mark.line,
		Device: router.DeviceConfig{
			Driver:      value[string](t, "driver"),
			Queues:      value[int](t, "queues"),
			FD:          value[int](t, "fd"),
			FDName:      value[string](t, "fd_name"),
			NetNS:       value[string](t, "netns"),
			HostAddress: value[list[netip.Prefix]](t, "host_address"),
			HostRoute:   value[list[netip.Prefix]](t, "host_route"),
			NoGSO:       !value[bool](t, "gso"),
			NoChecksum:  !value[bool](t, "checksum"),
			NoCoalesce:  !value[bool](t, "coalesce"),
		},
	}
	b.checkName(t, i.Name)
	for _, name := range []string{"address", "host_address"} {
		b.checkHostBits(t, name)
	}
	b.checkDevice(t, i.Device)
	return i
}

// checkName reports a name that the kernel would refuse or, with a %, number.
func (b *builder) checkName(t *table, name string) {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' || r == '%' }
	switch {
	case name == "":
	case len(name) > maxInterfaceName:
		b.errorf(t.line("name"), "name %q has %d bytes: write at most %d, the kernel takes no longer name", name, len(name), maxInterfaceName)
	case name == "." || name == ".." || strings.ContainsFunc(name, odd):
		b.errorf(t.line("name"), `name %q can't be that of an interface: write letters, digits, "-", "_" and "."`, name)
	}
}

// checkHostBits reports addresses that no host can have.
func (b *builder) checkHostBits(t *table, name string) {
	if !t.has(name) {
		return
	}
	for i, p := range value[list[netip.Prefix]](t, name) {
		a, line := p.Addr(), t.item(name, i)
		whole := ruleset.SpanOf(p)
		switch {
		case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			b.errorf(line, `%s: %s can't be the address of an interface: write one from your network, as in "10.77.0.1/24"`, name, a)
		case a.IsLinkLocalUnicast() && a.Is6():
			b.errorf(line, `%s: %s is link-local, which a TUN needs no address of: write a global or unique local one, as in "fd77::1/64"`, name, a)
		case a.Is4() && p.Bits() < 31 && a == whole.First: // RFC 3021 for /31
			b.errorf(line, "%s: %s is the network and not an address in it: write %q", name, p, netip.PrefixFrom(a.Next(), p.Bits()))
		case a.Is4() && p.Bits() < 31 && a == whole.Last:
			b.errorf(line, "%s: %s is the broadcast address of its network: write %q", name, p, netip.PrefixFrom(a.Prev(), p.Bits()))
		}
	}
}

// checkDevice reports settings of a device that exclude each other.
func (b *builder) checkDevice(t *table, d router.DeviceConfig) {
	taken := ""
	switch {
	case d.FD >= 0 && d.FDName != "":
		b.errorf(max(t.line("fd"), t.line("fd_name")), "fd and fd_name both say which descriptor to take: remove one of them")
	case d.FD >= 0 && d.FD <= 2:
		b.errorf(t.line("fd"), "fd = %d is standard input, output or error: write the number of an open TUN, from 3 on", d.FD)
	}
	switch {
	case d.FD >= 0:
		taken = "fd"
	case d.FDName != "":
		taken = "fd_name"
	}
	if strings.ContainsFunc(d.FDName, func(r rune) bool { return r < ' ' || r > '~' || r == ':' }) {
		b.errorf(t.line("fd_name"), "fd_name = %q can't be the name of a descriptor: write what FileDescriptorName= says in the unit", d.FDName)
	}
	if strings.ContainsAny(d.NetNS, "/\x00") || d.NetNS == "." || d.NetNS == ".." {
		b.errorf(t.line("netns"), `netns = %q is no name: write one from "ip netns list", without its path`, d.NetNS)
	}
	if taken != "" && d.NetNS != "" {
		b.errorf(t.line("netns"), "netns has no use with %s, whose device exists already: remove netns, or %s", taken, taken)
	}
	if taken != "" && d.Driver == "water" {
		b.errorf(t.line("driver"), `driver = "water" can't take an open descriptor: write "auto", or remove %s`, taken)
	}
	if taken != "" && d.Queues > 1 {
		b.errorf(t.line("queues"), "queues = %d needs as many descriptors, and %s is one: write queues = 1", d.Queues, taken)
	}
	for i, p := range d.HostRoute {
		ok := slices.ContainsFunc(d.HostAddress, func(a netip.Prefix) bool { return a.Addr().Is4() == p.Addr().Is4() })
		if !ok && !t.broken["host_address"] {
			b.errorf(t.item("host_route", i), "host_route %s has no host_address of its family to send from: add one", p)
		}
	}
}

// checkDescriptors reports a descriptor that two interfaces take.
func (b *builder) checkDescriptors(cfg *router.Config, tables []*table) {
	for i := range cfg.Interfaces {
		for j := range i {
			d, e := cfg.Interfaces[i].Device, cfg.Interfaces[j].Device
			if d.FD >= 0 && d.FD == e.FD {
				b.errorf(tables[i].line("fd"), "fd = %d belongs to interface %q already (line %d): write the descriptor of another TUN",
					d.FD, cfg.Interfaces[j].Name, tables[j].line("fd"))
			}
			if d.FDName != "" && d.FDName == e.FDName {
				b.errorf(tables[i].line("fd_name"), "fd_name = %q belongs to interface %q already (line %d): write the name of another TUN",
					d.FDName, cfg.Interfaces[j].Name, tables[j].line("fd_name"))
			}
		}
	}
}

// sides gives each interface without a side the one that follows from the rules, and warns of that: a slip in a rule
// would put strangers inside.
func (b *builder) sides(cfg *router.Config, tables []*table) {
	for n, t := range tables {
		i, rule := &cfg.Interfaces[n], 0
		if p := b.interfaces[i.Name]; p != nil {
			rule = p.outsideBy
		}
		switch {
		case t.has("side"):
		case rule != 0:
			i.Side = router.Outside
			b.warnf(t.mark.line, `interface %q has no side, and is taken as outside because the rule on line %d translates what leaves by it: add side = "outside"`,
				i.Name, rule)
		default:
			i.Side = router.Inside
			b.warnf(t.mark.line, `interface %q has no side, and is taken as inside, so hosts behind it may begin connections to everywhere: add side = "inside", or "outside" if strangers are there`,
				i.Name)
		}
	}
}
