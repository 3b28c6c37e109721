package main

import "github.com/spf13/cobra"

func newDemoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show that it works: real traffic through a router of its own, without root",
		Long: `demo makes a network of its own in new namespaces: a client and a server, each behind a TUN, and the router between
them. Then ping, traceroute, a 100 MB download and upload over HTTP, 200 connections at once, UDP both ways, a port forward, FTP in
active mode, and PPTP from two clients with the same call ID cross it, over IPv4 and IPv6, through the kernel's own sockets. Each is
checked at both ends.

It needs Linux, no root where ordinary users may make namespaces, and no other program. Nothing is left behind, and nothing of the
machine's own network is touched. It exits with 0 if all passed, else with 1.`,
		Example: `  natrouter demo           # about ten seconds
  natrouter demo --shell   # a shell behind the router, to try things`,
		Args: noArgs,
	}
	shell := cmd.Flags().Bool("shell", false, "open $SHELL where the client is, with the router running")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, *shell) }
	return cmd
}
