package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
	"golang.org/x/sys/unix"
)

// demoLines is what the demo prints among other things.
var demoLines = []string{"HTTP download    IPv6    passed", "Translations seen", "src 203.0.113.1:", "dst 10.77.0.2:80",
	"10.77.0.2 call 4660", "10.77.0.3 call 4660", "src 203.0.113.1 call 4660", "fd77::3 call 4660", "EPRT |2|2001:db8:113::1|",
	"arrived as PORT 203,0,113,1,", "203.0.113.2:20", "All 18 passed"}

// runDemo runs the demo and returns what it wrote and its exit code.
func runDemo(t *testing.T, prepare func(*exec.Cmd), args ...string) (string, int) {
	t.Helper()
	home, err := netlab.Home()
	lab.Must(t, err)
	cmd := exec.Command(lab.Program, append([]string{"demo"}, args...)...)
	if prepare != nil {
		prepare(cmd)
	}
	return lab.RunIn(t, home, cmd)
}

func mustShow(t *testing.T, out string, code int) {
	t.Helper()
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range demoLines {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the output", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// TestDemo runs the demo with the privileges of this test.
func TestDemo(t *testing.T) {
	lab.NeedLab(t)
	out, code := runDemo(t, nil)
	mustShow(t, out, code)
}

// TestDemoOrdinaryUser runs the demo as somebody who owns nothing, without any program to be found.
func TestDemoOrdinaryUser(t *testing.T) {
	as := asOrdinary(t)
	openTUNs(t, 0o666)
	out, code := runDemo(t, func(cmd *exec.Cmd) {
		as(cmd)
		cmd.Env = []string{"PATH=/nonexistent"}
	})
	mustShow(t, out, code)
}

// TestDemoShell types into the demo's shell.
func TestDemoShell(t *testing.T) {
	lab.NeedLab(t)
	out, code := runDemo(t, func(cmd *exec.Cmd) {
		cmd.Env = append(os.Environ(), "SHELL=/bin/sh")
		cmd.Stdin = strings.NewReader(lab.Program + " status >/dev/null && echo the router answers\ncat /proc/net/dev\nexit 3\n")
	}, "--shell")
	if code != 0 || !strings.Contains(out, "the router answers") || !strings.Contains(out, "lan0:") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// TestDemoRefused takes from an ordinary user what the demo needs: it names it, and the command that mends it.
func TestDemoRefused(t *testing.T) {
	as := asOrdinary(t)
	t.Run("TUN", func(t *testing.T) {
		openTUNs(t, 0o600)
		out, code := runDemo(t, as)
		if code != 1 || !strings.Contains(out, "sudo chmod 0666 /dev/net/tun") {
			t.Errorf("exit code %d: %s", code, out)
		}
	})
	t.Run("user namespaces", func(t *testing.T) {
		openTUNs(t, 0o666)
		out, code := runDemo(t, func(cmd *exec.Cmd) { withoutUserNamespaces(t, cmd) })
		if code != 1 || !strings.Contains(out, "sudo sysctl -w user.max_user_namespaces=15000") {
			t.Errorf("exit code %d: %s", code, out)
		}
	})
}

// withoutUserNamespaces has a command run as the ordinary user of a user namespace in which the sysctl allows no other.
func withoutUserNamespaces(t *testing.T, cmd *exec.Cmd) {
	setpriv := lab.NeedTool(t, "setpriv")
	uid, gid := ordinary(t)
	script := fmt.Sprintf(`echo 0 >/proc/sys/user/max_user_namespaces && exec %s --reuid=%d --regid=%d --clear-groups "$@"`, setpriv, uid, gid)
	cmd.Args = append([]string{"sh", "-c", script, "sh", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:                 unix.CLONE_NEWUSER,
		UidMappings:                []syscall.SysProcIDMap{{Size: 1}, {ContainerID: int(uid), HostID: int(uid), Size: 1}},
		GidMappings:                []syscall.SysProcIDMap{{Size: 1}, {ContainerID: int(gid), HostID: int(gid), Size: 1}},
		GidMappingsEnableSetgroups: true,
	}
}
