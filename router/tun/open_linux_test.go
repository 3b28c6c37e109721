package tun

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestListenFD(t *testing.T) {
	for name, tt := range map[string]struct {
		pid, fds, names, ask string
		want                 int
	}{
		"first":            {"77", "2", "lan:wan", "lan", 3},
		"second":           {"77", "2", "lan:wan", "wan", 4},
		"unknown":          {"77", "2", "lan:wan", "dmz", -1},
		"named, not there": {"77", "1", "lan:wan", "wan", -1},
		"another process":  {"78", "2", "lan:wan", "lan", -1},
		"no number":        {"77", "x", "lan:wan", "lan", -1},
		"nothing":          {"", "", "", "lan", -1},
	} {
		env := map[string]string{"LISTEN_PID": tt.pid, "LISTEN_FDS": tt.fds, "LISTEN_FDNAMES": tt.names}
		got, err := listenFD(tt.ask, 77, func(k string) string { return env[k] })
		if got != tt.want || (err == nil) != (tt.want >= 0) {
			t.Errorf("%s: listenFD = %d, %v, want %d", name, got, err, tt.want)
		}
	}
}

// addTun makes a persistent interface, as ip tuntap add does, and deletes it with the test.
func addTun(t *testing.T, flags uint16) string {
	t.Helper()
	needTun(t)
	name := tunName()
	file, _, err := openTun(name, flags)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := control(file, func(fd int) error { return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if link, err := netlink.LinkByName(name); err == nil {
			_ = netlink.LinkDel(link)
		}
	})
	return name
}

// TestAttach: an existing interface is attached to whatever queues and virtio headers it was made with, and stays.
func TestAttach(t *testing.T) {
	for kind, flags := range map[string]uint16{
		"one queue": tunFlags, "multi-queue": tunFlags | unix.IFF_MULTI_QUEUE, "virtio headers": tunFlags | unix.IFF_VNET_HDR,
	} {
		for _, driver := range []string{DriverOffload, DriverWater} {
			name := addTun(t, flags)
			for range 2 { // the second finds what the first left
				cfg := DefaultConfig(name)
				cfg.Driver = driver
				dev, err := Open(cfg)
				if err != nil {
					t.Errorf("%s, %s: %v", kind, driver, err)
					continue
				}
				if want := driver == DriverOffload; dev.Caps().Checksum != want {
					t.Errorf("%s, %s: Caps %+v", kind, driver, dev.Caps())
				}
				if err := dev.Close(); err != nil {
					t.Errorf("%s, %s: %v", kind, driver, err)
				}
			}
			if !lookUp(name).exists {
				t.Errorf("%s, %s: the interface is gone with its user", kind, driver)
			}
		}
	}
}

// TestWaterAfterOffload: offload that was set before must not reach a driver without virtio headers.
func TestWaterAfterOffload(t *testing.T) {
	name := addTun(t, tunFlags|unix.IFF_VNET_HDR)
	cfg := DefaultConfig(name)
	dev, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_ = dev.Close()
	cfg.Driver = DriverWater
	water := openTest(t, cfg)
	s := superSegment(spec{})
	b, m := s.build()
	newKernelFar(t, name).send(b, m)
	frames := newFrames(1)
	if got := (rig{dev: water}).read(t, frames)[0]; got.Len != 28+1200 {
		t.Errorf("read a packet of %d bytes, want a segment of %d", got.Len, 28+1200)
	}
}

