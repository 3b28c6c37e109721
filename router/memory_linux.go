package router

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size and alignment of the memory that is asked to be of huge pages, bytes: that of x86 and, with
// pages of 4 KiB, of ARM.
const hugePage = 2 << 20

// HugePages returns zeroed memory outside the Go heap, aligned to 2 MiB and of huge pages where the system lets a
// process ask for them, or nil. It is for [conntrack.Config].Memory: with a million connections a lookup mostly waits
// for memory, and the walk through the page tables is a good part of that; and the collector lets less garbage pile up.
// It is never given back: use it in a process that makes one router and ends with it.
func HugePages(bytes int) []byte {
	// A huge page more, so that there is an aligned part. What is not touched takes no memory.
	whole, err := unix.Mmap(-1, 0, bytes+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil // the Go heap has its own way to say that there is none
	}
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(whole))) % hugePage
	block := whole[skip:][:bytes:bytes]
	_ = unix.Madvise(block, unix.MADV_HUGEPAGE) // a kernel without them has ordinary ones
	return block
}
