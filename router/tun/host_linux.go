package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// netnsDir is where ip-netns(8) keeps the named network namespaces.
const netnsDir = "/run/netns"

// inNetNS runs do in the network namespace of that name or path, "" for the present one. A namespace belongs to
// a thread, so do runs on one of its own; where its old namespace can't be restored, the thread ends with it.
func inNetNS(name string, do func() error) error {
	if name == "" {
		return do()
	}
	path := name
	if !strings.Contains(name, "/") {
		path = filepath.Join(netnsDir, name)
	}
	there, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("network namespace: %w: make it with ip netns add %s", err, filepath.Base(name))
	}
	defer there.Close()
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		err, restored := onThread(there, do)
		if restored {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// onThread runs do in namespace there on the locked thread, and says whether the thread is where it was before.
func onThread(there *os.File, do func() error) (err error, restored bool) {
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("network namespace: %w", err), true
	}
	defer here.Close()
	switch err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("enter network namespace: %w: it needs CAP_SYS_ADMIN there and here; run as root, or open the "+
			"TUN there and hand in its descriptor", err), true
	case err != nil:
		return fmt.Errorf("enter network namespace: %w: is that file a network namespace?", err), true
	}
	err = do()
	return err, unix.Setns(int(here.Fd()), unix.CLONE_NEWNET) == nil
}

// linkKind is what is known about an interface of the present namespace.
type linkKind struct {
	exists, tun, multiQueue, persistent, packetInfo bool
}

// lookUp asks about the interface of that name. What can't be asked counts as not there.
func lookUp(name string) linkKind {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return linkKind{}
	}
	t, ok := link.(*netlink.Tuntap)
	return linkKind{
		exists:     true,
		tun:        ok && t.Mode == netlink.TUNTAP_MODE_TUN,
		multiQueue: ok && t.Flags&netlink.TUNTAP_MULTI_QUEUE != 0,
		persistent: ok && !t.NonPersist,
		packetInfo: ok && t.Flags&netlink.TUNTAP_NO_PI == 0,
	}
}

// setUpHost sets the MTU, and where configured addresses, routes and the state of the host end. It completes the
// device's own MTU. The interface of a descriptor may be in a namespace out of sight: then all is left as it is.
func setUpHost(dev Device, cfg *Config) error {
	link, err := netlink.LinkByName(dev.Name())
	switch {
	case err == nil:
	case (cfg.FD > 0 || cfg.FDName != "") && len(cfg.HostAddress) == 0:
		setMTU(dev, orElse(cfg.MTU, 1500))
		return nil
	default:
		return fmt.Errorf("host end: %w: is the interface in another network namespace? Say which with netns", err)
	}
	if cfg.MTU != 0 && cfg.MTU != link.Attrs().MTU {
		if err := netlink.LinkSetMTU(link, cfg.MTU); err != nil {
			return fmt.Errorf("mtu: the interface has %d, not %d: %w: let root run ip link set %s mtu %d, or configure mtu = %d",
				link.Attrs().MTU, cfg.MTU, err, dev.Name(), cfg.MTU, link.Attrs().MTU)
		}
	}
	setMTU(dev, orElse(cfg.MTU, link.Attrs().MTU))
	if len(cfg.HostAddress) == 0 {
		return nil
	}
	for _, p := range cfg.HostAddress {
		if err := netlink.AddrReplace(link, hostAddr(p)); err != nil {
			return hostError(err, "address", p, "ip addr add", dev.Name())
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("host end up: %w: let root run ip link set %s up, and configure no host_address", err, dev.Name())
	}
	for _, p := range cfg.HostRoute {
		if err := netlink.RouteReplace(hostRoute(link, p)); err != nil {
			return hostError(err, "route", p, "ip route add", dev.Name())
		}
	}
	return awaitAddresses(link, cfg)
}

// How long the kernel gets to take up IPv6 addresses.
const (
	addressTries = 200
	addressWait  = 10 * time.Millisecond
)

// awaitAddresses waits until the kernel delivers to the IPv6 addresses of the host end. It enters their local routes
// later, from a work queue, also without duplicate address detection, and until then loses what arrives for them.
func awaitAddresses(link netlink.Link, cfg *Config) error {
	for _, p := range cfg.HostAddress {
		if p.Addr().Is4() {
			continue
		}
		local := &netlink.Route{
			LinkIndex: link.Attrs().Index, Table: unix.RT_TABLE_LOCAL, Dst: ipNet(netip.PrefixFrom(p.Addr(), 128)),
		}
		for tries := 0; ; tries++ {
			routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, local,
				netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
			if err != nil {
				return fmt.Errorf("host address %v: %w", p, err)
			}
			if len(routes) > 0 {
				break
			}
			if tries == addressTries {
				return fmt.Errorf("host address %v: the kernel does not take it up: ip -6 addr show dev %s", p, link.Attrs().Name)
			}
			time.Sleep(addressWait)
		}
	}
	return nil
}

func setMTU(dev Device, mtu int) {
	switch d := dev.(type) {
	case *fdDevice:
		d.mtu = mtu
	case *waterDevice:
		d.mtu = mtu
	}
}

func hostError(err error, what string, p netip.Prefix, command, name string) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("host %s %v: %w: it needs CAP_NET_ADMIN; let root run %s %v dev %s", what, p, err, command, p, name)
	case p.Addr().Is6() && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES)):
		return fmt.Errorf("host %s %v: %w: IPv6 is off here: sysctl net.ipv6.conf.all.disable_ipv6=0", what, p, err)
	}
	return fmt.Errorf("host %s %v: %w", what, p, err)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// hostAddr returns p as an address of the host end. Nobody else is on a point-to-point link, so IPv6 duplicate
// address detection (RFC 4862, section 5.4) would only keep the address from use for a second.
func hostAddr(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func hostRoute(link netlink.Link, p netip.Prefix) *netlink.Route {
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p.Masked())}
	if p.Addr().Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}
