package tun

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const tunPath = "/dev/net/tun"

// open opens the TUN where its host end is to be, because a TUN is made in the namespace of who opens it and
// stays with the process afterwards.
func open(cfg *Config) (Device, error) {
	var dev Device
	err := inNetNS(cfg.NetNS, func() (err error) {
		if dev, err = openHere(cfg); err != nil {
			return err
		}
		if err = setUpHost(dev, cfg); err != nil {
			_ = dev.Close()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return dev, nil
}

func openHere(cfg *Config) (Device, error) {
	switch {
	case cfg.FDName != "":
		fd, err := listenFD(cfg.FDName, os.Getpid(), os.Getenv)
		if err != nil {
			return nil, err
		}
		return adoptFD(fd, cfg)
	case cfg.FD > 0:
		return adoptFD(cfg.FD, cfg)
	case cfg.Driver == DriverWater:
		return openWater(cfg)
	}
	return openOffload(cfg)
}

// listenFD returns the descriptor of that name by the protocol of sd_listen_fds(3): LISTEN_FDS of them from 3 on,
// named in LISTEN_FDNAMES, for the process LISTEN_PID.
func listenFD(name string, pid int, env func(string) string) (int, error) {
	const first = 3 // SD_LISTEN_FDS_START
	if env("LISTEN_PID") != strconv.Itoa(pid) {
		return -1, errors.New("no descriptors were handed in (LISTEN_PID is not this process): start it as a systemd service " +
			"with OpenFile= or a socket unit, or use fd = NUMBER")
	}
	n, err := strconv.Atoi(env("LISTEN_FDS"))
	if err != nil || n < 0 {
		return -1, fmt.Errorf("LISTEN_FDS is %q, not a number", env("LISTEN_FDS"))
	}
	for i, s := range strings.Split(env("LISTEN_FDNAMES"), ":") {
		if s == name && i < n {
			return first + i, nil
		}
	}
	return -1, fmt.Errorf("no such name in LISTEN_FDNAMES=%q", env("LISTEN_FDNAMES"))
}

// openTun opens one queue of an interface that it creates or attaches to. Non-blocking comes after TUNSETIFF and
// before os.NewFile: otherwise the runtime's poller never wakes.
func openTun(name string, flags uint16) (*os.File, string, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", &fs.PathError{Op: "open", Path: tunPath, Err: err}
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, "", err
	}
	return os.NewFile(uintptr(fd), tunPath), ifr.Name(), nil
}

// openQueues opens all queues. Only a device's own IFF_MULTI_QUEUE is accepted when attaching, so the second try
// has the other.
func openQueues(cfg *Config, flags uint16) (files []*os.File, name string, err error) {
	multi := uint16(0)
	if cfg.Queues > 1 {
		multi = unix.IFF_MULTI_QUEUE
	}
	first, name, err := openTun(cfg.Name, flags|multi)
	if errors.Is(err, unix.EINVAL) && multi == 0 {
		multi = unix.IFF_MULTI_QUEUE
		first, name, err = openTun(cfg.Name, flags|multi)
	}
	if err != nil {
		return nil, "", openError(cfg, err)
	}
	files = append(files, first)
	for len(files) < cfg.Queues {
		f, _, err := openTun(name, flags|multi)
		if err != nil {
			closeAll(files)
			return nil, "", openError(cfg, err)
		}
		files = append(files, f)
	}
	return files, name, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// openError says in one line what stands between the process and its TUN, and what mends it.
func openError(cfg *Config, err error) error {
	var path *fs.PathError
	isOpen := errors.As(err, &path)
	switch {
	case isOpen && errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: no TUN driver here: modprobe tun, or mkdir -p /dev/net && mknod %s c 10 200", err, tunPath)
	case isOpen && (errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)):
		return fmt.Errorf("%w: the kernel has no TUN driver: modprobe tun", err)
	case isOpen && errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: chmod 0666 %s (as udev does), or run as root; in a container, pass the device in", err, tunPath)
	case isOpen:
		return err
	}
	kind := lookUp(cfg.Name)
	switch {
	case kind.exists && !kind.tun:
		return fmt.Errorf("%w: the interface exists and is no TUN: choose another name", err)
	case errors.Is(err, unix.EPERM) && kind.exists:
		return fmt.Errorf("%w: the interface belongs to another user: ip tuntap del mode tun %s, then "+
			"ip tuntap add mode tun user %d %s", err, cfg.Name, os.Getuid(), cfg.Name)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: creating a TUN needs CAP_NET_ADMIN: let root run ip tuntap add mode tun user %d %s, "+
			"or run in a user namespace (unshare -Urn)", err, os.Getuid(), cfg.Name)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: another process has the interface open: stop it, or choose another name", err)
	case errors.Is(err, unix.EINVAL) && kind.exists && cfg.Queues > 1:
		return fmt.Errorf("%w: the interface was made with one queue: use queues = 1, or make it again with "+
			"ip tuntap add mode tun multi_queue %s", err, cfg.Name)
	case errors.Is(err, unix.E2BIG):
		return fmt.Errorf("%w: the interface has no %d free queues: use fewer", err, cfg.Queues)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the kernel refuses this name or mode: choose another name", err)
	}
	return fmt.Errorf("attach: %w", err)
}
