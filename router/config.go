package router

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
)

// Config is everything that decides where a packet goes. internal/config makes one from a TOML file; an embedding
// program may fill it in itself. A zero value is the default of each field, and the safe one: only Filter.Forward is closed
// where an empty file opens it. A Config without interfaces, or with one that has no Side, is refused by [New].
type Config struct {
	Interfaces []Interface
	Routes     []Route
	NAT        []nat.Rule
	Defaults   nat.Defaults
	MSSClamp   int // bytes; MSSClampAuto or MSSClampOff
	Helpers    []HelperRule
	Filter     Filter
	Conntrack  conntrack.Config // Shards and MaxPerSource included; Shards 0: one a worker
	Fragments  int              // bytes that incomplete datagrams may take; 0: 4 MiB
	AutoHelper bool
	ErrorRate  int  // ICMP errors and RSTs a second that the router itself makes; 0: 1000; negative: no limit
	NoFastPath bool // each packet takes the whole list of hooks
	LogDrops   bool
}

// Values of Config.MSSClamp that are no size.
const (
	MSSClampAuto = 0
	MSSClampOff  = -1
)

// Side is where an interface stands in the translation.
type Side uint8

// The sides. The zero value is no side and refused by [New]: whoever is inside may begin connections to anywhere.
const (
	_ Side = iota
	Inside
	Outside
)

// Interface is one [[interface]]: what the router knows of it, and how its device is opened.
type Interface struct {
	Name    string
	Side    Side
	Address []netip.Prefix // the router's own; the prefix is routed here
	MTU     int            // bytes; 0: that of the device
	Device  DeviceConfig
	Line    int // of the configuration file; 0: none
}

// DeviceConfig says how to open an interface's TUN. Routers that are handed their devices ignore it.
type DeviceConfig struct {
	Driver      string // auto, offload or water; "": auto
	Queues      int    // 0: 1
	FD          int    // an open descriptor; 0 or below: none
	FDName      string // the same by name (LISTEN_FDNAMES)
	NetNS       string
	HostAddress []netip.Prefix
	HostRoute   []netip.Prefix
	NoGSO       bool // no super-segments
	NoChecksum  bool // no partial checksums, and no super-segments
	NoCoalesce  bool // what is written is not merged
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
	Forward       FilterAction // of connections that no rule decides and that do not come from outside; the zero value drops
	Input         InputPolicy
	NoReversePath bool // sources that are routed to another interface pass: anybody may speak in anybody's name (RFC 2827)
	Rules         []FilterRule
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
			PortRange:  conntrack.PortRange{First: 1024, Last: 65535},
			Quarantine: conntrack.Time(2 * time.Minute), // RFC 6888 REQ-8
		},
		MSSClamp:  MSSClampAuto,
		Filter:    Filter{Forward: FilterAccept, Input: InputPing},
		Conntrack: ct,
		Fragments: DefaultFragments,
		ErrorRate: DefaultErrorRate,
	}
}

// withDefaults returns c with the defaults in the place of numbers that are zero, but for those that lower rooms have. An
// error names the field whose value can't be meant.
func (c Config) withDefaults() (Config, error) {
	if c.Fragments < 0 {
		return c, fmt.Errorf("fragments: %d is no number of bytes: give one, or 0 for the default", c.Fragments)
	}
	c.Fragments = cmp.Or(c.Fragments, DefaultFragments)
	c.ErrorRate = cmp.Or(c.ErrorRate, DefaultErrorRate)
	return c, nil
}
