//go:build linux

package main

import "fmt"

// bar is a ratio that natrouter shall reach.
type bar struct {
	row      string
	system   string // natrouter unless it says otherwise
	base     string // the system that it is compared with
	baseRow  string // another row of the same system, instead of another system
	bar, aim float64
	atMost   bool // bar and aim are the largest allowed, not the least
}

// bars are what natrouter is to reach, and what it aims at.
var bars = []bar{
	{row: rowUp1, base: copyName, bar: 0.90, aim: 1},
	{row: rowDown1, base: copyName, bar: 0.90, aim: 1},
	{row: rowUp1, base: kernelName, bar: 0.75, aim: 1},
	{row: rowDown1, base: kernelName, bar: 0.65, aim: 1},
	{row: rowUp1, base: netstackName, bar: 12, aim: 20},
	{row: rowDown1, base: netstackName, bar: 12, aim: 20},
	{row: rowSmall1, base: copyName, bar: 1.5, aim: 2},
	{row: rowSmall1, base: kernelName, bar: 1, aim: 1.3},
	{row: rowSmall64, base: copyName, bar: 1.2, aim: 1.5},
	{row: rowNoTSO1, base: copyName, bar: 1.5, aim: 3},
	{row: rowNewUDP, base: kernelName, bar: 0.7, aim: 1},
	{row: rowCrowd99, system: crowdName, baseRow: rowEmpty99, bar: 2, aim: 1.2, atMost: true},
	{row: rowPPTP, baseRow: rowLarge1, bar: 0.8, aim: 1},
}

// compared are the systems that natrouter is compared with in every row, bar or not.
var compared = []string{copyName, kernelName, netstackName}

// ratio is natrouter's figure by another. Without a value, Refused says why.
type ratio struct {
	Row     string  `json:"row"`
	System  string  `json:"system"`
	Base    string  `json:"base"`
	Spread  spread  `json:"spread"`
	Bar     float64 `json:"bar,omitempty"`
	Aim     float64 `json:"aim,omitempty"`
	AtMost  bool    `json:"at_most,omitempty"`
	Refused string  `json:"refused,omitempty"`
}

// met says how a ratio stands to its bar: "aim", "bar", "missed", or nothing without a bar.
func (r *ratio) met() string {
	reaches := func(limit float64) bool {
		if r.AtMost {
			return r.Spread.Median <= limit
		}
		return r.Spread.Median >= limit
	}
	switch {
	case r.Refused != "" || r.Bar == 0:
		return ""
	case reaches(r.Aim):
		return "aim"
	case reaches(r.Bar):
		return "bar"
	}
	return "missed"
}

// ratios makes all ratios that can be made and notes why the others can't.
func (r *report) ratios() {
	done := map[[2]string]bool{}
	for _, b := range bars {
		system, base, baseRow := b.system, b.base, b.baseRow
		if system == "" {
			system = natrouterName
		}
		if base == "" {
			base = system
		}
		if baseRow == "" {
			baseRow = b.row
		}
		if r.figure(b.row) == nil {
			continue // not part of this run
		}
		made := r.ratio(b.row, system, baseRow, base)
		made.Bar, made.Aim, made.AtMost = b.bar, b.aim, b.atMost
		if b.baseRow != "" {
			made.Base = b.baseRow
		}
		r.Ratios = append(r.Ratios, made)
		done[[2]string{b.row, base}] = true
	}
	for _, f := range r.Figures {
		for _, base := range compared {
			if f.Results[natrouterName] == nil || f.Results[base] == nil || done[[2]string{f.Name, base}] {
				continue
			}
			r.Ratios = append(r.Ratios, r.ratio(f.Name, natrouterName, f.Name, base))
		}
	}
}

// ratio divides one system's figure by another's. It refuses when a side failed in a round or moved nothing.
func (r *report) ratio(row, system, baseRow, base string) ratio {
	made := ratio{Row: row, System: system, Base: base}
	top, why := r.side(row, system)
	below, whyBelow := r.side(baseRow, base)
	switch {
	case why != "":
		made.Refused = why
	case whyBelow != "":
		made.Refused = whyBelow
	default:
		made.Spread = newSpread(pairs(top.values(), below.values()))
	}
	return made
}

// side finds one side of a ratio, or why there is none.
func (r *report) side(row, system string) (*result, string) {
	f := r.figure(row)
	if f == nil {
		return nil, fmt.Sprintf("%s: not part of this run", row)
	}
	res := f.Results[system]
	if res == nil {
		for _, s := range r.Systems {
			if s.Name == system && s.Error != "" {
				return nil, fmt.Sprintf("%s: %s", system, s.Error)
			}
		}
		return nil, fmt.Sprintf("%s: not measured", system)
	}
	if why := res.failure(); why != "" {
		return nil, fmt.Sprintf("%s failed: %s", system, why)
	}
	if res.Spread.Count == 0 || res.Spread.Min <= 0 {
		return nil, fmt.Sprintf("%s moved nothing", system)
	}
	return res, ""
}
