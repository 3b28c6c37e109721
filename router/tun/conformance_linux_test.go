package tun

import (
	"testing"

	"golang.org/x/sys/unix"
)

// kernelRig opens a TUN with its kernel's side.
func kernelRig(change func(*Config)) func(*testing.T) rig {
	return func(t *testing.T) rig {
		cfg := DefaultConfig("")
		cfg.MTU, cfg.NoCoalesce = conformanceMTU, true
		change(&cfg)
		dev := openTest(t, cfg)
		return rig{dev, newKernelFar(t, dev.Name())}
	}
}

func TestConformanceOffload(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"everything": func(*Config) {},
		"coalescing": func(c *Config) { c.NoCoalesce = false },
		"no GSO":     func(c *Config) { c.NoGSO = true },
		"no offload": func(c *Config) { c.NoGSO, c.NoChecksum = true, true },
	} {
		t.Run(name, func(t *testing.T) { testConformance(t, kernelRig(change)) })
	}
}

func TestConformanceWater(t *testing.T) {
	testConformance(t, kernelRig(func(c *Config) { c.Driver = DriverWater }))
}

func TestConformanceDescriptor(t *testing.T) {
	for name, flags := range map[string]uint16{"with virtio headers": unix.IFF_VNET_HDR, "plain": 0} {
		t.Run(name, func(t *testing.T) {
			testConformance(t, func(t *testing.T) rig {
				return kernelRig(func(c *Config) { c.FD = foreignTun(t, tunName(), tunFlags|flags) })(t)
			})
		})
	}
}

// foreignTun opens a TUN as another program would, and hands out its descriptor.
func foreignTun(tb testing.TB, name string, flags uint16) int {
	tb.Helper()
	needTun(tb)
	file, _, err := openTun(name, flags)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	fd := -1
	err = control(file, func(own int) (err error) {
		fd, err = unix.Dup(own)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return fd
}
