//go:build linux

package main

import (
	"math"
	"slices"
)

// spread is the middle of several figures and how far they lie apart. The zero value has no figure.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Count  int     `json:"count"`
}

// newSpread sums figures up; it leaves their order as it is.
func newSpread(figures []float64) spread {
	if len(figures) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(figures))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (median + sorted[middle-1]) / 2
	}
	return spread{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1], Count: len(sorted)}
}

// pairs divides the figures of two systems round by round. A round that lacks one of the two (NaN) gives no ratio.
func pairs(figures, base []float64) []float64 {
	var ratios []float64
	for i := range min(len(figures), len(base)) {
		if r := figures[i] / base[i]; !math.IsNaN(r) && !math.IsInf(r, 0) {
			ratios = append(ratios, r)
		}
	}
	return ratios
}
