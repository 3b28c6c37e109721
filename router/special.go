package router

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// special is what a special-purpose range may be in a packet that is forwarded.
type special struct{ source, destination bool }

// specialRanges are those of IANA's registries (RFC 6890, section 2.2, and RFC 8190) of which not both may be, and what is
// assigned out of them; the longest prefix counts. Documentation ranges are missing: RFC 5737, section 4, asks operators
// to filter them where they meet the internet, and labs are built of them. So are link-local and multicast destinations
// and the limited broadcast, which hosts use rightly, but on their link only: see [sourceHook].
var specialRanges = []struct {
	prefix string
	special
}{
	{"0.0.0.0/8", special{}},                     // this network: RFC 1122, section 3.2.1.3; RFC 1812, section 5.3.7
	{"127.0.0.0/8", special{}},                   // loopback: the same
	{"192.0.0.0/24", special{}},                  // IETF protocol assignments: RFC 6890, section 2.1
	{"192.0.0.0/29", special{true, true}},        // IPv4 service continuity: RFC 7335
	{"192.0.0.9/32", special{true, true}},        // PCP anycast: RFC 7723
	{"192.0.0.10/32", special{true, true}},       // TURN anycast: RFC 8155
	{"224.0.0.0/4", special{destination: true}},  // multicast is no source: RFC 1122, section 3.2.1.3
	{"240.0.0.0/4", special{}},                   // reserved: RFC 1112, section 4
	{"255.255.255.255/32", special{false, true}}, // limited broadcast: RFC 8190
	{"::/128", special{}},                        // unspecified: RFC 4291, section 2.5.2: never forwarded
	{"::1/128", special{}},                       // loopback: RFC 4291, section 2.5.3
	{"100:0:0:1::/64", special{}},                // dummy prefix: RFC 9780
	{"2001::/23", special{}},                     // IETF protocol assignments: RFC 2928
	{"2001::/32", special{true, true}},           // Teredo: RFC 4380
	{"2001:1::1/128", special{true, true}},       // PCP anycast: RFC 7723
	{"2001:1::2/128", special{true, true}},       // TURN anycast: RFC 8155
	{"2001:1::3/128", special{true, true}},       // DNS-SD SRP anycast: RFC 9665
	{"2001:2::/48", special{true, true}},         // benchmarking: RFC 5180
	{"2001:3::/32", special{true, true}},         // AMT: RFC 7450
	{"2001:4:112::/48", special{true, true}},     // AS112: RFC 7535
	{"2001:20::/28", special{true, true}},        // ORCHIDv2: RFC 7343
	{"2001:30::/28", special{true, true}},        // drone remote ID: RFC 9374
	{"ff00::/8", special{destination: true}},     // multicast is no source: RFC 4291, section 2.7
}

// specials is made of specialRanges once, and then only read.
var specials = newSpecials()

func newSpecials() *bart.Table[special] {
	t := &bart.Table[special]{}
	for _, r := range specialRanges {
		t.Insert(netip.MustParsePrefix(r.prefix), r.special)
	}
	return t
}

// maySend and mayReceive report whether packets from and to an address may be forwarded, as far as its range says.
// IPv4-mapped IPv6 never may (RFC 6890, table 20; RFC 4291, section 2.5.5.2).
func maySend(a netip.Addr) bool {
	s, known := specials.Lookup(a)
	return !a.Is4In6() && (!known || s.source)
}

func mayReceive(a netip.Addr) bool {
	s, known := specials.Lookup(a)
	return !a.Is4In6() && (!known || s.destination)
}
