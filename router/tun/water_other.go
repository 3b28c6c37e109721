//go:build !linux && !darwin

package tun

import "github.com/songgao/water"

// waterConfig leaves the name to the system: the library has no field for it here.
func waterConfig(*Config) water.Config {
	return water.Config{DeviceType: water.TUN}
}
