package tun

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inOwnNamespace is set in the child that TestMain runs.
const inOwnNamespace = "NATROUTER_TEST_TUN_CHILD"

// noNamespace says why tests with a kernel TUN can't run; "": they can.
var noNamespace string

// TestMain runs all tests in a child that has a network namespace of its own, so that no interface of the host is
// ever touched: as root right away, else in a user namespace in which the user is root. A fuzz run stays here,
// because its workers talk over inherited descriptors.
func TestMain(m *testing.M) {
	flag.Parse()
	switch {
	case os.Getenv(inOwnNamespace) != "":
		noNamespace = probeTun()
	case flag.Lookup("test.fuzz").Value.String() != "":
		noNamespace = "a fuzz run has no namespace of its own"
	default:
		code, err := runInNamespace()
		if err == nil {
			os.Exit(code)
		}
		noNamespace = err.Error()
	}
	os.Exit(m.Run())
}

// runInNamespace runs this binary again with the same arguments; an error says that it did not start.
func runInNamespace() (int, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inOwnNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	signal.Ignore(syscall.SIGINT) // the child gets it too, and answers
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("no namespace of our own: %w", err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 1, nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

func probeTun() string {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return tunPath + ": " + err.Error()
	}
	_ = unix.Close(fd)
	return ""
}

// needTun skips a test that needs a TUN of the kernel where there is none, and fails it under CI=true.
func needTun(tb testing.TB) {
	tb.Helper()
	switch {
	case noNamespace == "":
	case os.Getenv("CI") == "true" && !strings.HasPrefix(noNamespace, "a fuzz run"):
		tb.Fatalf("SKIPPED tun: %s", noNamespace)
	default:
		tb.Skipf("SKIPPED tun: %s", noNamespace)
	}
}
