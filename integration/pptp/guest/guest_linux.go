package guest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Lines that a guest writes.
const (
	Serving   = "guest: serving"   // the server listens
	Ready     = "guest: ready"     // the client waits for the line to call; what is typed before is lost
	Exchanged = "guest: exchanged" // the client has got back all that it sent through the tunnel
	Ended     = "guest: ended"     // the client has hung up
	Failed    = "guest: failed: "  // and why; the last line
)

// Interface is the name of the guest's interface to the network outside.
const Interface = "vec0"

// modules are what the guest's kernel must load for pppd, in this order; folders of the kernel's tree.
var modules = []string{
	"lib/crc-ccitt", "drivers/net/slip/slhc", "drivers/net/ppp/ppp_generic", "drivers/net/ppp/ppp_async",
	"lib/crypto/libarc4", "drivers/net/ppp/ppp_mppe",
}

// Modules is where Debian's user-mode-linux has its kernel's modules; the star is the version.
const Modules = "/usr/lib/uml/modules/*/kernel"

// Main is a guest's first process. args are its part: server or client, its address with the prefix length, its
// gateway; a client has two more, the server's address and the name of a file that /dev/random is to hold. It ends by
// powering the guest off.
func Main(args []string) {
	if err := run(args); err != nil {
		fmt.Println(Failed + err.Error())
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // does not return
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("too few arguments: %q", args)
	}
	if err := os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"); err != nil { // the kernel gives none
		return err
	}
	if err := mounts(); err != nil {
		return err
	}
	if err := load(); err != nil {
		return err
	}
	if err := address(args[1], args[2]); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return err
		}
	}
	switch {
	case args[0] == "server":
		return serve()
	case args[0] == "client" && len(args) == 5:
		return call(args[3], args[4])
	}
	return fmt.Errorf("no part %q", args)
}

// mounts readies the file systems.
func mounts() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"devpts", "/dev/pts"}, {"tmpfs", "/run"}, {"tmpfs", "/etc/ppp"},
	} {
		if m.kind == "devpts" {
			if err := os.MkdirAll(m.at, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) { // busy: it is there
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.at, err)
		}
	}
	return nil
}

// load loads the modules.
func load() error {
	for _, m := range modules {
		found, err := filepath.Glob(filepath.Join(Modules, m+".ko"))
		if err != nil || len(found) == 0 {
			return fmt.Errorf("no module %s", m)
		}
		f, err := os.Open(found[0])
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil {
			return fmt.Errorf("load %s: %w", found[0], err)
		}
	}
	return nil
}

// address brings the network up.
func address(own, gateway string) error {
	prefix, err := netip.ParsePrefix(own)
	if err != nil {
		return err
	}
	via, err := netip.ParseAddr(gateway)
	if err != nil {
		return err
	}
	for _, name := range []string{"lo", Interface} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err == nil && name == Interface {
			mask := net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())
			err = netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: mask}})
		}
		if err != nil {
			return fmt.Errorf("interface %s: %w", name, err)
		}
	}
	return netlink.RouteAdd(&netlink.Route{Gw: via.AsSlice()})
}

// files are the configuration of pppd and pptpd; both ends have all of it.
var files = map[string]string{
	"/etc/ppp/options":      "noipv6\ndebug\nlogfile " + pppLog + "\nrequire-mppe-128\n",
	"/etc/ppp/chap-secrets": "client server secret *\n",
	"/run/client-options":   "user client\nremotename server\nnoauth\nupdetach\nchild-timeout 1\n",
	"/run/server-options":   "name server\nauth\nrequire-mschap-v2\n",
	"/run/pptpd.conf":       "localip " + tunnelAddr + "\nremoteip 10.99.0.10-20\n",
}

// pppLog is where pppd writes what it does, for a guest that fails.
const pppLog = "/run/ppp.log"

// tunnelAddr is the server's in the tunnels.
const tunnelAddr = "10.99.0.1"

// serve runs pptpd, and sends back what comes by TCP, until the guest is killed.
func serve() error {
	l, err := net.Listen("tcp4", echoAddr)
	if err != nil {
		return err
	}
	go reflect(l)
	pptpd := exec.Command("pptpd", "--fg", "--conf", "/run/pptpd.conf", "--option", "/run/server-options")
	if err := pptpd.Start(); err != nil {
		return err
	}
	for { // until it listens; a pptpd that does not is the test's to notice
		c, err := net.Dial("tcp4", "127.0.0.1:1723")
		if err == nil {
			c.Close()
			break
		}
		time.Sleep(listenEvery)
	}
	fmt.Println(Serving)
	err = pptpd.Wait()
	return fmt.Errorf("pptpd ended: %v%s", err, excerpt())
}

// listenEvery is between two looks whether pptpd listens.
const listenEvery = 20 * time.Millisecond

// call makes a call when a line comes from the console, exchanges data through the tunnel, and hangs up at the next line.
func call(server, random string) error {
	if err := unix.Mount(random, "/dev/random", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("put %s in place of /dev/random: %w", random, err)
	}
	fmt.Println(Ready)
	console := bufio.NewReader(os.Stdin)
	if _, err := console.ReadString('\n'); err != nil {
		return err
	}
	pppd := exec.Command("pppd", "pty", "pptp "+server+" --nolaunchpppd --nohostroute", "file", "/run/client-options")
	if out, err := pppd.CombinedOutput(); err != nil {
		return fmt.Errorf("pppd: %w\n%s%s", err, out, excerpt())
	}
	if err := exchange(); err != nil {
		return fmt.Errorf("%w%s", err, excerpt())
	}
	fmt.Println(Exchanged)
	if _, err := console.ReadString('\n'); err != nil {
		return err
	}
	if err := hangUp(); err != nil {
		return err
	}
	fmt.Println(Ended)
	return nil
}

// excerpt is what pppd has logged, for people.
func excerpt() string {
	b, err := os.ReadFile(pppLog)
	if err != nil {
		return ""
	}
	return "\n" + strings.TrimSpace(string(b))
}
