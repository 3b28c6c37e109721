//go:build linux

package netlab

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// link finds an interface of the current thread's namespace.
func link(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return l, nil
}

// onLink runs f on an interface of the namespace.
func (n *Namespace) onLink(name string, f func(netlink.Link) error) error {
	return n.Do(func() error {
		l, err := link(name)
		if err != nil {
			return err
		}
		if err := f(l); err != nil {
			return fmt.Errorf("interface %s in %s: %w", name, n.Name, err)
		}
		return nil
	})
}

// Up brings an interface up.
func (n *Namespace) Up(name string) error {
	return n.onLink(name, func(l netlink.Link) error { return netlink.LinkSetUp(l) })
}

// SetMTU sets an interface's MTU, bytes.
func (n *Namespace) SetMTU(name string, mtu int) error {
	return n.onLink(name, func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) })
}

// Move moves an interface of the namespace to another one, where it arrives down and without addresses. A TUN's
// process keeps its end.
func (n *Namespace) Move(name string, to *Namespace) error {
	return n.onLink(name, func(l netlink.Link) error { return netlink.LinkSetNsFd(l, to.FD()) })
}

// Address puts addresses on an interface and brings it up.
func (n *Namespace) Address(name string, prefixes ...netip.Prefix) error {
	return n.onLink(name, func(l netlink.Link) error {
		for _, p := range prefixes {
			a := &netlink.Addr{IPNet: ipNet(p)}
			if p.Addr().Is6() {
				a.Flags = unix.IFA_F_NODAD
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				return fmt.Errorf("address %s: %w", p, err)
			}
		}
		return netlink.LinkSetUp(l)
	})
}

// Route routes a prefix out of an interface, through a gateway unless via is the zero Addr.
func (n *Namespace) Route(name string, to netip.Prefix, via netip.Addr) error {
	return n.onLink(name, func(l netlink.Link) error {
		r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(to.Masked())}
		if via.IsValid() {
			r.Gw = via.AsSlice()
		} else {
			r.Scope = unix.RT_SCOPE_LINK // so that it may lead to a gateway
		}
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("route to %s: %w", to, err)
		}
		return nil
	})
}

// Veth joins two namespaces with a virtual Ethernet pair; its ends carry the names given.
func Veth(a *Namespace, nameA string, b *Namespace, nameB string) error {
	return a.Do(func() error {
		l := &netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: nameA},
			PeerName:      nameB,
			PeerNamespace: netlink.NsFd(b.FD()),
		}
		if err := netlink.LinkAdd(l); err != nil {
			return fmt.Errorf("veth %s to %s: %w", nameA, nameB, err)
		}
		return nil
	})
}

// MakeTUN makes a TUN that stays without a process, as `ip tuntap add mode tun user UID` does.
func (n *Namespace) MakeTUN(name string, uid uint32) error {
	f, err := n.OpenTUN(name, false)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.TUNSETOWNER, int(uid)); err != nil {
		return fmt.Errorf("owner of %s: %w", name, err)
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	return nil
}

// OpenTUN makes a TUN whose host end is in the namespace, as a program does that hands it to another: with virtio
// headers or without. It lasts until the last copy of the file is closed.
func (n *Namespace) OpenTUN(name string, vnet bool) (*os.File, error) {
	var f *os.File
	err := n.Do(func() error {
		fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", tunPath, err)
		}
		f = os.NewFile(uintptr(fd), name)
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if vnet {
			flags |= unix.IFF_VNET_HDR
		}
		request.SetUint16(flags)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			f.Close()
			return fmt.Errorf("make %s: %w", name, err)
		}
		return nil
	})
	return f, err
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// linkLocal are the addresses of the two ends of the link that [Namespace.Behind] makes: IPv6 finds neighbours by them
// (RFC 4861, section 7.2.2).
var linkLocal = [2]netip.Prefix{netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("fe80::2/64")}

// Behind makes a host that has addresses of n's network and is reached through n, which forwards. gateway is n's own
// IPv4 address there. Both ends of the link between carry name.
func (n *Namespace) Behind(name string, gateway netip.Addr, addrs ...netip.Addr) (*Namespace, error) {
	host, err := New(name)
	if err != nil {
		return nil, err
	}
	if err := n.plug(host, name, gateway, addrs); err != nil {
		host.Close()
		return nil, err
	}
	return host, nil
}

// plug joins a host to n for Behind.
func (n *Namespace) plug(host *Namespace, name string, gateway netip.Addr, addrs []netip.Addr) error {
	if err := n.Forward(); err != nil {
		return err
	}
	if err := Veth(n, name, host, name); err != nil {
		return err
	}
	if err := n.Address(name, linkLocal[0]); err != nil {
		return err
	}
	if err := host.Address(name, linkLocal[1]); err != nil {
		return err
	}
	if err := host.Route(name, netip.PrefixFrom(gateway, gateway.BitLen()), netip.Addr{}); err != nil {
		return err
	}
	for _, a := range addrs {
		own, via := netip.PrefixFrom(a, a.BitLen()), gateway
		if a.Is6() {
			via = linkLocal[0].Addr()
		}
		if err := host.Address(name, own); err != nil {
			return err
		}
		if err := n.Route(name, own, netip.Addr{}); err != nil {
			return err
		}
		if err := host.Route(name, netip.PrefixFrom(via, 0), via); err != nil {
			return err
		}
	}
	return nil
}
