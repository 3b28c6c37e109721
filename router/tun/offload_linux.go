package tun

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// fdDevice is a Linux TUN behind one descriptor a queue: the offload driver, or a descriptor handed in.
type fdDevice struct {
	name     string
	mtu      int // set once, before the device is handed out
	caps     Caps
	vnet     bool
	coalesce bool
	log      *slog.Logger
	errs     *deviceErrors
	files    []*os.File
	queues   []Queue
	closed   atomic.Bool
}

func (d *fdDevice) Name() string    { return d.name }
func (d *fdDevice) Queues() []Queue { return d.queues }
func (d *fdDevice) Caps() Caps      { return d.caps }
func (d *fdDevice) Driver() string  { return DriverOffload }
func (d *fdDevice) MTU() int        { return d.mtu }

// Close ends the calls under way with os.ErrClosed, and may be called again. An interface that is not persistent
// goes with its last descriptor.
func (d *fdDevice) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

const tunFlags = unix.IFF_TUN | unix.IFF_NO_PI

// openOffload opens the interface with all the offload that kernel and configuration allow.
func openOffload(cfg *Config) (Device, error) {
	flags := uint16(tunFlags)
	if !cfg.NoChecksum || !cfg.NoGSO {
		flags |= unix.IFF_VNET_HDR
	}
	files, name, err := openQueues(cfg, flags)
	if err == nil && flags&unix.IFF_VNET_HDR != 0 && !vnetWorks(files) {
		cfg.Log.Warn("no virtio headers on this TUN: each packet whole", "interface", name)
		closeAll(files)
		flags &^= unix.IFF_VNET_HDR
		files, name, err = openQueues(cfg, flags)
	}
	if err != nil {
		return nil, err
	}
	return newFDDevice(files, name, flags&unix.IFF_VNET_HDR != 0, cfg)
}

// adoptFD takes over a descriptor that somebody else opened.
func adoptFD(fd int, cfg *Config) (Device, error) {
	ifr, err := unix.NewIfreq("")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr)
	}
	if err != nil {
		closeForeign(fd, err)
		return nil, fmt.Errorf("%w: the descriptor is no attached TUN: hand in one on which TUNSETIFF was done", err)
	}
	flags := ifr.Uint16()
	switch {
	case flags&unix.IFF_TUN == 0:
		err = errors.New("the descriptor is a TAP: hand in a TUN")
	case lookUp(ifr.Name()).packetInfo: // TUNGETIFF says IFF_NO_PI also where it was not given
		err = errors.New("the descriptor has packet information headers: open it with IFF_NO_PI")
	case cfg.Name != "" && cfg.Name != ifr.Name():
		err = fmt.Errorf("the descriptor is that of interface %s: correct the name or the descriptor", ifr.Name())
	default:
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	unix.CloseOnExec(fd)
	file := os.NewFile(uintptr(fd), tunPath)
	vnet := flags&unix.IFF_VNET_HDR != 0
	if vnet && !vnetWorks([]*os.File{file}) {
		_ = file.Close()
		return nil, errors.New("the descriptor's virtio header can't be set to 10 bytes: open it without IFF_VNET_HDR")
	}
	return newFDDevice([]*os.File{file}, ifr.Name(), vnet, cfg)
}

// closeForeign closes a descriptor that turned out to be no TUN, unless it is none at all.
func closeForeign(fd int, err error) {
	if !errors.Is(err, unix.EBADF) {
		_ = unix.Close(fd)
	}
}

// vnetWorks sets the size of the virtio header, which belongs to the device and survives who set it last, and
// checks that flag and size are there.
func vnetWorks(files []*os.File) bool {
	for _, f := range files {
		ok := false
		err := control(f, func(fd int) error {
			ifr, err := unix.NewIfreq("")
			if err != nil {
				return err
			}
			if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, vnetSize); err != nil {
				return err
			}
			if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr); err != nil {
				return err
			}
			size, err := unix.IoctlGetInt(fd, unix.TUNGETVNETHDRSZ)
			ok = size == vnetSize && ifr.Uint16()&unix.IFF_VNET_HDR != 0
			return err
		})
		if err != nil || !ok {
			return false
		}
	}
	return true
}

// control runs do with the descriptor of f.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = do(int(fd)) })
	return errors.Join(err, inner)
}

func newFDDevice(files []*os.File, name string, vnet bool, cfg *Config) (Device, error) {
	d := &fdDevice{name: name, mtu: cfg.MTU, vnet: vnet, errs: newDeviceErrors(name), files: files,
		coalesce: !cfg.NoCoalesce, log: cfg.Log}
	err := d.negotiate(cfg)
	for _, f := range files {
		if err != nil {
			break
		}
		var q *fdQueue
		if q, err = newFDQueue(f, d); err == nil {
			d.queues = append(d.queues, q)
		}
	}
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// offloadStep is one try of TUNSETOFFLOAD.
type offloadStep struct {
	flags int
	caps  Caps
	lost  string // what the step before had and this one has not
}

// offloadSteps are tried from first to last. USO is one bit a family, of which the kernel takes only both.
var offloadSteps = []offloadStep{
	{unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN | unix.TUN_F_USO4 | unix.TUN_F_USO6,
		Caps{Checksum: true, TSO4: true, TSO6: true, ECN: true, USO: true}, ""},
	{unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN,
		Caps{Checksum: true, TSO4: true, TSO6: true, ECN: true}, "UDP segmentation (USO)"},
	{unix.TUN_F_CSUM, Caps{Checksum: true}, "TCP segmentation (TSO)"},
	{0, Caps{}, "checksum offload"},
}

// negotiate sets on every queue the most that configuration and kernel allow, one log line for each thing that
// the kernel refuses. The setting belongs to the device and survives, so it is set to none where it is unwanted.
func (d *fdDevice) negotiate(cfg *Config) error {
	steps := offloadSteps
	switch {
	case !d.vnet || cfg.NoChecksum:
		steps = offloadSteps[3:]
	case cfg.NoGSO:
		steps = offloadSteps[2:]
	}
	var err error
	for i, s := range steps {
		if i > 0 {
			cfg.Log.Warn("the kernel refuses an offload: going on without", "interface", d.name, "offload", s.lost, "error", err)
		}
		if err = d.setOffload(s.flags); err == nil {
			d.caps = s.caps
			return nil
		}
	}
	return fmt.Errorf("set offload: %w", err)
}

func (d *fdDevice) setOffload(flags int) error {
	for _, f := range d.files {
		err := control(f, func(fd int) error { return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags) })
		if err != nil {
			return err
		}
	}
	return nil
}
