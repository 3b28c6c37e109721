//go:build !linux

package router

// HugePages returns nil: the connection table takes its memory from the Go heap.
func HugePages(int) []byte { return nil }
