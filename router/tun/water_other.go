//go:build !linux && !darwin && !windows

package tun

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/songgao/water"
)

// waterConfig refuses: the library has no driver for this system.
func waterConfig(*Config) (water.Config, error) {
	return water.Config{}, fmt.Errorf("there is no TUN driver for %s: run natrouter on Linux, macOS or Windows, "+
		"or embed it with a Device of your own: %w", runtime.GOOS, errors.ErrUnsupported)
}
