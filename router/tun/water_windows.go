package tun

import (
	"errors"
	"net/netip"

	"github.com/songgao/water"
)

// tapComponent is the component ID of the tap-windows6 adapter, the one that OpenVPN installs. The library looks for
// it in the registry only if it is told so.
const tapComponent = "tap0901"

// waterConfig returns the library's view of cfg. A tap-windows6 adapter behaves as a TUN only while its driver knows
// the network of the host end, because the driver itself answers ARP there: it is the first IPv4 address of
// cfg.HostAddress. The driver puts that address on nothing; the adapter gets it from the operator.
func waterConfig(cfg *Config) (water.Config, error) {
	i := firstIPv4(cfg.HostAddress)
	if i < 0 {
		return water.Config{}, errors.New("the adapter's driver must know the host end's IPv4 address: " +
			"give host_address = [\"ADDRESS/BITS\"], and put the same address on the adapter")
	}
	return water.Config{DeviceType: water.TUN, PlatformSpecificParams: water.PlatformSpecificParams{
		ComponentID:   tapComponent,
		InterfaceName: cfg.Name,
		Network:       cfg.HostAddress[i].String(),
	}}, nil
}

// firstIPv4 is the index of the first prefix of IPv4, -1 if there is none.
func firstIPv4(list []netip.Prefix) int {
	for i, p := range list {
		if p.Addr().Is4() {
			return i
		}
	}
	return -1
}
