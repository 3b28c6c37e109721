package tun

import "github.com/songgao/water"

// waterConfig returns the library's view of cfg. The system takes names of the form utun0 only.
func waterConfig(cfg *Config) (water.Config, error) {
	return water.Config{DeviceType: water.TUN, PlatformSpecificParams: water.PlatformSpecificParams{Name: cfg.Name}}, nil
}
