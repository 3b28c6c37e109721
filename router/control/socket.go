package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is how long the path of a unix socket may be, bytes (unix(7): sun_path holds 108 with its zero).
const maxSocketPath = 107

// probeTimeout is how long a socket found in the way has to take a connection before it is refused as live.
const probeTimeout = time.Second

// ErrInUse says that another process answers on the socket.
var ErrInUse = errors.New("another router answers there")

// DefaultSocket is where the socket is when neither configuration nor command line names it:
// $RUNTIME_DIRECTORY/control.sock, else $XDG_RUNTIME_DIR/natrouter.sock, else "", which is none. Of several
// directories in RUNTIME_DIRECTORY the first counts (systemd.exec(5)).
func DefaultSocket() string {
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); dir != "" {
		return filepath.Join(dir, "control.sock")
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "natrouter.sock")
	}
	return ""
}

// Listen makes the socket at path, for its owner alone (mode 0600). A socket that nobody answers on is a dead
// router's and replaced; one that somebody answers on is [ErrInUse]; anything else in the way is left alone and an
// error. Closing the listener removes the socket, if the process still may.
func Listen(path string) (*net.UnixListener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("control socket %s: the path has %d bytes, the system takes %d: choose a shorter one",
			path, len(path), maxSocketPath)
	}
	unlock, err := lockDirectory(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	defer unlock()
	if err := removeDead(path); err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	config := net.ListenConfig{Control: ownerOnly}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, cause(err))
	}
	if err := os.Chmod(path, 0o600); err != nil { // where ownerOnly has no effect
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l.(*net.UnixListener), nil
}

// ownerOnly sets the mode of a socket before it has a name: Linux gives the file the socket's mode, so at no moment may
// anybody else connect.
func ownerOnly(_, _ string, c syscall.RawConn) error {
	var mode error
	if err := c.Control(func(fd uintptr) { mode = unix.Fchmod(int(fd), 0o600) }); err != nil {
		return err
	}
	if errors.Is(mode, unix.EINVAL) { // not here: Listen sets it afterwards
		return nil
	}
	return mode
}

// lockDirectory keeps a second router out between the look at a dead socket and its replacement. The lock is on the
// directory itself, so nothing is left behind.
func lockDirectory(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s does not exist: make it, or choose another socket", dir)
		}
		return nil, err
	}
	deadline := time.Now().Add(probeTimeout)
	for {
		err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { d.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			d.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// removeDead removes a socket that nobody answers on.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return errors.New("exists and is no socket: move it away, or choose another path")
	}
	c, err := net.DialTimeout("unix", path, probeTimeout)
	switch {
	case err == nil:
		c.Close()
		return fmt.Errorf("%w: stop it first, or choose another path", ErrInUse)
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default: // full backlog, no permission: somebody's
		return fmt.Errorf("%w (%v)", ErrInUse, cause(err))
	}
}

// cause is what is left of a net error without the address, which the caller names itself.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