func TestOpenErrors(t *testing.T) {
	needTun(t)
	busy := openTest(t, DefaultConfig(tunName()))
	single := addTun(t, tunFlags)
	tap := tunName()
	if err := netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: tap}, Mode: netlink.TUNTAP_MODE_TAP}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	noTun, err := unix.Dup(int(file.Fd()))
	_ = file.Close()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"driver":             {func(c *Config) { c.Driver = "tap" }, "unknown driver"},
		"MTU too small":      {func(c *Config) { c.MTU = 67 }, "mtu 67 is out of range"},
		"MTU too large":      {func(c *Config) { c.MTU = 65536 }, "mtu 65536 is out of range"},
		"queues":             {func(c *Config) { c.Queues = 257 }, "out of range"},
		"name too long":      {func(c *Config) { c.Name = "sixteen-letters-" }, "too long"},
		"no name":            {func(c *Config) { c.Name = "" }, "no name"},
		"two descriptors":    {func(c *Config) { c.FD, c.FDName = 3, "lan" }, "give one"},
		"queues of a fd":     {func(c *Config) { c.FD, c.Queues = 3, 2 }, "one queue"},
		"water with a fd":    {func(c *Config) { c.FD, c.Driver = 3, DriverWater }, "can't take a descriptor"},
		"no such descriptor": {func(c *Config) { c.FDName = "lan" }, "LISTEN_PID"},
		"fd is no TUN":       {func(c *Config) { c.FD = noTun }, "no attached TUN"},
		"fd of another name": {func(c *Config) { c.FD, c.Name = foreignTun(t, tunName(), tunFlags), "other0" }, "is that of interface"},
		"fd with PI":         {func(c *Config) { c.Name, c.FD = "", foreignTun(t, tunName(), unix.IFF_TUN) }, "IFF_NO_PI"},
		"fd of a TAP": {func(c *Config) { c.Name, c.FD = "", foreignTun(t, tunName(), unix.IFF_TAP|unix.IFF_NO_PI) },
			"is a TAP"},
		"in use":          {func(c *Config) { c.Name = busy.Name() }, "another process has the interface open"},
		"in use, water":   {func(c *Config) { c.Name, c.Driver = busy.Name(), DriverWater }, "another process has the interface open"},
		"not a TUN":       {func(c *Config) { c.Name = "lo" }, "is no TUN"},
		"a TAP":           {func(c *Config) { c.Name = tap }, "is no TUN"},
		"made with one":   {func(c *Config) { c.Name, c.Queues = single, 2 }, "made with one queue"},
		"namespace":       {func(c *Config) { c.NetNS = "no-such" }, "ip netns add no-such"},
		"not a namespace": {func(c *Config) { c.NetNS = "/proc/self/exe" }, "is that file a network namespace?"},
		"route, no address": {func(c *Config) { c.HostRoute = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} },
			"host_route without host_address"},
	} {
		cfg := DefaultConfig("nrterr0")
		tt.change(&cfg)
		dev, err := Open(cfg)
		if err == nil {
			_ = dev.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with %q", name, err, tt.want)
		}
		if lookUp("nrterr0").exists {
			t.Errorf("%s: the interface is left behind", name)
		}
	}
}

// TestOpenErrorRemedies are the errors that root does not meet.
func TestOpenErrorRemedies(t *testing.T) {
	needTun(t)
	name := addTun(t, tunFlags)
	for want, tt := range map[string]struct {
		name string
		err  error
	}{
		"mknod /dev/net/tun":     {"x", &os.PathError{Op: "open", Path: tunPath, Err: unix.ENOENT}},
		"chmod 0666":             {"x", &os.PathError{Op: "open", Path: tunPath, Err: unix.EACCES}},
		"modprobe tun":           {"x", &os.PathError{Op: "open", Path: tunPath, Err: unix.ENODEV}},
		"unshare -Urn":           {"x", unix.EPERM},
		"belongs to another":     {name, unix.EPERM},
		"no 1 free queues":       {name, unix.E2BIG},
		"refuses this name":      {"x", unix.EINVAL},
		"attach: file too large": {"x", unix.EFBIG},
	} {
		cfg := DefaultConfig(tt.name)
		if err := openError(&cfg, tt.err); !errors.Is(err, tt.err) || !strings.Contains(err.Error(), want) {
			t.Errorf("openError(%v) = %v, want %q in it", tt.err, err, want)
		}
	}
}

// TestNegotiate: where the kernel refuses an offload the next step is tried, with one line for what is lost.
func TestNegotiate(t *testing.T) {
	needTun(t)
	plain := offloadSteps
	defer func() { offloadSteps = plain }()
	offloadSteps = append([]offloadStep(nil), plain...)
	offloadSteps[0].flags = unix.TUN_F_CSUM | unix.TUN_F_USO4 // without USO6 the kernel refuses it
	var log bytes.Buffer
	cfg := DefaultConfig("")
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	dev := openTest(t, cfg)
	if want := (Caps{Checksum: true, TSO4: true, TSO6: true, ECN: true}); dev.Caps() != want {
		t.Errorf("Caps %+v, want %+v", dev.Caps(), want)
	}
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "USO") {
		t.Errorf("log %q, want one line about USO", log.String())
	}
}

