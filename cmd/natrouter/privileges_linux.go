package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropPrivileges makes every thread of the process that of account a, for good: with its user, group and supplementary
// groups, without any capability, and unable to gain privileges by executing something (no_new_privs). It then
// looks whether that is so. After an error the process may be in between and must end.
func dropPrivileges(a *account) error {
	// Groups first: later there is no right to change them. Package syscall does these for all threads.
	if err := syscall.Setgroups(a.groups); err != nil {
		return fmt.Errorf("set groups: %w", err)
	}
	if err := syscall.Setresgid(a.gid, a.gid, a.gid); err != nil {
		return fmt.Errorf("set group id: %w", err)
	}
	if err := syscall.Setresuid(a.uid, a.uid, a.uid); err != nil {
		return fmt.Errorf("set user id: %w", err)
	}
	if err := noNewPrivileges(); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	return verifyDropped(a)
}

// noNewPrivileges sets no_new_privs (prctl(2)) on every thread.
func noNewPrivileges() error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	switch {
	case errno == 0:
		return nil
	case errno != syscall.ENOTSUP:
		return errno
	}
	return noNewPrivilegesTSYNC()
}

// noNewPrivilegesTSYNC does it in a program linked with cgo, whose C threads package syscall doesn't reach: a thread
// that has no_new_privs and installs a seccomp filter with TSYNC gives both to all others (seccomp(2)). The filter
// allows everything.
func noNewPrivilegesTSYNC() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	program := unix.SockFprog{Len: 1, Filter: &allow}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(&allow)
	switch {
	case errno != 0:
		return errno
	case thread != 0:
		return fmt.Errorf("thread %d has a seccomp filter of its own", thread)
	}
	return nil
}

// verifyDropped reads back what the kernel holds for every thread.
func verifyDropped(a *account) error {
	paths, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(paths) == 0 {
		return errors.New("verify: /proc is not mounted")
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) { // the thread has ended
			continue
		}
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		if err := verifyThread(a, string(b)); err != nil {
			return fmt.Errorf("verify %s: %w", path, err)
		}
	}
	return nil
}

// verifyThread checks one status file, see proc_pid_status(5).
func verifyThread(a *account, status string) error {
	fields := map[string][]string{}
	for line := range strings.Lines(status) {
		if name, rest, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.Fields(rest)
		}
	}
	repeat := func(id int) []string { return slices.Repeat([]string{strconv.Itoa(id)}, 4) } // real, effective, saved, file system
	groups := make([]string, 0, len(a.groups))
	for _, g := range slices.Compact(slices.Sorted(slices.Values(a.groups))) {
		groups = append(groups, strconv.Itoa(g))
	}
	none := []string{"0000000000000000"}
	for _, want := range []struct {
		name  string
		value []string
	}{
		{"Uid", repeat(a.uid)},
		{"Gid", repeat(a.gid)},
		{"CapPrm", none},
		{"CapEff", none},
		{"NoNewPrivs", []string{"1"}},
	} {
		if got := fields[want.name]; !slices.Equal(got, want.value) {
			return fmt.Errorf("%s is %v, want %v", want.name, got, want.value)
		}
	}
	got := slices.Compact(slices.SortedFunc(slices.Values(fields["Groups"]), byNumber))
	if !slices.Equal(got, groups) {
		return fmt.Errorf("groups are %v, want %v", got, groups)
	}
	return nil
}

func byNumber(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}
