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

// writev is writev(2) without the allocation of unix.Writev, which takes slices of slices. One part goes by write(2),
// for which the kernel need not fetch the list. 0: no error.
func writev(fd int, iov []unix.Iovec) unix.Errno {
	nr, arg, n := uintptr(unix.SYS_WRITEV), unsafe.Pointer(unsafe.SliceData(iov)), uint64(len(iov))
	if len(iov) == 1 {
		nr, arg, n = unix.SYS_WRITE, unsafe.Pointer(iov[0].Base), uint64(iov[0].Len)
	}
	_, _, errno := unix.Syscall(nr, uintptr(fd), uintptr(arg), uintptr(n))
	return errno
}
