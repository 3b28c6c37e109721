//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
)

// microResult is one benchmark of `go test -bench`.
type microResult struct {
	Package string             `json:"package"`
	Name    string             `json:"name"`
	Metrics map[string]float64 `json:"metrics"` // by unit: ns/op, allocs/op, ns/packet and so on
}

const modulePath = "github.com/natrouter/natrouter/"

// runMicro runs the benchmarks of router/... on one core, with their output on log as it comes.
func runMicro(ctx context.Context, quick bool, log io.Writer) ([]microResult, error) {
	args := []string{"test", "-run", "^$", "-bench", ".", "-benchmem", "-cpu", "1", "-timeout", "30m"}
	if quick {
		args = append(args, "-benchtime", "50ms")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, modulePath+"router/...")...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, log), log
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	return parseMicro(out.String()), nil
}

// parseMicro takes the benchmarks out of the output of go test.
func parseMicro(text string) []microResult {
	var all []microResult
	pkg := ""
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == "pkg:" {
			pkg = strings.TrimPrefix(fields[1], modulePath)
		}
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		m := microResult{Package: pkg, Name: strings.TrimPrefix(fields[0], "Benchmark"), Metrics: map[string]float64{}}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				m.Metrics[fields[i+1]] = v
			}
		}
		all = append(all, m)
	}
	return all
}

// microBar is what a micro-benchmark is to reach, at most.
type microBar struct {
	what       string
	name, unit string
	by         string // divided by this benchmark; empty: by nothing
	bar, aim   float64
}

// microBars are those of the figures that need no network.
var microBars = []microBar{
	{what: "fast path, 64 B UDP, ns", name: "Established/UDP-64", unit: "ns/packet", bar: 120, aim: 60},
	{what: "fast path, 1460 B TCP, ns", name: "Established/TCP-1460", unit: "ns/packet", bar: 120, aim: 60},
	{what: "new flow at 1 M, tracking only, ns", name: "New/1000000-conns", unit: "ns/op", bar: 1500, aim: 600},
	{what: "lookup at 1 M by 10 k, UDP in batches", name: "TrackBatch/udp/1000000-conns", unit: "ns/op",
		by: "TrackBatch/udp/10000-conns", bar: 2, aim: 1.4},
	{what: "lookup at 1 M by 10 k, TCP in batches", name: "TrackBatch/tcp/1000000-conns", unit: "ns/op",
		by: "TrackBatch/tcp/10000-conns", bar: 2, aim: 1.4},
	{what: "memory a UDP flow at 1 M, tracking only, B", name: "Track/udp/1000000-conns", unit: "B/flow", bar: 384, aim: 200},
	{what: "memory a flow at 1 M, each its own inside endpoint, B", name: "OwnEndpoint", unit: "B/flow", bar: 512, aim: 300},
	{what: "memory a TCP flow at 1 M, tracking only, B", name: "Track/tcp/1000000-conns", unit: "B/flow", bar: 384, aim: 200},
}

// printMicroBars compares the micro-benchmarks with their bars. One that was not run is named.
func printMicroBars(out io.Writer, all []microResult) {
	find := func(name, unit string) (float64, bool) {
		for _, m := range all {
			if v, ok := m.Metrics[unit]; ok && m.Name == name {
				return v, true
			}
		}
		return 0, false
	}
	rows := [][]string{{"IN MEMORY, 1 CORE", "MEASURED", "BAR", "AIM", "REACHED"}}
	for _, b := range microBars {
		v, ok := find(b.name, b.unit)
		base := 1.0
		if ok && b.by != "" {
			base, ok = find(b.by, b.unit)
		}
		if !ok || base <= 0 {
			rows = append(rows, []string{b.what, "none: no such benchmark"})
			continue
		}
		x := ratio{Spread: spread{Median: v / base}, Bar: b.bar, Aim: b.aim, AtMost: true}
		rows = append(rows, []string{b.what, short(v / base), "<=" + short(b.bar), "<=" + short(b.aim), x.met()})
	}
	table(out, rows)
}

// microUnits are shown, in this order.
var microUnits = []string{"ns/packet", "ns/flow", "ns/segment", "ns/op", "B/flow", "allocs/op"}

// printMicro sums the micro-benchmarks up, a line each.
func printMicro(out io.Writer, all []microResult) {
	if len(all) == 0 {
		return
	}
	printMicroBars(out, all)
	rows := [][]string{append([]string{"MICRO-BENCHMARK, 1 CORE", "PACKAGE"}, microUnits...)}
	for _, m := range all {
		cells := []string{m.Name, m.Package}
		for _, unit := range microUnits {
			text := ""
			if v, ok := m.Metrics[unit]; ok {
				text = fmt.Sprint(v)
			}
			cells = append(cells, text)
		}
		rows = append(rows, cells)
	}
	table(out, rows)
}
