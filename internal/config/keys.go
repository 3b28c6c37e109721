package config

import (
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
)

// Bounds of values that no standard bounds.
const (
	maxConns   = 1 << 27 // connections: at 400 B each, 50 GiB
	maxTimeout = 365 * 24 * time.Hour
	maxLimit   = math.MaxInt32 // of counts where no limit makes sense but a slip of the finger
)

// The lists of rules.
type (
	addrList = list[conntrack.AddrRange]
	portList = list[conntrack.PortRange]
)

// schema returns every key of the file, grouped as in config.toml.example. Defaults come from the rooms that they
// belong to.
func schema() *key {
	def := router.DefaultConfig()
	return &key{keys: slices.Concat(
		programKeys(),
		[]key{
			{name: "interface", array: true, keys: interfaceKeys()},
			{name: "route", array: true, keys: routeKeys()},
			{name: "nat", array: true, keys: natKeys()},
			{name: "helper", array: true, keys: helperKeys(), more: helperOptions},
			{name: "pass", array: true, keys: passKeys()},
			{name: "filter", keys: filterKeys(def.Filter)},
			{name: "conntrack", keys: conntrackKeys(def)},
			{name: "nat_defaults", keys: natDefaultKeys(def)},
			{name: "icmp", keys: []key{
				{name: "error_rate", read: number(0, 1_000_000, "a second"), def: def.ErrorRate},
			}},
			{name: "fast_path", keys: []key{
				{name: "enabled", read: boolean, def: !def.NoFastPath},
			}},
		},
	)}
}

// programKeys are those that concern the program and not the packets.
func programKeys() []key {
	return []key{
		{name: "process", keys: []key{
			{name: "user", read: text, def: ""},
		}},
		{name: "log", keys: []key{
			{name: "level", def: slog.LevelInfo, read: oneOf(
				word[slog.Level]{"debug", slog.LevelDebug}, word[slog.Level]{"info", slog.LevelInfo},
				word[slog.Level]{"warn", slog.LevelWarn}, word[slog.Level]{"error", slog.LevelError})},
			{name: "format", read: choice("text", "json"), def: "text"},
			{name: "drops", read: boolean, def: false},
		}},
		{name: "control", keys: []key{
			{name: "socket", read: text, def: ""},
		}},
		{name: "metrics", keys: []key{
			{name: "listen", read: text, def: ""},
		}},
	}
}

func interfaceKeys() []key {
	return []key{
		{name: "name", read: text, required: "lan0"},
		{name: "side", read: oneOf(word[router.Side]{"inside", router.Inside}, word[router.Side]{"outside", router.Outside})},
		{name: "driver", read: choice("auto", "offload", "water"), def: "auto"},
		{name: "address", read: prefixes},
		{name: "mtu", read: number(68, 65535, "bytes"), def: router.DefaultMTU}, // RFC 791, section 3.2; its total length
		{name: "queues", read: number(1, 256, ""), def: 1},                      // the kernel's MAX_TAP_QUEUES
		{name: "fd", read: number(-1, maxLimit, ""), def: -1},
		{name: "fd_name", read: text, def: ""},
		{name: "netns", read: text, def: ""},
		{name: "host_address", read: prefixes},
		{name: "host_route", read: networks},
		{name: "gso", read: boolean, def: true},
		{name: "checksum", read: boolean, def: true},
		{name: "coalesce", read: boolean, def: true},
	}
}

func routeKeys() []key {
	return []key{
		{name: "to", read: networks, required: "0.0.0.0/0"},
		{name: "interface", read: text, required: "lan0"},
		{name: "via", read: address},
	}
}

// matchKeys are those by which rules choose packets.
func matchKeys() []key {
	return []key{
		{name: "source", read: addresses},
		{name: "destination", read: addresses},
		{name: "protocol", read: protocol},
		{name: "port", read: ports},
	}
}

// passageKeys are the interfaces by which rules choose packets.
func passageKeys() []key {
	return []key{
		{name: "in", read: text},
		{name: "out", read: text},
	}
}

// behaviours of RFC 4787, sections 4.1 and 5.
var behaviours = oneOf(
	word[nat.Behaviour]{"endpoint-independent", nat.EndpointIndependent},
	word[nat.Behaviour]{"address-dependent", nat.AddressDependent},
	word[nat.Behaviour]{"address-and-port-dependent", nat.AddressAndPortDependent},
)

