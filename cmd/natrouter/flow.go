package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/url"
	"strconv"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/control"
	"github.com/spf13/cobra"
)

// blockFlows is how many rows of a table are measured before they are printed.
const blockFlows = 1000

// errNoMatch is said when a list is empty.
var errNoMatch = &exitError{code: exitNoMatch, err: errors.New("no flow matches")}

func newFlowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "flow",
		Short: "Look at the connections of the running router",
		Long:  "flow holds the commands about connections of the running router. They ask it over its control socket.",
		Example: `  natrouter flow list
  natrouter flow list --source 10.77.0.0/16 --protocol udp -o json`,
		Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageErrorf(cmd, "%s needs a command: list", words(cmd))
		},
	}
	client := addSocketFlag(cmd)
	cmd.AddCommand(newFlowListCommand(client))
	return cmd
}

func newFlowListCommand(client func() (*control.Client, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List connections",
		Long: `list shows the connections that match all of the flags; without flags it shows all. Addresses
and ports are those of the original direction, as its first packet had them. TRANSLATED says
what the router made of them: src is the source that the other side sees, dst the destination
that the packet really went to.

The formats are a table, one JSON array, JSON a line (jsonl), and the text of conntrack-tools
(conntrack). It exits with 4 when nothing matches.`,
		Example: `  natrouter flow list
  natrouter flow list --protocol tcp --state ESTABLISHED --limit 20
  natrouter flow list --source 10.77.1.2 --port 443 -o jsonl
  natrouter flow list --destination 2001:db8::/32 -o conntrack`,
		Args: noArgs,
	}
	output := addOutputFlag(cmd, "table", "json", "jsonl", "conntrack")
	filter := addFilterFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		format, err := output()
		if err != nil {
			return err
		}
		f, err := filter()
		if err != nil {
			return err
		}
		c, err := client()
		if err != nil {
			return err
		}
		defer c.Close()
		out := bufio.NewWriter(cmd.OutOrStdout())
		n, err := printFlows(out, format, c.Flows(cmd.Context(), f))
		if flushErr := out.Flush(); err == nil {
			err = flushErr
		}
		switch {
		case err != nil:
			return flowError(cmd, err)
		case n == 0:
			return errNoMatch
		}
		return nil
	}
	return cmd
}

// flowError tells a filter that the router refused (a state that it does not know) from a failure.
func flowError(cmd *cobra.Command, err error) error {
	var answer *control.Error
	if errors.As(err, &answer) && answer.Code == control.CodeBadRequest {
		return usageErrorf(cmd, "%s", answer.Message)
	}
	return reachError(err)
}

// addFilterFlags adds the flags that select flows. They are strings, so that the API's own reader judges them.
func addFilterFlags(cmd *cobra.Command) func() (router.FlowFilter, error) {
	usage := [...]struct{ name, text string }{
		{"protocol", "tcp, udp, icmp, icmpv6, gre, another name or a number"},
		{"source", "address or prefix that the connection comes from"},
		{"destination", "address or prefix that it was opened to"},
		{"port", "destination port that it was opened to"},
		{"state", "protocol state, such as ESTABLISHED"},
		{"limit", "show at most so many"},
	}
	for _, u := range usage {
		cmd.Flags().String(u.name, "", u.text)
	}
	return func() (router.FlowFilter, error) {
		values := url.Values{}
		for _, u := range usage {
			if flag := cmd.Flags().Lookup(u.name); flag.Changed {
				values.Set(u.name, flag.Value.String())
			}
		}
		f, err := control.ParseFilter(values)
		if err != nil {
			return f, usageErrorf(cmd, "--%v", err)
		}
		return f, nil
	}
}

// printFlows writes flows as they arrive, and returns how many.
func printFlows(w io.Writer, format string, flows iter.Seq2[router.Flow, error]) (n int, err error) {
	switch format {
	case "json":
		return printFlowArray(w, flows)
	case "jsonl":
		encoder := json.NewEncoder(w)
		return eachFlow(flows, func(f *router.Flow) error { return encoder.Encode(f) })
	case "conntrack":
		return eachFlow(flows, func(f *router.Flow) error {
			_, err := io.WriteString(w, conntrackLine(f)+"\n")
			return err
		})
	}
	return printFlowTable(w, flows)
}

