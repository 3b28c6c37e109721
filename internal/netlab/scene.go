//go:build linux

package netlab

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Path is one family's way from a client inside through a router that translates to a server outside.
type Path struct {
	Client, Server *Namespace
	ClientAddr     netip.Addr // inside, of the client
	ServerAddr     netip.Addr // outside, of the server
	RouterAddr     netip.Addr // the router's own on the inside
	OutsideAddr    netip.Addr // what the server must see instead of ClientAddr
	ForwardPort    uint16     // of OutsideAddr, which leads to ForwardTarget; 0: no port forward
	ForwardTarget  uint16     // port of ClientAddr
	Bulk           int64      // bytes of a download and an upload
	Hops           int        // routers between the two, 0: one

	// For [HelperScenes].
	Second     *Namespace // another host inside; nil: none
	SecondAddr netip.Addr // its address
	Look       func()     // if not nil, called when the scene's connections are all up
}

// Family returns IPv4 or IPv6.
func (p *Path) Family() string {
	if p.ClientAddr.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// Progress is told what a scene has reached; it must be quick and safe for concurrent use.
type Progress func(format string, args ...any)

// Scene is one kind of traffic. Run returns a figure for people, or what did not hold.
type Scene struct {
	Name     string
	Protocol string // as flow lists name it for IPv4: tcp, udp, icmp, gre
	Inbound  bool   // the server begins it, towards the outside address
	Run      func(ctx context.Context, p *Path, say Progress) (figure string, err error)
}

// Scenes returns every scene that needs no helper in the router, in the order to show them. Each leaves nothing running.
func Scenes() []Scene {
	return []Scene{
		{"ping", "icmp", false, ping},
		{"traceroute", "udp", false, traceroute},
		{"HTTP download", "tcp", false, download},
		{"HTTP upload", "tcp", false, upload},
		{"200 connections", "tcp", false, parallel},
		{"UDP both ways", "udp", false, datagrams},
		{"port forward", "tcp", true, forward},
	}
}

// HelperScenes returns the scenes of protocols that need a helper in the router, and a second host. Each leaves nothing
// running.
func HelperScenes() []Scene {
	return []Scene{
		{"FTP active", "tcp", true, active},
		{"PPTP twins", "gre", false, twins},
	}
}

// Ports of the scenes' servers.
const (
	httpPort     = 8000
	echoPort     = 7000
	datagramPort = 7001
)

// rate is bytes in a time as people say it.
func rate(bytes int64, d time.Duration) string {
	bits := float64(bytes) * 8 / d.Seconds()
	if bits >= 1e9 {
		return fmt.Sprintf("%.1f Gbit/s", bits/1e9)
	}
	return fmt.Sprintf("%.0f Mbit/s", bits/1e6)
}

// mustBeOutside returns an error unless the far side saw the outside address.
func (p *Path) mustBeOutside(seen netip.Addr) error {
	if seen = seen.Unmap(); seen != p.OutsideAddr {
		return fmt.Errorf("the server saw %s, not the outside address %s", seen, p.OutsideAddr)
	}
	return nil
}
