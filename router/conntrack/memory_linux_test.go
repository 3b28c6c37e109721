package conntrack

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugeMemory returns a Config.Memory of huge pages, where the system has some, which lasts as long as the test.
func hugeMemory(tb testing.TB) func(int) []byte {
	return func(bytes int) []byte {
		whole, err := unix.Mmap(-1, 0, bytes+blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return nil
		}
		tb.Cleanup(func() { _ = unix.Munmap(whole) })
		skip := -uintptr(unsafe.Pointer(unsafe.SliceData(whole))) % blockSize
		block := whole[skip:][:bytes:bytes]
		_ = unix.Madvise(block, unix.MADV_HUGEPAGE) // refused by a kernel without them: then ordinary ones
		return block
	}
}
