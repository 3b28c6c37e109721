package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
)

// builder makes a File of checked tables, and checks them against each other.
type builder struct {
	*problems
	file *File

	interfaces map[string]*port // by name, the first of a name
	names      []string         // of interfaces, in the order of the file
	routes     []*table         // of Config.Routes
}

// port is an interface as other sections need it.
type port struct {
	index     int // in Config.Interfaces
	table     *table
	outsideBy int // line of the rule that makes it an outside interface, 0: none
}

func (b *builder) build(root *table) {
	cfg := &b.file.Config
	b.program(root)
	b.allInterfaces(cfg, root.tables["interface"])
	for _, t := range root.tables["route"] {
		b.route(cfg, t)
	}
	b.natDefaults(cfg, root.sub("nat_defaults"))
	for _, t := range root.tables["nat"] {
		cfg.NAT = append(cfg.NAT, b.natRule(t))
	}
	b.sides(cfg, root.tables["interface"])
	for _, t := range root.tables["helper"] {
		cfg.Helpers = append(cfg.Helpers, b.helper(t))
	}
	b.filter(cfg, root.sub("filter"))
	b.conntrack(cfg, root)
	cfg.ErrorRate = orNone(value[int](root.sub("icmp"), "error_rate"))
	cfg.NoFastPath = !value[bool](root.sub("fast_path"), "enabled")
	b.features(root)
	b.check(cfg, root)
}

// orNone returns a number of the file as the router has it, where 0 is the default and what is negative is none.
func orNone[T int | time.Duration](n T) T {
	if n == 0 {
		return -1
	}
	return n
}

// program builds what concerns the program and not the packets.
func (b *builder) program(root *table) {
	log := root.sub("log")
	b.file.Log = LogConfig{Level: value[slog.Level](log, "level"), Format: value[string](log, "format")}
	b.file.Config.LogDrops = value[bool](log, "drops")

	process := root.sub("process")
	b.file.Process.User = value[string](process, "user")
	switch user := b.file.Process.User; {
	case user == "root" || user == "0":
		b.errorf(process.line("user"), `user = %q is no user to drop to: name an ordinary one, or leave the key out to stay root`, user)
	case len(user) > 32 || strings.ContainsFunc(user, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == '/' }):
		b.errorf(process.line("user"), `user = %q can't be the name of a user: write a name from /etc/passwd, or a number`, user)
	}

	control := root.sub("control")
	b.file.Control = value[string](control, "socket")
	switch path := b.file.Control; {
	case path == "":
	case !filepath.IsAbs(path) || strings.ContainsRune(path, 0):
		b.errorf(control.line("socket"), `socket = %q is no absolute path: write one, as in "/run/natrouter/control.sock"`, path)
	case len(path) > maxSocketPath:
		b.errorf(control.line("socket"), "socket has a path of %d bytes: write one of at most %d, the kernel takes no longer one",
			len(path), maxSocketPath)
	}

	metrics := root.sub("metrics")
	b.file.MetricsListen = value[string](metrics, "listen")
	if listen := b.file.MetricsListen; listen != "" && !isListenAddr(listen) {
		b.errorf(metrics.line("listen"), `listen = %q is no address with port: write one as in "127.0.0.1:9469" or "[::1]:9469"`, listen)
	}
}

// quarantineLeast: RFC 6888 REQ-8.
const quarantineLeast = 2 * time.Minute

// maxSocketPath is what fits into sun_path with its final zero (unix(7)), bytes.
const maxSocketPath = 107

// isListenAddr reports whether s is "address:port" with a numeric address, or ":port".
func isListenAddr(s string) bool {
	host, service, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(host)
	n, portErr := strconv.ParseUint(service, 10, 16)
	return (host == "" || err == nil) && portErr == nil && n > 0
}

// match is what all rules have in common.
type match struct {
	source, destination []conntrack.AddrRange
	proto               uint8
	ports               []conntrack.PortRange
}

