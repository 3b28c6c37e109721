//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/natrouter/natrouter/internal/netlab"
)

// Addresses of every system: the ends of the link to the client and of that to the server.
var (
	clientAddr = netip.MustParseAddr("10.77.0.2")
	insideAddr = netip.MustParseAddr("10.77.0.1")
	serverAddr = netip.MustParseAddr("203.0.113.2")
	outsideEnd = netip.MustParseAddr("203.0.113.1")
	everywhere = netip.MustParsePrefix("0.0.0.0/0")
	// The same of IPv6, in systems that carry it.
	clientAddr6 = netip.MustParseAddr("fd77::2")
	insideAddr6 = netip.MustParseAddr("fd77::1")
	serverAddr6 = netip.MustParseAddr("2001:db8:113::2")
	outsideEnd6 = netip.MustParseAddr("2001:db8:113::1")
	everywhere6 = netip.MustParsePrefix("::/0")
	// crowdNet is the server's, too: as many addresses as there are flows to be told apart.
	crowdNet = netip.MustParsePrefix("198.18.0.0/15")
)

// Names of the interfaces in the namespaces of client and server.
const (
	clientLink = "lan0"
	serverLink = "wan0"
)

// Names of the systems, as the ratios need them.
const (
	natrouterName = "natrouter"
	slowName      = "natrouter, slow path"
	copyName      = "copy"
	plainCopyName = "copy, no offload"
	netstackName  = "netstack"
	kernelName    = "kernel"
	flowtableName = "kernel, flowtable"
	slirpName     = "slirp4netns"
	crowdName     = "natrouter, crowded"
)

// system is one thing that carries packets between two namespaces of its own. A system that could not be started has
// err and nothing else.
type system struct {
	name           string
	client, server *netlab.Namespace
	server4        netip.Addr // what the client calls the server
	server6        netip.Addr // the same by IPv6; the zero Addr: it is not carried
	process        *exec.Cmd  // nil: the kernel itself
	clientLink     string
	flush          func() error // forgets all flows; nil: they are forgotten soon enough
	closers        []func()
	err            error
}

func (s *system) onStop(f func()) { s.closers = append(s.closers, f) }

func (s *system) stop() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
}

// namespace makes a namespace that ends with the system, named for others to find it.
func (s *system) namespace(role string) (*netlab.Namespace, error) {
	n, err := netlab.NewNamed(role + "-" + strings.NewReplacer(", ", "-", " ", "-").Replace(s.name))
	if err == nil {
		s.onStop(n.Close)
	}
	return n, err
}

// starters make all systems, in the order of the table.
func starters(o *options, program, dir string) map[string]func(context.Context, *system) error {
	natrouter := func(c natrouterConfig) func(context.Context, *system) error {
		c.program, c.dir = program, dir
		return func(ctx context.Context, s *system) error { return startNatrouter(ctx, s, c) }
	}
	return map[string]func(context.Context, *system) error{
		natrouterName: natrouter(natrouterConfig{fast: true, max: 1 << 20}),
		slowName:      natrouter(natrouterConfig{max: 1 << 20}),
		crowdName:     natrouter(natrouterConfig{fast: true, max: o.crowd + o.crowd/4, udpTimeout: crowdTimeout}),
		copyName:      func(ctx context.Context, s *system) error { return startTunPair(ctx, s, childCopy, true) },
		plainCopyName: func(ctx context.Context, s *system) error { return startTunPair(ctx, s, childCopy, false) },
		netstackName:  func(ctx context.Context, s *system) error { return startTunPair(ctx, s, childNetstack, false) },
		kernelName:    func(ctx context.Context, s *system) error { return startKernel(ctx, s, false) },
		flowtableName: func(ctx context.Context, s *system) error { return startKernel(ctx, s, true) },
		slirpName:     startSlirp,
	}
}

// order is that of the table and of the turns.
var order = []string{natrouterName, slowName, copyName, plainCopyName, netstackName, kernelName, flowtableName, slirpName, crowdName}

// startSystems builds natrouter and starts every system. One that can't be had is in the list with its reason; without
// natrouter there is nothing to measure.
func startSystems(ctx context.Context, o *options, dir string) ([]*system, error) {
	program := o.program
	if program == "" {
		program = filepath.Join(dir, "natrouter")
		out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/natrouter/natrouter/cmd/natrouter").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("build natrouter: %w\n%s", err, out)
		}
	}
	start := starters(o, program, dir)
	var all []*system
	for _, name := range order {
		if !o.systems.MatchString(name) {
			continue
		}
		s := &system{name: name, server4: serverAddr, clientLink: clientLink}
		all = append(all, s)
		if s.err = startOne(ctx, o, s, start[name]); s.err != nil {
			s.stop()
			fmt.Fprintf(os.Stderr, "not measured: %s: %v\n", name, s.err)
		}
	}
	return all, nil
}

func startOne(ctx context.Context, o *options, s *system, start func(context.Context, *system) error) (err error) {
	if s.client, err = s.namespace("client"); err != nil {
		return err
	}
	if s.server, err = s.namespace("server"); err != nil {
		return err
	}
	// The load shall not run out of ports: each connection takes one of the client's.
	if err := s.client.Sysctl("net/ipv4/ip_local_port_range=1024 65535"); err != nil {
		return err
	}
	// Not whatever this machine prefers: one that paces its sender, as BBR does, measures its own timers.
	for _, n := range []*netlab.Namespace{s.client, s.server} {
		if err := n.Sysctl("net/ipv4/tcp_congestion_control=" + o.tcp); err != nil {
			return fmt.Errorf("congestion control %s: %w", o.tcp, err)
		}
	}
	if err := start(ctx, s); err != nil {
		return err
	}
	if err := s.server.Do(func() error { return anyAddress(crowdNet) }); err != nil {
		return err
	}
	return s.reachable(ctx)
}

// anyAddress makes every address of a prefix the present namespace's own.
func anyAddress(p netip.Prefix) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)},
		Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST,
	})
}

// reachable fails unless a connection gets through.
func (s *system) reachable(ctx context.Context) error {
	l, err := s.server.Listen(netip.AddrPortFrom(serverAddr, bulkPort))
	if err != nil {
		return err
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := s.client.Dial(ctx, "tcp", netip.AddrPortFrom(s.server4, bulkPort))
	if err != nil {
		return fmt.Errorf("nothing gets through: %w", err)
	}
	return c.Close()
}

func stopSystems(all []*system) {
	for _, s := range all {
		s.stop()
	}
}

// cpu returns the CPU time that the system's process has used, 0 for the kernel. It is that of /proc/PID/stat, in
// nanoseconds.
func (s *system) cpu() (time.Duration, error) {
	if s.process == nil {
		return 0, nil
	}
	var t unix.Timespec
	clock := int32(^s.process.Process.Pid<<3 | 2) // clock_getcpuclockid(3): CPUCLOCK_SCHED of a process
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("%s has ended: %w", s.name, err)
	}
	return time.Duration(t.Nano()), nil
}

// rss returns the memory that the system's process holds and its peak, bytes.
func (s *system) rss() (now, peak int64, err error) {
	if s.process == nil {
		return 0, 0, errors.New("the kernel")
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			now = kib << 10
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			peak = kib << 10
		}
	}
	return now, peak, nil
}
