package router

import (
	"os"
	"testing"

	"github.com/natrouter/natrouter/router/tun"
)

// TestLaneGrows: a lane's batch grows while reads fill it, and only then.
func TestLaneGrows(t *testing.T) {
	n := newNetwork(t, testConfig())
	l := n.lane("lan0")
	var sizes []int
	fill := []int{1, firstBatch - 1, firstBatch, 1, 2 * firstBatch, batchSize, batchSize}
	l.queue = &scripted{fill: fill, seen: &sizes}
	if err := l.run(); err != nil {
		t.Fatal(err)
	}
	want := []int{firstBatch, firstBatch, firstBatch, 2 * firstBatch, 2 * firstBatch, batchSize, batchSize, batchSize}
	for i := range want {
		if i >= len(sizes) || sizes[i] != want[i] {
			t.Fatalf("frames offered to the reads: %v, want %v", sizes, want)
		}
	}
}

// scripted is a queue that brings so many packets at each read, none of them good, and is then closed.
type scripted struct {
	sink
	fill []int
	seen *[]int
}

func (s *scripted) Read(frames []tun.Frame) (int, error) {
	*s.seen = append(*s.seen, len(frames))
	if len(s.fill) == 0 {
		return 0, os.ErrClosed
	}
	n := s.fill[0]
	s.fill = s.fill[1:]
	for i := range frames[:n] {
		frames[i].Len = 0
	}
	return n, nil
}
