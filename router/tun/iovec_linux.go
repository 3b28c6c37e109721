package tun

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// pointIovec points v at b.
func pointIovec(v *unix.Iovec, b []byte) {
	v.Base = unsafe.SliceData(b)
	v.SetLen(len(b))
}

// writev is writev(2) without the allocation of unix.Writev, which takes slices of slices. 0: no error.
func writev(fd int, iov []unix.Iovec) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
	return errno
}
