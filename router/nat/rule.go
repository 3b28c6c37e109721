package nat

import "github.com/natrouter/natrouter/router/conntrack"

// Action is what a rule does with a connection's first packet.
type Action uint8

// The actions, as [[nat]] names them. The zero value is no action and refused by [New].
const (
	_ Action = iota
	Masquerade
	SNAT
	DNAT
	Redirect
	Netmap
	NPTv6
	Accept
)

// Behaviour is how far the remote end takes part in a mapping or a filter (RFC 4787, sections 4.1 and 5).
type Behaviour uint8

// The behaviours. The zero value means: as the defaults say.
const (
	DefaultBehaviour Behaviour = iota
	EndpointIndependent
	AddressDependent
	AddressAndPortDependent
)

// Switch is a boolean that may be left to the defaults. The zero value means: as the defaults say.
type Switch uint8

// The positions of a Switch.
const (
	DefaultSwitch Switch = iota
	On
	Off
)

// Rule is one [[nat]] entry. Empty lists and zero values match all.
type Rule struct {
	Action       Action
	In, Out      string // interface names; empty: any
	Source       []conntrack.AddrRange
	Destination  []conntrack.AddrRange
	Proto        uint8                 // IANA number, 0: any
	Ports        []conntrack.PortRange // destination ports
	To           []conntrack.AddrRange // new addresses: pool, target or prefix
	ToPorts      []conntrack.PortRange // dnat, redirect: new destination port or range; masquerade, snat (to_port): outside ports
	Mapping      Behaviour
	Filtering    Behaviour
	Hairpin      Switch
	KeepOnChange bool // masquerade: on_address_change = "keep"
	Line         int  // of the configuration file, for messages; 0: none
}

// Defaults is [nat_defaults]. A zero value is the default of each field.
type Defaults struct {
	Mapping, Filtering Behaviour           // zero: endpoint-independent (RFC 4787, REQ-1), address-dependent (REQ-8)
	NoHairpin          bool                // inside hosts do not reach each other by outside addresses (against RFC 4787, REQ-9)
	PortRange          conntrack.PortRange // bounds the class of ports from 1024 on; zero: all of them
	NoPortParity       bool                // even ports may become odd (RFC 4787, REQ-4)
	PortRandom         bool                // port_choice = "random"
	PoolArbitrary      bool                // pooling = "arbitrary"
	OverlapNever       bool                // overlap = "never"
	Quarantine         conntrack.Time      // nanoseconds; 0: two minutes (RFC 6888, REQ-8); negative: none
	InboundRefresh     bool
	PortsPerSource     int // 0: no limit
	MaxMappings        int // 0: as conntrack.max
	KeepIPID           bool
}
