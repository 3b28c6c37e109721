//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// echoSize is the payload of a request and its answer, bytes.
const echoSize = 64

// loadedWindow is the least window beside a load, where a round trip waits behind what the queues hold and few fit in.
const loadedWindow = time.Second

// latency sends a request, waits for its answer and sends the next, beside a bulk load or none. It returns the median
// and the 99th percentile of the time between, in microseconds.
type latency struct {
	beside bulk
}

func (l latency) measure(ctx context.Context, s *system, window time.Duration) ([]sample, error) {
	if l.beside != (bulk{}) {
		window = max(window, loadedWindow)
		load, err := l.beside.start(ctx, s)
		if err != nil {
			return nil, err
		}
		defer load.stop()
		if err := sleep(ctx, warmUp(window)); err != nil {
			return nil, err
		}
	}
	return roundTrips(ctx, s, window)
}

func roundTrips(ctx context.Context, s *system, window time.Duration) ([]sample, error) {
	server, err := newDatagramSocket(s.server, echoPort)
	if err != nil {
		return nil, err
	}
	defer unix.Close(server)
	client, err := newDatagramSocket(s.client, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(client)
	if err := unix.Connect(client, sockaddr(s.server4, echoPort)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	wait.Go(func() { echo(ctx, server) })

	var took []time.Duration
	var lost uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		took, lost = ask(ctx, client, window)
	}()
	var none atomic.Uint64
	t, err := meter(ctx, s, window, &none)
	cancel()
	<-done
	switch {
	case err != nil:
		return nil, err
	case len(took) < minimumTrips:
		return nil, fmt.Errorf("%d answers, %d lost: too few for a percentile", len(took), lost)
	}
	slices.Sort(took)
	t.Failed, t.Packets = lost, uint64(len(took))
	median, high := t, t
	median.Value = micros(took[len(took)/2])
	high.Value = micros(took[len(took)*99/100])
	return []sample{median, high}, nil
}

// minimumTrips is what a 99th percentile is made of at least.
const minimumTrips = 100

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// ask measures round trips until ctx ends, those of the warm-up left out, and counts requests without an answer.
func ask(ctx context.Context, fd int, window time.Duration) (took []time.Duration, lost uint64) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	took = make([]time.Duration, 0, 1<<20)
	var out, in [echoSize]byte
	begin := time.Now()
	for number := uint32(1); ctx.Err() == nil && len(took) < cap(took); number++ {
		out[0], out[1], out[2], out[3] = byte(number), byte(number>>8), byte(number>>16), byte(number>>24)
		start := time.Now()
		if _, err := unix.Write(fd, out[:]); err != nil {
			lost++
			continue
		}
		if err := answer(fd, &out, &in); err != nil {
			lost++
			continue
		}
		if start.Sub(begin) > warmUp(window) {
			took = append(took, time.Since(start))
		}
	}
	return took, lost
}

// answer reads until the answer to out is there; those to requests given up are passed over.
func answer(fd int, out, in *[echoSize]byte) error {
	for {
		n, err := unix.Read(fd, in[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == echoSize && *in == *out {
			return nil
		}
	}
}

// echo answers every datagram with itself.
func echo(ctx context.Context, fd int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buf := make([]byte, 2048)
	for ctx.Err() == nil {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err == nil {
			_ = unix.Sendto(fd, buf[:n], 0, from) // the client misses it
		}
	}
}

// crowded measures latency with an empty table and with one full of flows that are just expiring, and what memory a
// flow takes. One goroutine uses it.
type crowded struct {
	flows int

	filled time.Time // when the last flow of the last crowd came
	before int64     // bytes that the router held before the first crowd: it keeps its memory for the next
}

func (c *crowded) measure(ctx context.Context, s *system, window time.Duration) ([]sample, error) {
	if !c.filled.IsZero() {
		if err := sleep(ctx, time.Until(c.filled.Add(crowdTimeout+2*time.Second))); err != nil {
			return nil, err
		}
	}
	if c.before == 0 {
		var err error
		if c.before, _, err = s.rss(); err != nil {
			return nil, err
		}
	}
	empty, err := roundTrips(ctx, s, window)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	arrived, err := c.fill(ctx, s)
	c.filled = time.Now()
	if err != nil {
		return nil, err
	}
	after, _, err := s.rss()
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, time.Until(start.Add(crowdTimeout+time.Second))); err != nil {
		return nil, err
	}
	full, err := roundTrips(ctx, s, window)
	if err != nil {
		return nil, err
	}
	memory := full[0]
	memory.Value = float64(after-c.before) / float64(arrived)
	return []sample{empty[0], empty[1], full[0], full[1], memory}, nil
}

// fill sends new flows until as many have arrived as the crowd has, before the first expire.
func (c *crowded) fill(ctx context.Context, s *system) (uint64, error) {
	var arrived, sent atomic.Uint64
	stop, err := flood{size: 64}.start(ctx, s, &arrived, &sent)
	if err != nil {
		return 0, err
	}
	defer stop()
	for deadline := time.Now().Add(crowdTimeout - time.Second); arrived.Load() < uint64(c.flows); {
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("only %d of %d flows in time", arrived.Load(), c.flows)
		}
	}
	return arrived.Load(), nil
}

// sleep waits, or returns an error when ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return errors.New("interrupted")
	}
}
