package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/router"
)

// demoResult is what became of one scene in one family.
type demoResult struct {
	scene, family, figure string
	took                  time.Duration
	err                   error
	flows                 []router.Flow // that the scene made: the last, or what was up when the scene said to look
}

// show runs every scene and prints what passed.
func (d *demo) show(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	fmt.Fprint(d.out, "client 10.77.0.2 fd77::2  --lan0--  natrouter  --wan0--  server 203.0.113.2 2001:db8:113::2\n"+
		"second client 10.77.0.3 fd77::3, behind the first\n\n")
	var results []demoResult
	start := time.Now()
	for _, s := range slices.Concat(netlab.Scenes(), netlab.HelperScenes()) {
		for _, p := range d.paths() {
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted: %w", context.Cause(ctx))
			}
			results = append(results, d.runScene(ctx, s, p))
		}
	}
	return d.report(results, time.Since(start))
}

// runScene runs one scene, shows its progress, and finds a flow that it made.
func (d *demo) runScene(ctx context.Context, s netlab.Scene, p *netlab.Path) demoResult {
	line := startProgress(d.out, fmt.Sprintf("%-16s%s", s.Name, p.Family()))
	r := demoResult{scene: s.Name, family: p.Family()}
	p.Look = func() { r.flows = d.flowsOf(s, p.ClientAddr, p.SecondAddr) }
	start := time.Now()
	r.figure, r.err = s.Run(ctx, p, line.say)
	r.took = time.Since(start)
	if r.err != nil {
		line.end("FAILED: " + r.err.Error())
	} else {
		line.end(r.figure)
	}
	if r.flows == nil {
		r.flows = d.newestFlow(s, p)
	}
	return r
}

// flowsOf returns the flows of a scene's protocol from some clients.
func (d *demo) flowsOf(s netlab.Scene, clients ...netip.Addr) (all []router.Flow) {
	for _, c := range clients {
		flows, err := d.router.Flows(router.FlowFilter{Proto: s.Protocol, Source: c.String()})
		if err == nil {
			all = append(all, flows...)
		}
	}
	return all
}

// newestFlow returns the youngest flow of a scene's protocol between its ends.
func (d *demo) newestFlow(s netlab.Scene, p *netlab.Path) []router.Flow {
	filter := router.FlowFilter{Proto: s.Protocol, Source: p.ClientAddr.String(), Destination: p.ServerAddr.String()}
	if s.Protocol == "icmp" && p.ClientAddr.Is6() {
		filter.Proto = "icmpv6"
	}
	if s.Inbound {
		filter.Source, filter.Destination = p.ServerAddr.String(), p.OutsideAddr.String()
	}
	flows, err := d.router.Flows(filter)
	if err != nil || len(flows) == 0 {
		return nil
	}
	newest := slices.MinFunc(flows, func(a, b router.Flow) int {
		switch {
		case a.Age < b.Age:
			return -1
		case a.Age > b.Age:
			return 1
		}
		return 0
	})
	return []router.Flow{newest}
}

// report prints the translations seen and the table of what passed. It fails unless all passed.
func (d *demo) report(results []demoResult, took time.Duration) error {
	var flows, rows [][]string
	failed := 0
	for _, r := range results {
		for i := range r.flows {
			cells := flowRow(&r.flows[i])
			flows = append(flows, []string{r.scene, cells[0], cells[2], cells[3], cells[4]})
		}
		verdict, figure := "passed", r.figure
		if r.err != nil {
			verdict, figure = "FAILED", r.err.Error()
			failed++
		}
		rows = append(rows, []string{r.scene, r.family, verdict, r.took.Round(time.Millisecond).String(), figure})
	}
	fmt.Fprintln(d.out, "\nTranslations seen:")
	err := newTable(column{title: "SCENE"}, column{title: "PROTO"}, column{title: "SOURCE"}, column{title: "DESTINATION"},
		column{title: "TRANSLATED"}).print(d.out, flows)
	if err != nil {
		return err
	}
	fmt.Fprintln(d.out)
	err = newTable(column{title: "SCENE"}, column{title: "FAMILY"}, column{title: "RESULT"}, column{title: "TIME", right: true},
		column{title: "FIGURES"}).print(d.out, rows)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n%s\n", d.summary())
	if failed > 0 {
		return fmt.Errorf("%d of %d failed", failed, len(results))
	}
	fmt.Fprintf(d.out, "All %d passed in %s.\n", len(results), took.Round(100*time.Millisecond))
	return nil
}

// summary is the router's own count: flows, and drops by reason.
func (d *demo) summary() string {
	s := d.router.Status()
	var drops []string
	for _, reason := range slices.Sorted(maps.Keys(s.Drops)) {
		if n := s.Drops[reason]; n > 0 {
			drops = append(drops, fmt.Sprintf("%s %d", reason, n))
		}
	}
	if len(drops) == 0 {
		drops = []string{"none"}
	}
	var packets, bytes uint64
	for _, i := range s.Interfaces {
		packets += i.PacketsIn
		bytes += i.BytesIn
	}
	return fmt.Sprintf("The router took %d packets of %s, knows %d flows, and dropped: %s.",
		packets, formatBytes(bytes), s.Flows, strings.Join(drops, ", "))
}
