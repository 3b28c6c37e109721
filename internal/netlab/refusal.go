//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// tunPath is where the kernel hands out TUNs.
const tunPath = "/dev/net/tun"

// A switch is a kernel setting that keeps ordinary users from making namespaces.
type setting struct {
	path    string // below /proc/sys
	refuses string // the value that refuses
	mend    string // the value to set
	what    string
}

// settings are the known ones. Debian's patch came first, then the limit of the mainline kernel (4.9), then
// Ubuntu's use of AppArmor (23.10).
var settings = []setting{
	{"kernel/unprivileged_userns_clone", "0", "1", "user namespaces are kept from ordinary users"},
	{"user/max_user_namespaces", "0", "15000", "user namespaces are switched off"},
	{"kernel/apparmor_restrict_unprivileged_userns", "1", "0", "AppArmor takes all privileges from user namespaces"},
}

// Refusal explains why namespaces were refused with err: one line, the sysctl that did it, and the command that
// mends it.
func Refusal(err error) string {
	return refusal(err, func(path string) string {
		b, _ := os.ReadFile("/proc/sys/" + path) // absent: not this kernel's way
		return strings.TrimSpace(string(b))
	})
}

func refusal(err error, value func(path string) string) string {
	for _, s := range settings {
		if value(s.path) == s.refuses {
			name := strings.ReplaceAll(s.path, "/", ".")
			return fmt.Sprintf("%s (sysctl %s = %s): run `sudo sysctl -w %s=%s`, or run this as root",
				s.what, name, s.refuses, name, s.mend)
		}
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS) {
		return "too many user namespaces (sysctl user.max_user_namespaces): run `sudo sysctl -w user.max_user_namespaces=15000`"
	}
	if errors.Is(err, unix.EPERM) {
		return "the kernel refuses new namespaces here (" + err.Error() +
			"), as in a container: allow it CAP_SYS_ADMIN (`docker run --privileged`), or run this outside"
	}
	return "new namespaces: " + err.Error()
}

// TUNRefusal explains why this user can't open TUNs, with the command that mends it; empty if he can.
func TUNRefusal() string {
	f, err := os.OpenFile(tunPath, os.O_RDWR, 0)
	if err == nil {
		f.Close()
		return ""
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return tunPath + " does not exist: run `sudo modprobe tun`, or in a container `mkdir -p /dev/net && mknod -m 666 " +
			tunPath + " c 10 200`"
	case errors.Is(err, unix.EACCES):
		mode := ""
		if fi, err := os.Stat(tunPath); err == nil {
			mode = fmt.Sprintf(" (mode %#o)", fi.Mode().Perm())
		}
		return tunPath + mode + " may not be opened by this user: run `sudo chmod 0666 " + tunPath + "`"
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return tunPath + " has no driver: run `sudo modprobe tun`"
	case errors.Is(err, unix.EPERM):
		return tunPath + " is kept from this container: allow it (`docker run --device " + tunPath + "`)"
	}
	return err.Error()
}
