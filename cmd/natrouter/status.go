package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/natrouter/natrouter/router"
	"github.com/spf13/cobra"
)

func newStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the running router in numbers",
		Long: `status asks the running router how it is: uptime, interfaces and their counters, connections and
mappings, how many packets it dropped for which reason, and what its helpers counted. In and out
are the router's view: what went in came from the device.

The table leaves out the reasons and counters at zero; --all shows them too, as JSON always does.`,
		Example: `  natrouter status
  natrouter status --all --socket /run/natrouter/control.sock
  natrouter status -o json | jq .drops
  natrouter status -o json | jq .helpers.pptp`,
		Args: noArgs,
	}
	client, output := addSocketFlag(cmd), addOutputFlag(cmd, "table", "json")
	all := cmd.Flags().Bool("all", false, "show what has not happened, too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		format, err := output()
		if err != nil {
			return err
		}
		c, err := client()
		if err != nil {
			return err
		}
		defer c.Close()
		status, err := c.Status(cmd.Context())
		if err != nil {
			return reachError(err)
		}
		if format == "json" {
			encoder := json.NewEncoder(cmd.OutOrStdout())
			encoder.SetIndent("", "  ")
			return encoder.Encode(status)
		}
		return printStatus(cmd.OutOrStdout(), &status, *all)
	}
	return cmd
}

func printStatus(w io.Writer, s *router.Status, all bool) error {
	_, err := fmt.Fprintf(w, "up %s   flows %d of %d   mappings %d\n\n", formatSeconds(s.Uptime), s.Flows, s.FlowsMax, s.Mappings)
	if err != nil {
		return err
	}
	if err := interfaceTable().print(w, interfaceRows(s.Interfaces)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	rows := dropRows(s.Drops, all)
	if len(rows) == 0 {
		if _, err := fmt.Fprintln(w, "no drops"); err != nil {
			return err
		}
	}
	if err := newTable(column{title: "DROPPED", min: 20}, column{title: "PACKETS", right: true}).print(w, rows); err != nil {
		return err
	}
	return printHelpers(w, s.Helpers, all)
}

// printHelpers prints nothing where no helper has counted anything.
func printHelpers(w io.Writer, helpers map[string]map[string]uint64, all bool) error {
	rows := helperRows(helpers, all)
	if len(rows) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return newTable(column{title: "HELPER"}, column{title: "COUNTER", min: 20}, column{title: "COUNT", right: true}).print(w, rows)
}

// helperRows lists the counters of each helper, both by name: so a counter stays where it is when somebody watches it.
func helperRows(helpers map[string]map[string]uint64, all bool) (rows [][]string) {
	for _, helper := range slices.Sorted(maps.Keys(helpers)) {
		counters := helpers[helper]
		for _, name := range slices.Sorted(maps.Keys(counters)) {
			if n := counters[name]; n > 0 || all {
				rows = append(rows, []string{helper, name, strconv.FormatUint(n, 10)})
			}
		}
	}
	return rows
}

func interfaceTable() *table {
	return newTable(
		column{title: "INTERFACE"}, column{title: "SIDE", min: 7}, column{title: "DRIVER"}, column{title: "MTU", right: true},
		column{title: "PACKETS IN", right: true}, column{title: "BYTES IN", right: true},
		column{title: "PACKETS OUT", right: true}, column{title: "BYTES OUT", right: true},
		column{title: "ADDRESSES"},
	)
}

// interfaceRows gives each address a line of its own, so that many of them don't make the table wide.
func interfaceRows(interfaces []router.InterfaceStatus) [][]string {
	var rows [][]string
	for i := range interfaces {
		in := &interfaces[i]
		row := []string{
			in.Name, in.Side, in.Driver, strconv.Itoa(in.MTU),
			strconv.FormatUint(in.PacketsIn, 10), formatBytes(in.BytesIn),
			strconv.FormatUint(in.PacketsOut, 10), formatBytes(in.BytesOut), "",
		}
		for j, address := range in.Addresses {
			if j > 0 {
				row = make([]string, len(row))
			}
			row[len(row)-1] = address
			rows = append(rows, row)
		}
		if len(in.Addresses) == 0 {
			rows = append(rows, row)
		}
	}
	return rows
}

// dropRows lists the reasons by falling count; equal ones by name.
func dropRows(drops map[string]uint64, all bool) [][]string {
	reasons := make([]string, 0, len(drops))
	for reason, n := range drops {
		if n > 0 || all {
			reasons = append(reasons, reason)
		}
	}
	slices.SortFunc(reasons, func(a, b string) int {
		if drops[a] != drops[b] {
			if drops[a] > drops[b] {
				return -1
			}
			return 1
		}
		if a < b {
			return -1
		}
		return 1
	})
	rows := make([][]string, len(reasons))
	for i, reason := range reasons {
		rows[i] = []string{reason, strconv.FormatUint(drops[reason], 10)}
	}
	return rows
}