// match reads the match keys of a rule. The room that owns the rule checks them: see check.
func (b *builder) match(t *table) match {
	m := match{
		destination: value[addrList](t, "destination"),
		proto:       value[uint8](t, "protocol"),
		ports:       value[portList](t, "port"),
	}
	if find(t.keys, "source") != nil {
		m.source = value[addrList](t, "source")
	}
	if t.has("port") && t.key.more == nil { // a helper rule's missing protocol has its own message
		b.needPorts(t, "port")
	}
	return m
}

// needPorts reports a key with ports in a rule that names no protocol: a port means nothing without.
func (b *builder) needPorts(t *table, name string) {
	if !t.has("protocol") {
		b.errorf(t.line(name), `%s needs a protocol that has ports: add protocol = "tcp" or "udp"`, name)
	}
}

func (b *builder) natDefaults(cfg *router.Config, t *table) {
	cfg.Defaults = nat.Defaults{
		Mapping:        value[nat.Behaviour](t, "mapping"),
		Filtering:      value[nat.Behaviour](t, "filtering"),
		NoHairpin:      !value[bool](t, "hairpin"),
		PortRange:      value[conntrack.PortRange](t, "port_range"),
		NoPortParity:   !value[bool](t, "port_parity"),
		PortRandom:     value[bool](t, "port_choice"),
		PoolArbitrary:  value[bool](t, "pooling"),
		OverlapNever:   value[bool](t, "overlap"),
		Quarantine:     conntrack.Time(orNone(value[time.Duration](t, "quarantine"))),
		InboundRefresh: value[bool](t, "inbound_refresh"),
		PortsPerSource: value[int](t, "ports_per_source"),
		MaxMappings:    value[int](t, "max_mappings"),
		KeepIPID:       value[bool](t, "ip_id"),
	}
	cfg.MSSClamp = value[int](t, "mss_clamp")
	d := cfg.Defaults
	if quarantine := value[time.Duration](t, "quarantine"); quarantine < quarantineLeast {
		b.warnf(t.line("quarantine"), "quarantine = %q is below the %s of RFC 6888 REQ-8: what is sent to a host that is gone may reach another one",
			formatDuration(quarantine), formatDuration(quarantineLeast))
	}
	b.warnBehaviour(t)
	if d.NoHairpin {
		b.warnf(t.line("hairpin"), "hairpin = false breaks RFC 4787 REQ-9: inside hosts don't reach each other by their outside addresses")
	}
	if d.PoolArbitrary {
		b.warnf(t.line("pooling"), `pooling = "arbitrary" is against RFC 4787 REQ-2: some servers refuse a host that comes from two addresses`)
	}
}

// warnBehaviour warns of what t, a nat rule or the defaults, sets against the standards.
func (b *builder) warnBehaviour(t *table) {
	if m := value[nat.Behaviour](t, "mapping"); t.has("mapping") && m > nat.EndpointIndependent {
		b.warnf(t.line("mapping"), "this mapping breaks RFC 4787 REQ-1 and RFC 5382 REQ-1: calls and games between hosts behind NAT may fail")
	}
	if f := value[nat.Behaviour](t, "filtering"); f == nat.AddressAndPortDependent {
		b.warnf(t.line("filtering"), "this filtering is stricter than RFC 4787 REQ-8 and RFC 5382 REQ-3 advise: peers that change their port are shut out")
	}
}

// mssClamp reads "auto", "off" or a number of bytes.
func mssClamp(p *problems, name string, v any, m *mark) (any, bool) {
	switch v {
	case "auto":
		return router.MSSClampAuto, true
	case "off":
		return router.MSSClampOff, true
	}
	n, ok := v.(int64)
	if s, isText := v.(string); isText {
		var err error
		n, err = strconv.ParseInt(s, 10, 32)
		ok = err == nil
	}
	if !ok || n < minMSS || n > maxMSS {
		p.errorf(m.line, `%s = %s is neither "auto" nor "off" nor a size: write bytes from %d to %d`, name, fmt.Sprint(v), minMSS, maxMSS)
		return nil, false
	}
	return int(n), true
}

// Bounds of a segment size, bytes.
const (
	minMSS = 536        // what every IPv4 host takes: RFC 9293, section 3.7.1
	maxMSS = 65535 - 40 // the largest datagram without its headers
)
