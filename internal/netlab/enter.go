//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv is set in a process that Enter started.
const insideEnv = "NATROUTER_NETLAB"

// Kinds of namespaces that Enter makes.
const (
	asRoot = "root"
	asUser = "user"
)

// inside is the kind that this process was started in, empty outside. The variable is not for processes that this
// one starts: they may want to enter themselves.
var inside = func() string {
	defer os.Unsetenv(insideEnv)
	return os.Getenv(insideEnv)
}()

// Inside reports whether this process was started by [Enter].
func Inside() bool { return inside != "" }

// InUserNamespace reports whether [Enter] needed a user namespace: then there is one user, called root, and what
// needs other users or real privileges can't be done.
func InUserNamespace() bool { return inside == asUser }

// Enter runs this program again with the same arguments, input and output, as root of a new network and mount
// namespace, and waits for it. Without the privilege for that it makes a user namespace as well, which needs none.
// It returns the exit code. The child dies with its parent. An error means that nothing ran, and is best shown
// through [Refusal].
func Enter() (int, error) {
	runtime.LockOSThread() // Pdeathsig watches the thread that forks
	defer runtime.UnlockOSThread()
	cmd, err := start(asRoot)
	if errors.Is(err, unix.EPERM) {
		cmd, err = start(asUser)
	}
	if err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s) // it may just have ended
			case <-done:
				return
			}
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() < 0:
		return 1, nil // by a signal
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	}
	return 0, err
}

// start starts the program again in new namespaces.
func start(kind string) (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		Pdeathsig:  unix.SIGKILL,
	}
	if kind == asUser {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	cmd.Env = append(os.Environ(), insideEnv+"="+kind)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, nil
}

// Prepare readies a process that [Enter] started: mounts made from here on stay private, loopback is up, and named
// namespaces have a place of their own when names is true.
func Prepare(names bool) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if names {
		if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount on /run: %w", err)
		}
		if err := os.Mkdir(namedDir, 0o755); err != nil {
			return err
		}
	}
	home, err := Home()
	if err != nil {
		return err
	}
	return home.Up("lo")
}
