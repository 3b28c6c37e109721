//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// row is one line of the table.
type row struct {
	Name  string `json:"name"`
	Unit  string `json:"unit"`
	Lower bool   `json:"lower_is_better,omitempty"`
}

// workload is one kind of traffic.
type workload struct {
	name     string
	rows     []row    // what measure returns a sample for
	quick    bool     // part of a quick run
	rounds   int      // at most; 0: no limit
	only     []string // names of systems; none: all but the crowded one
	ipv6     bool     // for systems that carry it
	newFlows bool     // it leaves many flows behind
	measure  func(context.Context, *system, time.Duration) ([]sample, error)
}

// takes reports whether a system is measured in the workload.
func (w *workload) takes(s *system) bool {
	if w.ipv6 && !s.server6.IsValid() {
		return false
	}
	if w.only != nil {
		return slices.Contains(w.only, s.name)
	}
	return s.name != crowdName
}

// Names of rows that have a bar.
const (
	rowUp1      = "TCP up, 1 flow"
	rowDown1    = "TCP down, 1 flow"
	rowNoTSO1   = "TCP up, ingress without TSO, 1 flow"
	rowSmall1   = "UDP 64 B, 1 flow"
	rowSmall64  = "UDP 64 B, 64 flows interleaved"
	rowNewUDP   = "UDP, a new flow a datagram"
	rowEmpty99  = "round trip p99, empty table"
	rowCrowd99  = "round trip p99, full table expiring"
	rowCrowdRSS = "memory a flow, 64 inside endpoints"
	rowPPTP     = "PPTP GRE data, 1400 B"
	rowLarge1   = "UDP 1400 B, 1 flow"
)

// udpHeader is what a datagram has that a GRE packet of its size has as payload, bytes.
const udpHeader = 8

// loaded is the load beside which latency is measured.
var loaded = bulk{up: 4}

// workloads are all of them, in the order of the table.
func workloads(o *options) []workload {
	gbit := func(name string, quick bool, b bulk) workload {
		return workload{name: name, rows: []row{{Name: name, Unit: "Gbit/s"}}, quick: quick, measure: b.measure}
	}
	kpps := func(name string, quick bool, f flood) workload {
		return workload{name: name, rows: []row{{Name: name, Unit: "kpps"}}, quick: quick, measure: f.measure}
	}
	noTSO := func(name string, quick bool, b bulk) workload {
		w := gbit(name, quick, b)
		w.measure = b.withoutTSO
		return w
	}
	trips := func(name string, l latency) workload {
		return workload{name: name, quick: true, measure: l.measure, rows: []row{
			{Name: name + " p50", Unit: "µs", Lower: true}, {Name: name + " p99", Unit: "µs", Lower: true},
		}}
	}
	overIPv6 := func(name string, b bulk) workload {
		w := gbit(name, false, b)
		w.ipv6 = true
		return w
	}
	newUDP := kpps(rowNewUDP, true, flood{size: 64})
	newUDP.newFlows = true
	crowd := crowded{flows: o.crowd}
	return []workload{
		gbit(rowUp1, true, bulk{up: 1}),
		gbit(rowDown1, true, bulk{down: 1}),
		overIPv6("TCP up, 1 flow, IPv6", bulk{up: 1, ipv6: true}),
		overIPv6("TCP down, 1 flow, IPv6", bulk{down: 1, ipv6: true}),
		gbit("TCP both ways, 1 flow each", false, bulk{up: 1, down: 1}),
		gbit("TCP up, 16 flows", true, bulk{up: 16}),
		gbit("TCP down, 16 flows", false, bulk{down: 16}),
		gbit("TCP both ways, 16 flows each", false, bulk{up: 16, down: 16}),
		noTSO(rowNoTSO1, true, bulk{up: 1}),
		noTSO("TCP up, ingress without TSO, 16 flows", false, bulk{up: 16}),
		kpps(rowSmall1, true, flood{size: 64, flows: 1}),
		kpps(rowSmall64, true, flood{size: 64, flows: 64}),
		kpps(rowLarge1, true, flood{size: 1400, flows: 1}),
		kpps("UDP 1400 B, 64 flows interleaved", false, flood{size: 1400, flows: 64}),
		newUDP,
		{name: "TCP connect and close", quick: true, newFlows: true, measure: connections,
			rows: []row{{Name: "TCP connect and close", Unit: "k/s"}}},
		trips("round trip, idle,", latency{}),
		trips(fmt.Sprintf("round trip beside %d TCP flows up,", loaded.up), latency{beside: loaded}),
		{name: rowPPTP, quick: true, only: []string{natrouterName, slowName, copyName, plainCopyName}, measure: (&pptp{size: udpHeader + 1400}).measure,
			rows: []row{{Name: rowPPTP, Unit: "kpps"}}},
		{name: "crowded table", quick: true, rounds: 2, only: []string{crowdName}, measure: crowd.measure, rows: []row{
			{Name: "round trip p50, empty table", Unit: "µs", Lower: true}, {Name: rowEmpty99, Unit: "µs", Lower: true},
			{Name: "round trip p50, full table expiring", Unit: "µs", Lower: true}, {Name: rowCrowd99, Unit: "µs", Lower: true},
			{Name: rowCrowdRSS, Unit: "B", Lower: true},
		}},
	}
}