func eachFlow(flows iter.Seq2[router.Flow, error], print func(*router.Flow) error) (n int, err error) {
	for f, err := range flows {
		if err != nil {
			return n, err
		}
		if err := print(&f); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// printFlowArray writes one array with a flow a line. A list that was cut short has no end, so no reader takes it for whole;
// one that never began writes nothing.
func printFlowArray(w io.Writer, flows iter.Seq2[router.Flow, error]) (n int, err error) {
	before := "[\n  "
	n, err = eachFlow(flows, func(f *router.Flow) error {
		b, err := json.Marshal(f)
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, before+string(b))
		before = ",\n  "
		return err
	})
	if err != nil {
		return n, err
	}
	end := "\n]\n"
	if n == 0 {
		end = "[]\n"
	}
	_, err = io.WriteString(w, end)
	return n, err
}

func printFlowTable(w io.Writer, flows iter.Seq2[router.Flow, error]) (n int, err error) {
	t := newTable(
		column{title: "PROTO", min: 5}, column{title: "STATE", min: 11},
		column{title: "SOURCE"}, column{title: "DESTINATION"}, column{title: "TRANSLATED"},
		column{title: "TIMEOUT", right: true}, column{title: "BYTES", right: true, min: 9},
	)
	var rows [][]string
	n, err = eachFlow(flows, func(f *router.Flow) error {
		rows = append(rows, flowRow(f))
		if len(rows) < blockFlows {
			return nil
		}
		block := rows
		rows = rows[:0]
		return t.print(w, block)
	})
	if printErr := t.print(w, rows); err == nil { // what came before an error is shown, too
		err = printErr
	}
	return n, err
}

func flowRow(f *router.Flow) []string {
	return []string{
		f.Proto, flowState(f), endpoint(f.Proto, f.Original.Source, f.Original.SourcePort, f.Original.ICMPID),
		endpoint(f.Proto, f.Original.Destination, f.Original.DestinationPort, nil),
		translated(f), formatSeconds(f.Timeout), formatBytes(f.Original.Bytes + f.Reply.Bytes),
	}
}

// flowState is the protocol's state, or for protocols without one how far the connection has come.
func flowState(f *router.Flow) string {
	switch {
	case f.State != "":
		return f.State
	case hasStatus(f, "assured"):
		return "assured"
	case hasStatus(f, "seen-reply"):
		return "replied"
	}
	return "unreplied"
}

func hasStatus(f *router.Flow, name string) bool {
	for _, s := range f.Status {
		if s == name {
			return true
		}
	}
	return false
}

// endpoint is an address with what tells it from other endpoints of that address.
func endpoint(proto, address string, port, id *uint16) string {
	switch {
	case id != nil:
		return address + " id " + strconv.Itoa(int(*id))
	case port == nil:
		return address
	case proto == "gre":
		return address + " call " + strconv.Itoa(int(*port))
	}
	for _, c := range address {
		if c == ':' {
			address = "[" + address + "]"
			break
		}
	}
	return address + ":" + strconv.Itoa(int(*port))
}

// translated compares the reply direction with the original turned round: what differs was translated.
func translated(f *router.Flow) string {
	o, r := &f.Original, &f.Reply
	source := endpoint(f.Proto, r.Destination, r.DestinationPort, r.ICMPID)
	destination := endpoint(f.Proto, r.Source, r.SourcePort, nil)
	source, destination = "src "+source, "dst "+destination
	if source == "src "+endpoint(f.Proto, o.Source, o.SourcePort, o.ICMPID) {
		source = ""
	}
	if destination == "dst "+endpoint(f.Proto, o.Destination, o.DestinationPort, nil) {
		destination = ""
	}
	switch {
	case source == "" && destination == "":
		return "-"
	case source == "":
		return destination
	case destination == "":
		return source
	}
	return source + " " + destination
}
