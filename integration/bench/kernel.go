//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/natrouter/natrouter/internal/netlab"
)

// startKernel makes the kernel the router: veth pairs, forwarding and nft's masquerade, with a flowtable or without.
func startKernel(ctx context.Context, s *system, flowtable bool) error {
	router, err := s.namespace("router")
	if err != nil {
		return err
	}
	if err := router.Forward(); err != nil {
		return err
	}
	for _, end := range []struct {
		n               *netlab.Namespace
		name, inRouter  string
		address, router netip.Addr
	}{
		{s.client, clientLink, "lan", clientAddr, insideAddr},
		{s.server, serverLink, "wan", serverAddr, outsideEnd},
	} {
		if err := netlab.Veth(router, end.inRouter, end.n, end.name); err != nil {
			return err
		}
		if err := router.Address(end.inRouter, netip.PrefixFrom(end.router, 24)); err != nil {
			return err
		}
		if err := end.n.Address(end.name, netip.PrefixFrom(end.address, 24)); err != nil {
			return err
		}
	}
	if err := s.client.Route(clientLink, everywhere, insideAddr); err != nil {
		return err
	}
	if err := router.Route("wan", crowdNet, serverAddr); err != nil {
		return err
	}
	s.flush = func() error {
		return router.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
	}
	if err := nft(ctx, router, natRules(flowtable)); err != nil {
		return err
	}
	// There from the first rule that tracks on.
	return router.Sysctl(fmt.Sprintf("net/netfilter/nf_conntrack_udp_timeout=%d", int(flowTimeout.Seconds())))
}

func natRules(flowtable bool) string {
	table, offload := "", ""
	if flowtable {
		table = "\tflowtable fast {\n\t\thook ingress priority 0\n\t\tdevices = { lan, wan }\n\t}\n"
		offload = "\t\tmeta l4proto { tcp, udp } flow add @fast\n"
	}
	return "table ip bench {\n" + table + `	chain forward {
		type filter hook forward priority 0
` + offload + `	}
	chain postrouting {
		type nat hook postrouting priority 100
		oifname "wan" masquerade
	}
}
`
}

// nft loads rules in a namespace.
func nft(ctx context.Context, n *netlab.Namespace, rules string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, firstLine(out.String()))
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
