//go:build linux

package main

import (
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
)

// linkMTU is that of every link here, bytes.
const linkMTU = 1500

// netstackBetween is stock netstack as a router, without NAT: its own endpoints on the two TUNs, and forwarding on.
func netstackBetween(client, server int) error {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{icmp.NewProtocol4},
	})
	closed := make(chan tcpip.Error, 2)
	for i, nic := range []struct {
		fd      int
		address netip.Addr
	}{{client, insideAddr}, {server, outsideEnd}} {
		id := tcpip.NICID(i + 1)
		endpoint, err := fdbased.New(&fdbased.Options{FDs: []int{nic.fd}, MTU: linkMTU, ClosedFunc: func(err tcpip.Error) { closed <- err }})
		if err != nil {
			return err
		}
		if err := s.CreateNIC(id, endpoint); err != nil {
			return fmt.Errorf("NIC %d: %v", id, err)
		}
		address := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber}
		address.AddressWithPrefix = tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(nic.address.As4()), PrefixLen: 24}
		if err := s.AddProtocolAddress(id, address, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("address of NIC %d: %v", id, err)
		}
	}
	lan := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(insideAddr.As4()), PrefixLen: 24}
	s.SetRouteTable([]tcpip.Route{{Destination: lan.Subnet(), NIC: 1}, {Destination: header.IPv4EmptySubnet, NIC: 2}})
	if err := s.SetForwardingDefaultAndAllNICs(ipv4.ProtocolNumber, true); err != nil {
		return fmt.Errorf("forwarding: %v", err)
	}
	return fmt.Errorf("an endpoint has ended: %v", <-closed)
}