func TestWriteErrors(t *testing.T) {
	dev := openTest(t, DefaultConfig(""))
	q := dev.Queues()[0]
	link := bringUp(t, dev.Name())
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	if n, err := q.Write([]Frame{frameOf(spec{}), frameOf(spec{id: 1})}); n != 0 || !errors.Is(err, ErrDown) {
		t.Errorf("Write while down = %d, %v, want 0, %v", n, err, ErrDown)
	}
	bringUp(t, dev.Name())
	junk := frameOf(spec{})
	junk.Bytes()[0] = 0x15 // IP version 1
	if n, err := q.Write([]Frame{frameOf(spec{}), junk}); n != 1 || !errors.Is(err, ErrRefused) {
		t.Errorf("Write of junk = %d, %v, want 1, %v", n, err, ErrRefused)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Write([]Frame{frameOf(spec{})}); !errors.Is(err, ErrGone) {
		t.Errorf("Write after deletion: %v, want %v", err, ErrGone)
	}
	if _, err := q.Read(newFrames(1)); !errors.Is(err, ErrGone) {
		t.Errorf("Read after deletion: %v, want %v", err, ErrGone)
	}
}

// TestWriteLongBatch: a batch longer than what is merged at once leaves whole and in order.
func TestWriteLongBatch(t *testing.T) {
	dev := openTest(t, DefaultConfig(""))
	far := newKernelFar(t, dev.Name())
	var frames []Frame
	for i := range 2*mergeWindow + 44 {
		frames = append(frames, frameOf(spec{payload: 32, id: uint16(i), fill: byte(i)}))
	}
	if n, err := dev.Queues()[0].Write(frames); n != len(frames) || err != nil {
		t.Fatalf("Write(%d frames) = %d, %v", len(frames), n, err)
	}
	var got []Frame
	for n := 0; n < len(frames); {
		b, m := far.receive()
		f := Frame{Buf: append(make([]byte, Headroom), b...), Off: Headroom, Len: len(b), Meta: m}
		got = append(got, f)
		n += len(whole(b, m))
	}
	if want := 2*mergeWindow/maxSegments + 1; len(got) != want { // and the last 44
		t.Errorf("%d packets left in %d writes, want %d", len(frames), len(got), want)
	}
	checkMerge(t, "long batch", frames, got)
}

// TestReadBudget: a Read goes on with what it has when that is much, and leaves the rest to the next one.
func TestReadBudget(t *testing.T) {
	cfg := DefaultConfig("")
	cfg.MTU = 65535
	dev := openTest(t, cfg)
	far := newKernelFar(t, dev.Name())
	b, m := spec{payload: 32000}.build()
	const packets = readBudget/32000 + 9
	for range packets {
		far.send(b, m)
	}
	frames, got := newFrames(2*packets), 0
	for reads := 1; got < packets; reads++ {
		n, err := dev.Queues()[0].Read(frames)
		if err != nil || reads > 2 {
			t.Fatalf("read %d: %v; %d of %d packets", reads, err, got, packets)
		}
		size := 0
		for i := range n {
			if size += frames[i].Len; bytes.Equal(frames[i].Bytes(), b) { // the kernel has some of its own to say
				got++
			}
		}
		if reads == 1 && (size < readBudget || size-frames[n-1].Len >= readBudget) {
			t.Errorf("the first read took %d bytes in %d packets, want the first to reach %d", size, n, readBudget)
		}
	}
}

func TestQueueAllocs(t *testing.T) {
	dev := openTest(t, DefaultConfig(""))
	q, far := dev.Queues()[0], newKernelFar(t, dev.Name())
	for name, frames := range mergeBatches() {
		write := func() {
			if _, err := q.Write(frames); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(20, write); n != 0 {
			t.Errorf("%s: %v allocations a batch written, want 0", name, n)
		}
	}
	frames := newFrames(4)
	const runs = 20
	b, m := spec{payload: 1200}.build()
	for range 2 * runs {
		far.send(b, m)
	}
	if n := testing.AllocsPerRun(runs, func() { _, _ = q.Read(frames[:1]) }); n != 0 {
		t.Errorf("%v allocations a packet read, want 0", n)
	}
}
