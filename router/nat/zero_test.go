package nat

import (
	"testing"

	"github.com/natrouter/natrouter/router/conntrack"
)

// TestZeroDefaults: what Defaults leave out is what an empty file means, and what they say stays.
func TestZeroDefaults(t *testing.T) {
	var cfg Config
	setDefaults(&cfg)
	want := Defaults{
		Mapping: EndpointIndependent, Filtering: AddressDependent, PortRange: conntrack.PortRange{First: 1024, Last: 65535},
		Quarantine: 120 * second, MaxMappings: 262144,
	}
	if cfg.Defaults != want {
		t.Errorf("got %+v, want %+v", cfg.Defaults, want)
	}
	own := Defaults{
		Mapping: AddressDependent, Filtering: EndpointIndependent, NoHairpin: true, NoPortParity: true,
		PortRange: conntrack.PortRange{First: 2000, Last: 3000}, Quarantine: -1, MaxMappings: 5, PortsPerSource: 4,
	}
	cfg.Defaults = own
	if setDefaults(&cfg); cfg.Defaults != own {
		t.Errorf("got %+v, want %+v", cfg.Defaults, own)
	}
}

// TestNoQuarantine: a negative time lets a port be used again at once.
func TestNoQuarantine(t *testing.T) {
	cfg := testConfig(masquerade)
	cfg.Defaults.Filtering, cfg.Defaults.Quarantine = EndpointIndependent, -1
	w := newWorldConfig(t, cfg)
	w.pass(lan, udp("10.77.1.2:5000", "198.51.100.7:53"))
	w.advance(400 * second)
	if s := w.nat.Stats(); s.Mappings != 0 || s.Quarantined != 0 {
		t.Errorf("%d mappings, %d ports rest", s.Mappings, s.Quarantined)
	}
}
