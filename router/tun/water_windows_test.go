package tun

import (
	"net/netip"
	"testing"
)

func TestWaterConfigOnWindows(t *testing.T) {
	cfg := DefaultConfig("Ethernet 2")
	if _, err := waterConfig(&cfg); err == nil {
		t.Error("without a host address: no error, and the driver would not answer ARP")
	}
	cfg.HostAddress = []netip.Prefix{netip.MustParsePrefix("fd77::2/64"), netip.MustParsePrefix("10.77.0.2/24")}
	got, err := waterConfig(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got.Network != "10.77.0.2/24" || got.InterfaceName != "Ethernet 2" || got.ComponentID != tapComponent {
		t.Errorf("%+v", got)
	}
}
