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
func runMicro(ctx context.Context, log io.Writer) ([]microResult, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", ".", "-benchmem", "-cpu", "1", "-timeout", "30m", "./router/...")
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

// microUnits are shown, in this order.
var microUnits = []string{"ns/packet", "ns/flow", "ns/segment", "ns/op", "B/flow", "allocs/op"}

// printMicro sums the micro-benchmarks up, a line each.
func printMicro(out io.Writer, all []microResult) {
	if len(all) == 0 {
		return
	}
	rows := [][]string{append([]string{"IN MEMORY, 1 CORE", "PACKAGE"}, microUnits...)}
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
