//go:build !linux

package conntrack

import "testing"

// hugeMemory returns the Go heap's.
func hugeMemory(testing.TB) func(int) []byte { return nil }
