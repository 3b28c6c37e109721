package tun

import "github.com/songgao/water"

func waterConfig(cfg *Config) water.Config {
	return water.Config{DeviceType: water.TUN, PlatformSpecificParams: water.PlatformSpecificParams{Name: cfg.Name}}
}
