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
		address, router netip.Prefix
		more            [2]netip.Prefix // the same of IPv6
	}{
		{s.client, clientLink, "lan", netip.PrefixFrom(clientAddr, 24), netip.PrefixFrom(insideAddr, 24),
			[2]netip.Prefix{netip.PrefixFrom(clientAddr6, 64), netip.PrefixFrom(insideAddr6, 64)}},
		{s.server, serverLink, "wan", netip.PrefixFrom(serverAddr, 24), netip.PrefixFrom(outsideEnd, 24),
			[2]netip.Prefix{netip.PrefixFrom(serverAddr6, 64), netip.PrefixFrom(outsideEnd6, 64)}},
	} {
		if err := netlab.Veth(router, end.inRouter, end.n, end.name); err != nil {
			return err
		}
		if err := router.Address(end.inRouter, end.router, end.more[1]); err != nil {
			return err
		}
		if err := end.n.Address(end.name, end.address, end.more[0]); err != nil {
			return err
		}
	}
	if err := s.client.Route(clientLink, everywhere, insideAddr); err != nil {
		return err
	}
	if err := s.client.Route(clientLink, everywhere6, insideAddr6); err != nil {
		return err
	}
	s.server6 = serverAddr6
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
	return "table inet bench {\n" + table + `	chain forward {
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
