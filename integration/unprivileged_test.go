package integration

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
	"golang.org/x/sys/unix"
)

// ordinary is the user that the router runs as.
func ordinary(t *testing.T) (uid, gid uint32) {
	t.Helper()
	lab.NeedRoot(t)
	u, err := user.Lookup("nobody")
	if err != nil {
		lab.Need(t, "nobody", err.Error())
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	lab.Must(t, err)
	group, err := strconv.ParseUint(u.Gid, 10, 32)
	lab.Must(t, err)
	return uint32(id), uint32(group)
}

// asOrdinary has a command run as the ordinary user, without any other group.
func asOrdinary(t *testing.T) func(*exec.Cmd) {
	uid, gid := ordinary(t)
	return func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	}
}

// openTUNs lets every user open TUNs until the test ends, as udev does; mode is of the device node.
func openTUNs(t *testing.T, mode uint32) {
	t.Helper()
	lab.NeedRoot(t)
	dir := lab.PublicDir(t)
	lab.Must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	node := filepath.Join(dir, "tun")
	lab.Must(t, unix.Mknod(node, unix.S_IFCHR|mode, int(unix.Mkdev(10, 200))))
	lab.Must(t, os.Chmod(node, os.FileMode(mode)))
	lab.Must(t, unix.Mount(node, "/dev/net/tun", "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount("/dev/net/tun", unix.MNT_DETACH) })
}

// bareConfig is twoNamespaces without what needs privileges: the host ends are the operator's.
func bareConfig(lan, wan, process string) string {
	text := lab.Config{LAN: lan, WAN: wan}.Text()
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "host_") && !strings.HasPrefix(line, "netns") {
			b.WriteString(line)
		}
	}
	return process + b.String()
}

// hostEnds puts the host ends where and as a lab has them, out of namespace in unless that is nil.
func hostEnds(t *testing.T, in, client, server *netlab.Namespace) {
	t.Helper()
	if in != nil {
		lab.Must(t, in.Move("lan0", client))
		lab.Must(t, in.Move("wan0", server))
	}
	for _, e := range lab.Families {
		bits := 24
		if e.Client.Is6() {
			bits = 64
		}
		lab.Must(t, client.Address("lan0", netip.PrefixFrom(e.Client, bits)))
		lab.Must(t, client.Route("lan0", netip.PrefixFrom(e.Client, 0), netip.Addr{}))
		lab.Must(t, server.Address("wan0", netip.PrefixFrom(e.Server, bits)))
	}
}

// TestTUNMadeBeforehand has root make TUNs for an ordinary user, who then runs the router.
func TestTUNMadeBeforehand(t *testing.T) {
	as := asOrdinary(t)
	uid, _ := ordinary(t)
	openTUNs(t, 0o666)
	client, server, in := lab.NewNamespace(t, "client"), lab.NewNamespace(t, "server"), lab.NewNamespace(t, "router")
	lab.Must(t, in.MakeTUN("lan0", uid))
	lab.Must(t, in.MakeTUN("wan0", uid))
	d := lab.Start(t, in, bareConfig("", "", ""), as)
	hostEnds(t, in, client, server)
	mustBe(d, uid)
	lab.RunScenes(t, client, server)
}

// TestDescriptorHandedIn has the parent open the TUNs and hand them to a router of an ordinary user, one by number and
// one by name. The router never opens /dev/net/tun, which it may not.
func TestDescriptorHandedIn(t *testing.T) {
	as := asOrdinary(t)
	uid, _ := ordinary(t)
	openTUNs(t, 0o600)
	client, server := lab.NewNamespace(t, "client"), lab.NewNamespace(t, "server")
	for _, vnet := range []bool{true, false} {
		t.Run(fmt.Sprintf("vnet header %t", vnet), func(t *testing.T) {
			lan, err := client.OpenTUN("lan0", vnet)
			lab.Must(t, err)
			wan, err := server.OpenTUN("wan0", vnet)
			lab.Must(t, err)
			t.Cleanup(func() { lan.Close(); wan.Close() })
			d := lab.Start(t, lab.NewNamespace(t, "router"), bareConfig("fd = 3", `fd_name = "outer"`, ""), func(cmd *exec.Cmd) {
				as(cmd)
				cmd.ExtraFiles = []*os.File{lan, wan} // 3 and 4
				cmd.Env = append(os.Environ(), "LISTEN_FDS=2", "LISTEN_FDNAMES=inner:outer")
				withListenPID(cmd)
			})
			lan.Close()
			wan.Close()
			hostEnds(t, nil, client, server)
			mustBe(d, uid)
			lab.RunScenes(t, client, server)
		})
	}
}

// withListenPID has a shell set LISTEN_PID, which only the process itself knows (sd_listen_fds(3)).
func withListenPID(cmd *exec.Cmd) {
	cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
}

// TestRootDrops has root start the router, which makes its TUNs and then becomes an ordinary user for good.
func TestRootDrops(t *testing.T) {
	uid, _ := ordinary(t)
	client, server := lab.NewNamed(t, "client"), lab.NewNamed(t, "server")
	d := lab.Start(t, lab.NewNamespace(t, "router"), "[process]\nuser = \"nobody\"\n"+lab.Config{}.Text(), nil)
	mustBe(d, uid)
	mustHave(d, "NoNewPrivs", "1")
	lab.RunScenes(t, client, server)
}

// mustBe checks that every thread of the router is of that user and without capabilities.
func mustBe(d *lab.Daemon, uid uint32) {
	d.T.Helper()
	id := strconv.Itoa(int(uid))
	mustHave(d, "Uid", id, id, id, id)
	for _, set := range []string{"CapPrm", "CapEff"} {
		mustHave(d, set, "0000000000000000")
	}
}

// mustHave checks a line of every thread's status (proc_pid_status(5)).
func mustHave(d *lab.Daemon, field string, want ...string) {
	d.T.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", d.Cmd.Process.Pid))
	if err != nil || len(paths) == 0 {
		d.T.Fatalf("threads of natrouter: %v, %d", err, len(paths))
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for line := range strings.Lines(string(b)) {
			name, rest, _ := strings.Cut(line, ":")
			if got := strings.Fields(rest); name == field && strings.Join(got, " ") != strings.Join(want, " ") {
				d.T.Errorf("%s: %s is %v, want %v", path, field, got, want)
			}
		}
	}
}
