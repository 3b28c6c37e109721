//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// print writes the tables: figures, ratios, cost, memory.
func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "%s, %d cores, Linux %s, %s, TCP %s; %d rounds of %.2g s; median (least-largest)\n\n",
		r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Go, r.TCP, r.Rounds, r.Window)
	r.printFigures(out)
	r.printRatios(out)
	r.printCost(out)
	r.printMemory(out)
	printMicro(out, r.Micro)
}

// table writes cells in columns.
func table(out io.Writer, rows [][]string) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
	fmt.Fprintln(out)
}

// columns are the systems that were measured.
func (r *report) columns() []string {
	var names []string
	for _, s := range r.Systems {
		if s.Error == "" && s.Name != crowdName {
			names = append(names, s.Name)
		}
	}
	return names
}

func (r *report) printFigures(out io.Writer) {
	columns := r.columns()
	rows := [][]string{append([]string{"FIGURE", "UNIT"}, columns...)}
	for _, f := range r.Figures {
		cells := []string{f.Name, f.Unit}
		if crowd := f.Results[crowdName]; crowd != nil {
			rows = append(rows, append(cells, cell(crowd)))
			continue
		}
		for _, name := range columns {
			cells = append(cells, cell(f.Results[name]))
		}
		rows = append(rows, cells)
	}
	table(out, rows)
	for _, s := range r.Systems {
		if s.Error != "" {
			fmt.Fprintf(out, "%s: not measured: %s\n", s.Name, s.Error)
		}
	}
	for _, f := range r.Figures {
		for name, res := range f.Results {
			if why := res.failure(); why != "" {
				fmt.Fprintf(out, "%s, %s: %s\n", f.Name, name, why)
			}
		}
	}
	fmt.Fprintln(out)
}

// cell is a result as the table shows it.
func cell(r *result) string {
	switch {
	case r == nil:
		return "-"
	case r.failure() != "":
		return "failed"
	}
	return r.Spread.String()
}

func (s spread) String() string {
	return fmt.Sprintf("%s (%s-%s)", short(s.Median), short(s.Min), short(s.Max))
}

// short prints three digits.
func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// printRatios shows the ratios that have a bar, then all others, a row a line.
func (r *report) printRatios(out io.Writer) {
	rows := [][]string{{"RATIO", "OF", "BY", "MEASURED", "BAR", "AIM", "REACHED"}}
	others := map[string]map[string]string{} // by row and base
	for i := range r.Ratios {
		x := &r.Ratios[i]
		measured := x.Spread.String()
		if x.Refused != "" {
			measured = "none: " + x.Refused
		}
		if x.Bar == 0 {
			if others[x.Row] == nil {
				others[x.Row] = map[string]string{}
			}
			others[x.Row][x.Base] = measured
			continue
		}
		sign := ">="
		if x.AtMost {
			sign = "<="
		}
		rows = append(rows, []string{x.Row, x.System, x.Base, measured, sign + short(x.Bar), sign + short(x.Aim), x.met()})
	}
	table(out, rows)
	rows = [][]string{append([]string{"OTHER RATIOS: natrouter BY"}, compared...)}
	for _, f := range r.Figures {
		if others[f.Name] == nil {
			continue
		}
		name := f.Name
		if f.Lower {
			name += " (less is better)"
		}
		cells := []string{name}
		for _, base := range compared {
			text := cmp.Or(others[f.Name][base], "above")
			if f.Results[base] == nil {
				text = "-"
			}
			cells = append(cells, text)
		}
		rows = append(rows, cells)
	}
	table(out, rows)
}

// printCost shows what a system's process used of the CPU. The kernel has no process of its own.
func (r *report) printCost(out io.Writer) {
	columns := r.columns()
	rows := [][]string{append([]string{"CPU OF THE PROCESS", "UNIT"}, columns...)}
	for _, f := range r.Figures {
		unit := ""
		switch f.Unit {
		case "Gbit/s":
			unit = "s/GB"
		case "kpps":
			unit = "µs/packet"
		case "k/s":
			unit = "µs/connection"
		default:
			continue
		}
		cells := []string{f.Name, unit}
		for _, name := range columns {
			cells = append(cells, f.Results[name].cost(unit))
		}
		rows = append(rows, cells)
	}
	table(out, rows)
}

// cost is CPU time by what arrived.
func (r *result) cost(unit string) string {
	if r == nil || r.failure() != "" {
		return "-"
	}
	var costs []float64
	for _, s := range r.Samples {
		switch {
		case s.CPU == 0:
		case unit == "s/GB":
			costs = append(costs, s.CPU*1e9/float64(s.Bytes))
		default:
			costs = append(costs, s.CPU*1e6/float64(s.Packets))
		}
	}
	if len(costs) == 0 {
		return "-"
	}
	return newSpread(costs).String()
}

func (r *report) printMemory(out io.Writer) {
	rows := [][]string{{"MEMORY", "AT THE END, MiB", "PEAK, MiB"}}
	for _, s := range r.Systems {
		if s.RSS != 0 {
			rows = append(rows, []string{s.Name, fmt.Sprint(s.RSS >> 20), fmt.Sprint(s.Peak >> 20)})
		}
	}
	table(out, rows)
}
