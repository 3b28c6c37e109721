//go:build linux

package main

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for name, tt := range map[string]struct {
		in   []float64
		want spread
	}{
		"none": {nil, spread{}},
		"one":  {[]float64{3}, spread{3, 3, 3, 1}},
		"odd":  {[]float64{9, 1, 2}, spread{2, 1, 9, 3}},
		"even": {[]float64{4, 1, 2, 9}, spread{3, 1, 9, 4}},
	} {
		if got := newSpread(tt.in); got != tt.want {
			t.Errorf("%s: newSpread(%v) = %+v, want %+v", name, tt.in, got, tt.want)
		}
	}
}

// TestPairs: a ratio is made within a round.
func TestPairs(t *testing.T) {
	got := pairs([]float64{2, math.NaN(), 9, 1}, []float64{1, 1, 3, math.NaN(), 5})
	if want := []float64{2, 3}; !slices.Equal(got, want) {
		t.Errorf("pairs = %v, want %v", got, want)
	}
}

// TestRatioRefused: no ratio without two sides that worked in every round.
func TestRatioRefused(t *testing.T) {
	w := &workload{rows: []row{{Name: rowUp1}}}
	good := []sample{{Value: 2}}
	for name, tt := range map[string]struct {
		base    func(*report, *system)
		refused string
	}{
		"both worked": {func(r *report, s *system) { r.add(w, s, 0, good, nil) }, ""},
		"failed": {func(r *report, s *system) { r.add(w, s, 0, nil, errors.New("no way through")) },
			"copy failed: no way through"},
		"failed once": {func(r *report, s *system) {
			r.add(w, s, 0, good, nil)
			r.add(w, s, 1, nil, errNothing)
		}, "copy failed: nothing arrived"},
		"left out a round": {func(r *report, s *system) { r.add(w, s, 1, good, nil) }, "copy failed: not measured"},
		"moved nothing":    {func(r *report, s *system) { r.add(w, s, 0, []sample{{}}, nil) }, "copy moved nothing"},
		"not there":        {func(*report, *system) {}, "copy: not measured"},
		"not to be had": {func(r *report, s *system) {
			r.Systems = append(r.Systems, systemInfo{Name: s.name, Error: "not installed"})
		}, "copy: not installed"},
	} {
		r := &report{}
		r.add(w, &system{name: natrouterName}, 0, []sample{{Value: 4}}, nil)
		tt.base(r, &system{name: copyName})
		got := r.ratio(rowUp1, natrouterName, rowUp1, copyName)
		if got.Refused != tt.refused {
			t.Errorf("%s: refused %q, want %q", name, got.Refused, tt.refused)
		}
		if tt.refused == "" && got.Spread.Median != 2 || tt.refused != "" && got.Spread != (spread{}) {
			t.Errorf("%s: %+v", name, got.Spread)
		}
	}
}

func TestMet(t *testing.T) {
	for name, tt := range map[string]struct {
		ratio ratio
		want  string
	}{
		"aim":              {ratio{Spread: spread{Median: 2}, Bar: 1, Aim: 2}, "aim"},
		"bar":              {ratio{Spread: spread{Median: 1}, Bar: 1, Aim: 2}, "bar"},
		"missed":           {ratio{Spread: spread{Median: 0.9}, Bar: 1, Aim: 2}, "missed"},
		"at most, aim":     {ratio{Spread: spread{Median: 1}, Bar: 2, Aim: 1.2, AtMost: true}, "aim"},
		"at most, missed":  {ratio{Spread: spread{Median: 3}, Bar: 2, Aim: 1.2, AtMost: true}, "missed"},
		"no bar":           {ratio{Spread: spread{Median: 3}}, ""},
		"refused":          {ratio{Bar: 1, Aim: 1, Refused: "why"}, ""},
		"refused, at most": {ratio{Bar: 1, Aim: 1, AtMost: true, Refused: "why"}, ""},
	} {
		if got := tt.ratio.met(); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestParseMicro(t *testing.T) {
	got := parseMicro(`goos: linux
pkg: github.com/natrouter/natrouter/router
BenchmarkEstablished/UDP-64         	   10000	     11000 ns/op	       171.9 ns/packet	       0 B/op	       0 allocs/op
--- BENCH: BenchmarkOther
PASS
`)
	if len(got) != 1 || got[0].Package != "router" || got[0].Name != "Established/UDP-64" || got[0].Metrics["ns/packet"] != 171.9 {
		t.Errorf("%+v", got)
	}
	var out strings.Builder
	printMicro(&out, got)
	for _, want := range []string{"172", "<=120", "missed", "171.9", "no such benchmark"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
