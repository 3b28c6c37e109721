package tun

import (
	"errors"
	"os"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

// waterConfig returns the library's view of cfg. The library makes an interface persistent or not as it is told,
// so one that is persistent is told to stay so.
func waterConfig(cfg *Config) (water.Config, error) {
	kind := lookUp(cfg.Name)
	return water.Config{DeviceType: water.TUN, PlatformSpecificParams: water.PlatformSpecificParams{
		Name:       cfg.Name,
		Persist:    kind.persistent,
		MultiQueue: kind.multiQueue || cfg.Queues > 1,
	}}, nil
}

// prepareWater does what the library leaves out: the descriptor is closed in children, and offload that somebody
// set on the interface before, and that survives on it, is off, because there is no header to tell of it.
func prepareWater(iface *water.Interface) error {
	file, ok := iface.ReadWriteCloser.(*os.File)
	if !ok {
		return errors.New("water has no file to set up")
	}
	return control(file, func(fd int) error {
		unix.CloseOnExec(fd)
		return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0)
	})
}