func natKeys() []key {
	return slices.Concat([]key{
		{name: "action", required: "masquerade", read: oneOf(natActions...)},
	}, passageKeys(), matchKeys(), []key{
		{name: "to", read: targets},
		{name: "to_port", read: ports},
		{name: "mapping", read: behaviours},
		{name: "filtering", read: behaviours},
		{name: "hairpin", read: onOff},
		{name: "on_address_change", read: choice("flush", "keep"), def: "flush"},
	})
}

func helperKeys() []key {
	return slices.Concat([]key{
		{name: "name", read: text, required: noHelper},
	}, matchKeys())
}

func passKeys() []key {
	return []key{
		{name: "protocol", read: protocol, required: "esp"},
		{name: "source", read: addresses},
		{name: "destination", read: addresses},
		{name: "conflict", read: choice("refuse", "newest"), def: "refuse"},
	}
}

func filterKeys(def router.Filter) []key {
	type action = word[router.FilterAction]
	type input = word[router.InputPolicy]
	accept, drop, reject := action{"accept", router.FilterAccept}, action{"drop", router.FilterDrop}, action{"reject", router.FilterReject}
	return []key{
		{name: "forward", read: oneOf(accept, drop), def: def.Forward},
		{name: "input", def: def.Input, read: oneOf(
			input{"ping", router.InputPing}, input{"drop", router.InputDrop}, input{"accept", router.InputAccept})},
		{name: "reverse_path", read: boolean, def: !def.NoReversePath},
		{name: "rule", array: true, keys: slices.Concat([]key{
			{name: "action", required: "drop", read: oneOf(accept, drop, reject)},
		}, passageKeys(), matchKeys(), []key{
			{name: "state", read: texts},
			{name: "helper", read: text, def: ""},
		})},
	}
}

func conntrackKeys(def router.Config) []key {
	ct := def.Conntrack
	return []key{
		{name: "max", read: number(1, maxConns, "connections"), def: ct.Max},
		{name: "buckets", read: number(0, 2*maxConns, ""), def: ct.Buckets},
		{name: "max_expectations", read: number(0, maxConns, ""), def: ct.MaxExpect},
		{name: "max_per_source", read: number(0, maxConns, "connections"), def: ct.MaxPerSource},
		{name: "max_unreplied", read: number(0, maxConns, "connections"), def: ct.MaxUnreplied},
		{name: "fragment_memory", read: size(512<<10, 1<<30), def: def.Fragments}, // a source may have a fourth: one whole datagram at least
		{name: "profile", def: conntrack.ProfileRFC, read: oneOf(
			word[conntrack.Profile]{"rfc", conntrack.ProfileRFC}, word[conntrack.Profile]{"linux", conntrack.ProfileLinux})},
		{name: "accounting", read: boolean, def: !ct.NoAccounting},
		{name: "auto_helper", read: boolean, def: def.AutoHelper},
		{name: "tcp_loose", read: boolean, def: !ct.NoTCPLoose},
		{name: "tcp_liberal", read: boolean, def: ct.TCPLiberal},
		{name: "timeout", keys: timeoutKeys()},
		{name: "policy", array: true, keys: []key{
			{name: "protocol", read: protocol},
			{name: "destination", read: addresses},
			{name: "port", read: ports},
			{name: "timeout", keys: timeoutKeys()},
		}},
	}
}

func natDefaultKeys(def router.Config) []key {
	d := def.Defaults
	type yes = word[bool]
	return []key{
		{name: "mapping", read: behaviours, def: d.Mapping},
		{name: "filtering", read: behaviours, def: d.Filtering},
		{name: "hairpin", read: boolean, def: !d.NoHairpin},
		{name: "port_range", read: onePortRange, def: d.PortRange},
		{name: "port_parity", read: boolean, def: !d.NoPortParity},
		{name: "port_choice", read: oneOf(yes{"preserve", false}, yes{"random", true}), def: d.PortRandom},
		{name: "pooling", read: oneOf(yes{"paired", false}, yes{"arbitrary", true}), def: d.PoolArbitrary},
		{name: "overlap", read: oneOf(yes{"auto", false}, yes{"never", true}), def: d.OverlapNever},
		{name: "quarantine", read: duration(0, 24*time.Hour), def: time.Duration(d.Quarantine)},
		{name: "inbound_refresh", read: boolean, def: d.InboundRefresh},
		{name: "ports_per_source", read: number(0, 65535, "ports"), def: d.PortsPerSource},
		{name: "max_mappings", read: number(0, maxConns, ""), def: d.MaxMappings},
		{name: "ip_id", read: oneOf(yes{"rewrite", false}, yes{"keep", true}), def: d.KeepIPID},
		{name: "mss_clamp", read: mssClamp, def: def.MSSClamp},
	}
}
