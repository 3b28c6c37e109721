//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/natrouter/natrouter/internal/netlab"
)

// childEnv names what a child does: carry packets between the two TUNs that it got as descriptors 3 and 4.
const childEnv = "NATROUTER_BENCH_CHILD"

// vnetEnv is set for a child whose TUNs have virtio headers.
const vnetEnv = "NATROUTER_BENCH_VNET"

// What a child can be.
const (
	childCopy     = "copy"
	childNetstack = "netstack"
)

// Descriptors of a child's TUNs.
const (
	childClientTun = 3
	childServerTun = 4
)

// runChild is the main function of a child, and returns its exit code.
func runChild(what string) int {
	vnet, err := strconv.ParseBool(os.Getenv(vnetEnv))
	if err == nil {
		switch what {
		case childCopy:
			err = copyBetween(childClientTun, childServerTun, vnet)
		case childNetstack:
			err = netstackBetween(childClientTun, childServerTun)
		default:
			err = fmt.Errorf("no such child")
		}
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
	return 1
}

// startTunPair makes a TUN for each end and starts a child that carries packets between them, without NAT.
func startTunPair(_ context.Context, s *system, what string, vnet bool) error {
	client, err := s.client.OpenTUN(clientLink, vnet)
	if err != nil {
		return err
	}
	defer client.Close()
	server, err := s.server.OpenTUN(serverLink, vnet)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := setUpEnd(s.client, clientLink, netip.PrefixFrom(clientAddr, 24), everywhere); err != nil {
		return err
	}
	if err := setUpEnd(s.server, serverLink, netip.PrefixFrom(serverAddr, 24), netip.PrefixFrom(clientAddr, 24)); err != nil {
		return err
	}
	if what == childCopy {
		if err := setUpEnd(s.client, clientLink, netip.PrefixFrom(clientAddr6, 64), everywhere6); err != nil {
			return err
		}
		if err := setUpEnd(s.server, serverLink, netip.PrefixFrom(serverAddr6, 64), netip.PrefixFrom(clientAddr6, 64)); err != nil {
			return err
		}
		s.server6 = serverAddr6
	}
	router, err := s.namespace("router")
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = s.name
	cmd.Env = append(os.Environ(), childEnv+"="+what, fmt.Sprintf("%s=%v", vnetEnv, vnet))
	cmd.ExtraFiles = []*os.File{client, server} // from childClientTun on
	cmd.Stderr = os.Stderr
	if err := router.Start(cmd); err != nil {
		return err
	}
	s.process = cmd
	s.onStop(func() { end(cmd) })
	return nil
}

// setUpEnd readies the host end of a TUN.
func setUpEnd(n *netlab.Namespace, link string, address, route netip.Prefix) error {
	if err := n.Address(link, address); err != nil {
		return err
	}
	return n.Route(link, route, netip.Addr{})
}

// copyVnetSize is the size of the virtio header before each packet, bytes.
const copyVnetSize = 10

// tunUSO are TUN_F_USO4 and TUN_F_USO6, which the kernel takes only together (include/uapi/linux/if_tun.h).
const tunUSO = 0x20 | 0x40

// copyBetween is the bare copy loop: what is read from one TUN is written to the other as it is, a packet a system
// call. It is as little as a router can do, and knows nothing of what it copies.
func copyBetween(client, server int, vnet bool) error {
	if vnet {
		for _, fd := range []int{client, server} {
			if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, copyVnetSize); err != nil {
				return fmt.Errorf("TUNSETVNETHDRSZ: %w", err)
			}
			offload := unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | tunUSO
			if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offload); err != nil {
				return fmt.Errorf("TUNSETOFFLOAD: %w", err)
			}
		}
	}
	failed := make(chan error)
	go func() { failed <- copyOneWay(server, client) }()
	go func() { failed <- copyOneWay(client, server) }()
	return <-failed
}

func copyOneWay(to, from int) error {
	buf := make([]byte, 1<<16+copyVnetSize)
	for {
		n, err := unix.Read(from, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		// A full queue loses a packet, as it would in a router.
		if _, err = unix.Write(to, buf[:n]); err != nil && err != unix.ENOBUFS && err != unix.EAGAIN && err != unix.EINTR && err != unix.EINVAL {
			return fmt.Errorf("write: %w", err)
		}
	}
}
