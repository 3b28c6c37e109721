//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
)

// slirpAddr is the client's, fixed by slirp4netns.
var slirpAddr = netip.MustParsePrefix("10.0.2.100/24")

// startSlirp starts slirp4netns in the server's namespace, where its sockets are made, with its TAP in the client's.
func startSlirp(ctx context.Context, s *system) error {
	path, err := exec.LookPath("slirp4netns")
	if err != nil {
		return fmt.Errorf("not installed")
	}
	s.clientLink = "tap0"
	if err := s.server.Address("lo", netip.PrefixFrom(serverAddr, 32)); err != nil {
		return err
	}
	cmd := exec.Command(path, "--netns-type=path", "--disable-dns", fmt.Sprintf("--mtu=%d", linkMTU), "/run/netns/"+s.client.Name, s.clientLink)
	log := &tail{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.server.Start(cmd); err != nil {
		return err
	}
	s.process = cmd
	s.onStop(func() { end(cmd) })
	err = await(ctx, slirpName, log, func() error { return s.client.Up(s.clientLink) })
	if err != nil {
		return err
	}
	if err := s.client.Address(s.clientLink, slirpAddr); err != nil {
		return err
	}
	return s.client.Route(s.clientLink, everywhere, netip.MustParseAddr("10.0.2.2"))
}
