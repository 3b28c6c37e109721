package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/natrouter/natrouter/internal/config"
	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/control"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/ruleset"
	"github.com/spf13/cobra"
)

func newCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether a configuration is right, and what it does",
		Long: `check reads a configuration and prints every mistake in it as FILE:LINE: message, and exits with
2 if there is one. A configuration without mistakes is summed up. Warnings name what works but
breaks a standard or rarely is meant, as a way in for strangers. The summary ends with who may
begin connections towards whom.

Nothing is opened: whether a device exists and may be used is seen by run.`,
		Example: `  natrouter check /etc/natrouter.toml
  natrouter check ./natrouter.toml && systemctl restart natrouter`,
		Args: oneArg("configuration file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := loadConfig(args[0])
			if err != nil {
				return err
			}
			for _, w := range file.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), w)
			}
			return printSummary(cmd.OutOrStdout(), args[0], file)
		},
	}
}

// printSummary says what a router with this configuration would do.
func printSummary(w io.Writer, path string, file *config.File) error {
	var b strings.Builder
	cfg := &file.Config
	fmt.Fprintf(&b, "%s: ok\n", path)
	for i := range cfg.Interfaces {
		fmt.Fprintln(&b, "  "+interfaceSummary(&cfg.Interfaces[i]))
	}
	for _, route := range cfg.Routes {
		fmt.Fprintf(&b, "  route %v to %s\n", route.To, route.Interface)
	}
	for i := range cfg.NAT {
		fmt.Fprintln(&b, "  "+ruleSummary(&cfg.NAT[i]))
	}
	for _, line := range accessSummary(cfg) {
		fmt.Fprintln(&b, "  "+line)
	}
	fmt.Fprintf(&b, "  at most %s, filter forward %s%s\n", count(cfg.Conntrack.Max, "connection"), filterAction(cfg.Filter.Forward),
		also(len(cfg.Filter.Rules), "filter rule"))
	socket := file.Control
	if socket == "" {
		socket = control.DefaultSocket()
	}
	if socket == "" {
		socket = "none"
	}
	fmt.Fprintf(&b, "  control socket %s\n", socket)
	if file.Process.User != "" {
		fmt.Fprintf(&b, "  runs as %s once the devices are open\n", file.Process.User)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func interfaceSummary(in *router.Interface) string {
	side := "inside"
	if in.Side == router.Outside {
		side = "outside"
	}
	source := in.Device.Driver
	switch {
	case in.Device.FD > 0:
		source = fmt.Sprintf("descriptor %d", in.Device.FD)
	case in.Device.FDName != "":
		source = "descriptor " + in.Device.FDName
	}
	s := fmt.Sprintf("interface %s: %s, %s, mtu %d, %s", in.Name, side, source, in.MTU, count(in.Device.Queues, "queue"))
	if len(in.Address) > 0 {
		s += ", " + joinFunc(in.Address, netip.Prefix.String)
	}
	if in.Device.NetNS != "" {
		s += ", host end in " + in.Device.NetNS
	}
	return s
}

func ruleSummary(r *nat.Rule) string {
	s := "nat " + r.Action.String()
	for _, part := range []struct{ word, value string }{
		{"in", r.In},
		{"out", r.Out},
		{"protocol", protocolName(r.Proto)},
		{"source", joinFunc(r.Source, addressRange)},
		{"destination", joinFunc(r.Destination, addressRange)},
		{"port", joinFunc(r.Ports, portRange)},
		{"to", joinFunc(r.To, addressRange)},
		{"to port", joinFunc(r.ToPorts, portRange)},
	} {
		if part.value != "" {
			s += " " + part.word + " " + part.value
		}
	}
	return s
}

func filterAction(a router.FilterAction) string {
	return map[router.FilterAction]string{
		router.FilterDrop: "drop", router.FilterAccept: "accept", router.FilterReject: "reject",
	}[a]
}

// joinFunc lists values with commas, at most three of them.
func joinFunc[T any](values []T, word func(T) string) string {
	const most = 3
	words := make([]string, 0, most+1)
	for i, v := range values {
		if i == most {
			words = append(words, fmt.Sprintf("and %d more", len(values)-most))
			break
		}
		words = append(words, word(v))
	}
	return strings.Join(words, ", ")
}

// addressRange writes a range as the configuration would: an address, a prefix, or "a-b".
func addressRange(r conntrack.AddrRange) string { return ruleset.Span(r).String() }

func portRange(r conntrack.PortRange) string { return ruleset.PortSpan(r).String() }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func also(n int, what string) string {
	if n == 0 {
		return ""
	}
	return " and " + count(n, what)
}
