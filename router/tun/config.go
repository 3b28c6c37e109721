package tun

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
)

// The drivers of Config.Driver.
const (
	DriverAuto    = "auto"    // offload on Linux, else water; "" is the same
	DriverOffload = "offload" // Linux
	DriverWater   = "water"
	DriverMemory  = "memory" // of the ends of a pair; not to be configured
)

// Config says which TUN to open and how. A zero value is the default of each field; a name, or a descriptor, is needed.
type Config struct {
	Name   string // of the interface to create or attach to; "" with FD or FDName
	Driver string // one of the Driver constants
	Queues int    // 0: 1
	MTU    int    // bytes of IP packet, 68 to 65535; 0: leave it as it is
	FD     int    // an open descriptor of a TUN, which the device takes over; 0 or below: none, since 0 is standard input
	FDName string // the same by its name in LISTEN_FDNAMES (sd_listen_fds(3)); "": none
	NetNS  string // where the host end is: a name in /run/netns, or a path with a slash; "": here
	// What is on unless it is turned off: super-segments cross; so do partial checksums, which super-segments need;
	// neighbouring packets of a flow are merged into super-segments when they are written.
	NoGSO, NoChecksum, NoCoalesce bool
	// HostAddress, if not empty, is put on the host end, which is then brought up; HostRoute is routed into it.
	HostAddress, HostRoute []netip.Prefix
	Log                    *slog.Logger // nil: silent
}

// DefaultConfig returns the configuration of a TUN with everything on.
func DefaultConfig(name string) Config {
	return Config{Name: name, Driver: DriverAuto, Queues: 1, MTU: 1500}
}

// Limits of Config.
const (
	minMTU    = 68    // RFC 791, section 3.2
	maxMTU    = 65535 // Linux, drivers/net/tun.c: MAX_MTU
	maxQueues = 256   // MAX_TAP_QUEUES of the Linux driver
	maxName   = 15    // IFNAMSIZ without its end
)

// Open opens the TUN, sets up its host end where configured, and closes it again where that fails. Errors are one
// line with the interface's name and the remedy.
func Open(cfg Config) (Device, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Queues = orElse(cfg.Queues, 1)
	cfg.Driver = orElse(cfg.Driver, DriverAuto)
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("tun %s: %w", cfg.label(), err)
	}
	dev, err := open(&cfg)
	if err != nil {
		return nil, fmt.Errorf("tun %s: %w", cfg.label(), err)
	}
	return dev, nil
}

// FromFD takes over fd, an open TUN: offload if it was opened with virtio headers, else plain packets. cfg gives
// all else; its Name, if not empty, must be the interface's. fd is closed with the device, and on an error. 0 is no TUN but
// standard input, and refused.
func FromFD(fd int, cfg Config) (Device, error) {
	if fd <= 0 {
		return nil, fmt.Errorf("tun %s: descriptor %d can't be a TUN: give an open one, above 0", cfg.label(), fd)
	}
	cfg.FD, cfg.FDName = fd, ""
	return Open(cfg)
}

// label names the device in errors, also before its name is known.
func (c *Config) label() string {
	switch {
	case c.Name != "":
		return c.Name
	case c.FDName != "":
		return fmt.Sprintf("descriptor %q", c.FDName)
	case c.FD > 0:
		return fmt.Sprintf("descriptor %d", c.FD)
	}
	return "(no name)"
}

func (c *Config) check() error {
	fd := c.FD > 0 || c.FDName != ""
	switch {
	case c.Driver != DriverAuto && c.Driver != DriverOffload && c.Driver != DriverWater:
		return fmt.Errorf("unknown driver %q: use auto, offload or water", c.Driver)
	case c.MTU != 0 && (c.MTU < minMTU || c.MTU > maxMTU):
		return fmt.Errorf("mtu %d is out of range: use %d to %d", c.MTU, minMTU, maxMTU)
	case c.Queues < 1 || c.Queues > maxQueues:
		return fmt.Errorf("%d queues are out of range: use 1 to %d", c.Queues, maxQueues)
	case len(c.Name) > maxName:
		return fmt.Errorf("the name is too long: use at most %d bytes", maxName)
	case c.Name == "" && !fd:
		return errors.New("no name: say which TUN to create or attach to")
	case c.FD > 0 && c.FDName != "":
		return errors.New("both a descriptor's number and its name: give one")
	case fd && c.Queues > 1:
		return errors.New("a descriptor is one queue: use queues = 1")
	case fd && c.Driver == DriverWater:
		return errors.New("water can't take a descriptor: use driver = \"auto\"")
	case len(c.HostRoute) > 0 && len(c.HostAddress) == 0:
		return errors.New("host_route without host_address: give the host end an address, or add the route by hand")
	}
	return nil
}
