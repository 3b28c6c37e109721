package router

import (
	"net/netip"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
)

// Config is everything that decides where a packet goes. internal/config makes one from a TOML file; an embedding
// program may fill it in itself. The zero value has no interfaces and is refused by [New].
type Config struct {
	Interfaces []Interface
	Routes     []Route
	NAT        []nat.Rule
	Defaults   nat.Defaults
	MSSClamp   int // bytes; MSSClampAuto or MSSClampOff
	Helpers    []HelperRule
	Filter     Filter
	Conntrack  conntrack.Config // Shards and MaxPerSource included; Shards 0: one a worker
	Fragments  int              // bytes that incomplete datagrams may take
	AutoHelper bool
	ErrorRate  int // ICMP errors and RSTs a second that the router itself makes; 0: no limit
	FastPath   bool
	LogDrops   bool
}

// Values of Config.MSSClamp that are no size.
const (
	MSSClampAuto = 0
	MSSClampOff  = -1
)

// Side is where an interface stands in the translation.
type Side uint8

// The sides. The zero value is Inside.
const (
	Inside Side = iota
	Outside
)

// Interface is one [[interface]]: what the router knows of it, and how its device is opened.
type Interface struct {
	Name    string
	Side    Side
	Address []netip.Prefix // the router's own; the prefix is routed here
	MTU     int            // bytes
	Device  DeviceConfig
	Line    int // of the configuration file; 0: none
}

// DeviceConfig says how to open an interface's TUN. Routers that are handed their devices ignore it.
type DeviceConfig struct {
	Driver      string // auto, offload or water
	Queues      int
	FD          int    // an open descriptor, -1: none
	FDName      string // the same by name (LISTEN_FDNAMES)
	NetNS       string
	HostAddress []netip.Prefix
	HostRoute   []netip.Prefix
	GSO         bool
	Checksum    bool
	Coalesce    bool
}

// Route is one prefix of one [[route]].
type Route struct {
	To        netip.Prefix
	Interface string
	Via       netip.Addr // accepted and shown; a TUN is point to point
	Line      int        // of the configuration file; 0: none
}

// HelperRule is one [[helper]]: explicit assignment.
type HelperRule struct {
	Name        string // "none": no helper here
	Proto       uint8
	Ports       []conntrack.PortRange
	Source      []conntrack.AddrRange
	Destination []conntrack.AddrRange
	Options     map[string]any // checked by the helper
	Line        int
}

// FilterAction is what a filter rule or default does.
type FilterAction uint8

// The actions. The zero value is FilterDrop, so an unset default closes.
const (
	FilterDrop FilterAction = iota
	FilterAccept
	FilterReject
)

// InputPolicy says what the router's own addresses answer.
type InputPolicy uint8

// The policies of [filter] input.
const (
	InputPing InputPolicy = iota
	InputDrop
	InputAccept
)

// Filter is [filter].
type Filter struct {
	Forward     FilterAction
	Input       InputPolicy
	ReversePath bool
	Rules       []FilterRule
}

// FilterRule is one [[filter.rule]]. Empty lists and zero values match all.
type FilterRule struct {
	In, Out             string
	Source, Destination []conntrack.AddrRange
	Proto               uint8
	Ports               []conntrack.PortRange
	State               []string // new, established, related
	Helper              string
	Action              FilterAction
	Line                int
}

// The defaults that have no home in a lower room.
const (
	DefaultMTU       = 1500    // bytes, of an interface
	DefaultFragments = 4 << 20 // bytes, of Config.Fragments
	DefaultErrorRate = 1000    // a second, of Config.ErrorRate
)

// DefaultConfig returns the configuration that an empty file gives: no interface, no rule, everything else as
// documented in config.toml.example.
func DefaultConfig() Config {
	ct := conntrack.DefaultConfig()
	ct.Shards = 0
	return Config{
		Defaults: nat.Defaults{
			Mapping:    nat.EndpointIndependent, // RFC 4787 REQ-1, RFC 5382 REQ-1
			Filtering:  nat.AddressDependent,    // RFC 4787 REQ-8: where security counts more than transparency
			Hairpin:    true,                    // RFC 4787 REQ-9
			PortRange:  conntrack.PortRange{First: 1024, Last: 65535},
			PortParity: true,                            // RFC 4787 REQ-4
			Quarantine: conntrack.Time(2 * time.Minute), // RFC 6888 REQ-8
		},
		MSSClamp:  MSSClampAuto,
		Filter:    Filter{Forward: FilterAccept, Input: InputPing, ReversePath: true},
		Conntrack: ct,
		Fragments: DefaultFragments,
		ErrorRate: DefaultErrorRate,
		FastPath:  true,
	}
}
