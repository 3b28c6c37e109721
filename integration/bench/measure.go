//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// sample is one measurement of one system.
type sample struct {
	Value   float64 `json:"value"`             // in the unit of its row
	Seconds float64 `json:"seconds"`           // the window as it was
	CPU     float64 `json:"cpu_seconds"`       // of the system's process in the window; 0: the kernel
	Bytes   uint64  `json:"bytes,omitempty"`   // payload that arrived in the window
	Packets uint64  `json:"packets,omitempty"` // datagrams, connections or round trips in the window
	Sent    uint64  `json:"sent,omitempty"`    // datagrams handed to the kernel, warm-up included
	Failed  uint64  `json:"failed,omitempty"`  // connections that were not made, requests without an answer

	count uint64
}

var errNothing = errors.New("nothing arrived")

// warmUp is how long a load runs before it is measured.
func warmUp(window time.Duration) time.Duration { return max(window/5, 100*time.Millisecond) }

// meter waits for the warm-up and the window, and returns what a counter and the CPU clock of the system moved on.
func meter(ctx context.Context, s *system, window time.Duration, count *atomic.Uint64) (sample, error) {
	if err := sleep(ctx, warmUp(window)); err != nil {
		return sample{}, err
	}
	start, from := time.Now(), count.Load()
	cpu, err := s.cpu()
	if err != nil {
		return sample{}, err
	}
	if err := sleep(ctx, window); err != nil {
		return sample{}, err
	}
	moved, took := count.Load()-from, time.Since(start)
	end, err := s.cpu()
	if err != nil {
		return sample{}, err
	}
	return sample{Seconds: took.Seconds(), CPU: (end - cpu).Seconds(), count: moved}, nil
}

// measure has the systems take turns in every workload.
func measure(ctx context.Context, o *options, all []*system, report *report) {
	for _, w := range workloads(o) {
		if !o.run.MatchString(w.name) || o.quick && !w.quick {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s\n", w.name)
		rounds := o.rounds
		if w.rounds != 0 {
			rounds = min(rounds, w.rounds)
		}
		for round := range rounds {
			for _, s := range all {
				if ctx.Err() != nil {
					return
				}
				if s.err == nil && w.takes(s) {
					samples, err := measureOnce(ctx, &w, s, o.window)
					report.add(&w, s, round, samples, err)
				}
			}
		}
	}
}

// measureOnce measures one system once. A figure of nothing is an error.
func measureOnce(ctx context.Context, w *workload, s *system, window time.Duration) ([]sample, error) {
	samples, err := w.measure(ctx, s, window)
	if w.newFlows && s.flush != nil {
		err = errors.Join(err, s.flush())
	}
	if err != nil {
		return nil, err
	}
	for _, m := range samples {
		if m.Value <= 0 {
			return nil, errNothing
		}
	}
	return samples, nil
}
