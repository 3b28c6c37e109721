//go:build !linux

package tun

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/songgao/water"
)

// open opens a TUN with water; its host end is the operator's.
func open(cfg *Config) (Device, error) {
	switch {
	case cfg.Driver == DriverOffload:
		return nil, fmt.Errorf("the offload driver is for Linux: use driver = \"auto\": %w", errors.ErrUnsupported)
	case cfg.FD > 0 || cfg.FDName != "":
		return nil, fmt.Errorf("descriptors are taken on Linux only: %w", errors.ErrUnsupported)
	case cfg.NetNS != "" || len(cfg.HostRoute) > 0 || len(cfg.HostAddress) > 0 && runtime.GOOS != "windows":
		return nil, fmt.Errorf("the host end is set up on Linux only: remove netns, host_address and host_route, and set it up by hand: %w",
			errors.ErrUnsupported)
	}
	return openWater(cfg)
}

func openError(_ *Config, err error) error { return err }

func fdError(err error) error { return err }

func prepareWater(*water.Interface) error { return nil }
